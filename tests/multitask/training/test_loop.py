"""The loop: small, ignorant of tasks and models, and in the right order."""

import ast
from pathlib import Path

from multitask.training import loop

STATEMENTS = 9  # the function with its docstring; what more a training needs is handed in, not written here


def test_the_loop_stays_as_small_as_it_is():
    tree = ast.parse(Path(loop.__file__).read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert sum(isinstance(node, ast.stmt) for node in ast.walk(function)) <= STATEMENTS
    assert [type(node).__name__ for node in tree.body].count("FunctionDef") == 1


def test_the_package_has_one_training_loop():
    """`backward` and `optimizer.step` are called in one place each."""
    sources = {
        path: path.read_text(encoding="utf-8") for path in Path(loop.__file__).parents[1].rglob("*.py")
    }
    for call, name in (
        (".backward()", "gradients"),
        ("scaler.step(", "precision"),
        (" train_loop(\n", "trainer"),
    ):
        assert [path.stem for path, text in sources.items() if call in text and path.stem != "loop"] == [name]
