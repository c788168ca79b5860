"""The loop: small, ignorant of tasks and models, and in the right order."""

import ast
from pathlib import Path

from multitask.training import loop
from multitask.training.plan import MicroBatch, Step

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
    assert [path.name for path, text in sources.items() if ".backward()" in text] == ["gradients.py"]
    assert [path.name for path, text in sources.items() if "scaler.step(" in text] == ["precision.py"]
    assert [
        path.name for path, text in sources.items() if "train_loop(" in text and path.name != "loop.py"
    ] == ["trainer.py"]


def test_the_order_of_what_the_loop_calls():
    events = []

    class Fake:
        def __init__(self, name):
            self.name = name

        def __getattr__(self, method):
            return lambda *arguments: events.append((self.name, method, *arguments))

    def method(model, micro_batch, backward):
        events.append(("method", micro_batch.task))
        backward(micro_batch.weight)
        return f"loss of {micro_batch.task}"

    batches = [MicroBatch("a", None, 0.25), MicroBatch("b", None, 0.75)]
    plan = [Step(1, 1, False, iter(batches)), Step(2, 1, True, iter(batches[:1]))]
    loop.train_loop(
        "model",
        plan,
        method,
        Fake("gradients"),
        Fake("precision"),
        "optimizer",
        lambda step, batch, loss: events.append(("report", step.number, batch.task, loss)),
        lambda step: events.append(("after_step", step.number)),
    )
    assert events == [
        ("method", "a"),
        ("gradients", "backward", 0.25),
        ("report", 1, "a", "loss of a"),
        ("method", "b"),
        ("gradients", "backward", 0.75),
        ("report", 1, "b", "loss of b"),
        ("gradients", "finish"),
        ("precision", "step", "optimizer"),
        ("after_step", 1),
        ("method", "a"),
        ("gradients", "backward", 0.25),
        ("report", 2, "a", "loss of a"),
        ("gradients", "finish"),
        ("precision", "step", "optimizer"),
        ("after_step", 2),
    ]
