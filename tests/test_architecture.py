"""The rules of docs/architecture.md, held by parsing the sources: who imports what, how long things are.

Run: pytest tests/test_architecture.py
"""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import minbert.check
import minbert.export

ROOT = Path(__file__).parents[1]
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 350, 60

# Each layer may import itself and what stands below it.
LAYERS = (
    ("multitask", "multitask.__main__", "multitask.cli"),
    (
        "multitask.check",
        "multitask.course",
        "multitask.download_command",
        "multitask.experiments",
        "multitask.export",
        "multitask.file_commands",
        "multitask.submit",
    ),
    ("multitask.options",),
    (
        "multitask.assembly",
        "multitask.fine_tune",
        "multitask.model_card",
        "multitask.plots",
        "multitask.preparation",
        "multitask.rows_to_predict",
        "multitask.run",
        "multitask.run_folder",
        "multitask.saved_tasks",
        "multitask.selection",
        "multitask.splits",
        "multitask.stages",
        "multitask.text_prediction",
        "multitask.trackers",
    ),
    ("multitask.tasks",),
    (
        "multitask.data",
        "multitask.embedding_quality",
        "multitask.entities",
        "multitask.evaluation",
        "multitask.heads",
        "multitask.metrics",
        "multitask.model",
        "multitask.predictions",
        "multitask.tag_files",
        "multitask.tracking",
        "multitask.training",
    ),
    (
        "multitask.combinations",
        "multitask.config",
        "multitask.objectives",
        "multitask.task_config",
        "multitask.text_table",
        "multitask.values",
    ),
)
# May be imported at the top of a file; all other packages inside the function that needs them.
CORE = {"numpy", "safetensors", "tokenizers", "torch", "tqdm"}
# Bears the name of the starter's file that it stands in for.
STAND_IN = ROOT / "minbert" / "check" / "isolation" / "starter" / "utils.py"
PYTEST_PLUGIN = ROOT / "minbert" / "check" / "pytest_plugin.py"  # loaded by pytest alone
VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc", "handler", "handlers"}


class Import(NamedTuple):
    """`from module import name` (name is None for `import module`), and whether it stands in a function."""

    module: str
    name: str | None
    line: int
    inside: bool


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


ALL = [*sources("minbert"), *sources("multitask")]
each_file = pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(ROOT)))


def name_of(path: Path) -> str:
    """multitask/tasks/sst.py -> multitask.tasks.sst"""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path) for path in ALL}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> list[Import]:
    return list(_imports(tree_of(path), False))


def _imports(node: ast.AST, inside: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, None, child.lineno, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute here"
            yield from (Import(child.module, alias.name, child.lineno, inside) for alias in child.names)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, inside or function)


def imported_modules(path: Path) -> set[str]:
    """The modules of this repository that a file imports, names of a package that are modules too."""
    found = set()
    for entry in imports_of(path):
        whole = f"{entry.module}.{entry.name}"
        found.add(whole if whole in MODULES else entry.module)
    return found & MODULES


def package_of(module: str) -> str:
    return module.partition(".")[0]


def layer_of(module: str) -> int:
    """The number of a module's layer, counted from the top; that of its package where it has none itself."""
    for number, layer in enumerate(LAYERS):
        if module in layer:
            return number
    assert module.count(".") > 1, f"{module} stands in no layer; put it into LAYERS"
    return layer_of(module.rpartition(".")[0])


def test_what_is_checked_is_there():
    assert len(ALL) > 50 and {"minbert.model", "multitask.training.loop", "multitask"} <= MODULES
    assert all(module in MODULES for layer in LAYERS for module in layer)


@pytest.mark.parametrize("path", sources("minbert"), ids=lambda path: path.name)
def test_the_model_knows_nothing_of_tasks(path):
    assert {package_of(entry.module) for entry in imports_of(path)} & {"multitask"} == set()


@pytest.mark.parametrize("path", sources("multitask"), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_models_public_names_are_used(path):
    ours = [entry for entry in imports_of(path) if package_of(entry.module) == "minbert"]
    public = {"minbert", "minbert.check", "minbert.export"}
    assert {entry.module for entry in ours} <= public, "import from these packages, not from their modules"
    for package in (minbert.check, minbert.export):
        used = {entry.name for entry in ours if entry.module == package.__name__}
        assert used <= {*package.__all__}
    used = {entry.name for entry in ours if entry.module == "minbert" and entry.name}
    if any(entry.name is None for entry in ours):
        used |= {
            node.attr
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", None) == "minbert"
        }
    assert used <= {*minbert.__all__, "__version__"}


@pytest.mark.parametrize("path", sources("multitask"), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path):
    own = layer_of(name_of(path))
    for module in imported_modules(path):
        if package_of(module) == "multitask":
            assert layer_of(module) >= own, f"{name_of(path)} imports {module}, which stands above it"


@pytest.mark.parametrize("package", ["minbert", "multitask"])
def test_no_cycles(package):
    graph = {name_of(path): imported_modules(path) for path in sources(package)}
    graph[package] = set()  # what it exports is loaded on first use
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.parametrize("path", sources("multitask/tasks"), ids=lambda path: path.name)
def test_a_task_imports_another_only_to_extend_it(path):
    bases = {
        base.id
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Name)
    }
    for entry in imports_of(path):
        if entry.module.startswith("multitask.tasks.") and entry.module != "multitask.tasks.base":
            assert entry.name in bases, f"line {entry.line}: {entry.name} is used, not extended"


def test_the_loop_is_handed_what_it_uses():
    path = ROOT / "multitask" / "training" / "loop.py"
    used = {module for module in imported_modules(path) if package_of(module) == "multitask"}
    assert all(module.startswith("multitask.training.") for module in used)
    assert not any(entry.module == "minbert" for entry in imports_of(path))
    for module in used:  # what these need is no task and no model either
        needed = imported_modules(ROOT / f"{module.replace('.', '/')}.py")
        assert not {m for m in needed if m.startswith(("multitask.tasks", "multitask.model"))}


@each_file
def test_optional_packages_are_imported_where_they_are_needed(path):
    for entry in imports_of(path):
        package = package_of(entry.module)
        ours = package in sys.stdlib_module_names or package in {"minbert", "multitask"}
        ours = ours or (package == "pytest" and path == PYTEST_PLUGIN)
        assert ours or package in CORE or entry.inside, f"line {entry.line}: {package} at the top of the file"


@each_file
def test_nothing_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES_OF_A_FILE
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= LINES_OF_A_FUNCTION, f"{node.name} has {length} lines"


@each_file
def test_names_say_what_is_inside(path):
    words = {word for part in path.relative_to(ROOT).with_suffix("").parts for word in part.split("_")}
    assert not words & VAGUE or path == STAND_IN


@each_file
def test_every_file_says_what_it_is(path):
    assert not path.read_text(encoding="utf-8").strip() or ast.get_docstring(tree_of(path))
