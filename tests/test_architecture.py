"""The rules of docs/architecture.md, held by parsing the sources: who imports what, what a folder holds.

Run: pytest tests/test_architecture.py
"""

import ast
import importlib
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import minbert.check
import minbert.cli.page
import minbert.export
import multitask

ROOT = Path(__file__).parents[1]
PUBLIC = (minbert, minbert.check, minbert.cli.page, minbert.export)
# The packages of multitask; each may import itself and what stands below it.
LAYERS = (
    ("multitask", "multitask.__main__", "multitask.cli"),
    ("multitask.course", "multitask.experiments"),
    ("multitask.export", "multitask.training"),
    ("multitask.inference",),
    ("multitask.tasks",),
    ("multitask.model",),
    ("multitask.check", "multitask.data", "multitask.runtime"),
    ("multitask.config", "multitask.losses", "multitask.metrics", "multitask.text_table"),
)
# May be imported at the top of a file; all other packages inside the function that needs them.
CORE = {"filelock", "jinja2", "numpy", "safetensors", "tokenizers", "torch", "tqdm"}
PYTEST_PLUGIN = ROOT / "minbert" / "check" / "pytest_plugin.py"  # loaded by pytest alone
STAND_INS = ROOT / "minbert" / "check" / "isolation" / "starter"  # bear the names of the starter's files
VAGUE = {"utils", "util", "helpers", "helper", "manager", "managers", "common", "misc", "handler", "handlers"}
ENTRIES_OF_A_FOLDER = 16  # without __init__ and __main__


class Import(NamedTuple):
    """`from module import name` (name is None for `import module`), and whether it stands in a function."""

    module: str
    name: str | None
    line: int
    inside: bool


def name_of(path: Path) -> str:
    """multitask/tasks/sst.py -> multitask.tasks.sst"""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    name_of(path): path for package in ("minbert", "multitask") for path in (ROOT / package).rglob("*.py")
}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(module: str) -> list[Import]:
    return list(_imports(tree_of(FILES[module]), False))


def _imports(node: ast.AST, inside: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue  # the public names once more, for type checkers
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, None, child.lineno, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"line {child.lineno}: imports are absolute here"
            yield from (Import(child.module, alias.name, child.lineno, inside) for alias in child.names)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, inside or function)


def imported_modules(module: str) -> set[str]:
    """The modules of this repository that a module imports, names of a package that are modules too."""
    found = set()
    for entry in imports_of(module):
        whole = f"{entry.module}.{entry.name}"
        found.add(whole if whole in FILES else entry.module)
    return found & FILES.keys()


def layer_of(module: str) -> int:
    """The number of a module's layer, counted from the top; that of its package where it has none itself."""
    for number, layer in enumerate(LAYERS):
        if module in layer:
            return number
    assert module.count(".") > 1, f"{module} stands in no layer; put it into LAYERS"
    return layer_of(module.rpartition(".")[0])


def of_package(package: str) -> list[str]:
    return [module for module in FILES if module.partition(".")[0] == package]


def test_the_model_knows_nothing_of_tasks():
    wrong = {
        module: entry
        for module in of_package("minbert")
        for entry in imports_of(module)
        if entry.module.partition(".")[0] == "multitask"
    }
    assert len(of_package("minbert")) > 50 and wrong == {}


def test_multitask_uses_only_public_names_of_minbert():
    public = {package.__name__: {*package.__all__} for package in PUBLIC}
    wrong = {
        module: entry
        for module in of_package("multitask")
        for entry in imports_of(module)
        if entry.module.partition(".")[0] == "minbert"
        and entry.name not in public.get(entry.module, set()) | {"__version__", "attach_names"}
    }
    assert wrong == {}, f"import public names from {', '.join(public)}"


def test_imports_go_downwards():
    wrong = [
        f"{module} imports {other}, which stands above it"
        for module in of_package("multitask")
        for other in imported_modules(module)
        if other.startswith("multitask") and layer_of(other) < layer_of(module)
    ]
    assert wrong == []


def test_no_cycles():
    """Not between modules, and in multitask not between folders."""
    public = {"multitask", *(package.__name__ for package in PUBLIC)}  # load their names on first use
    graph = {module: set() if module in public else imported_modules(module) - public for module in FILES}
    TopologicalSorter(graph).prepare()  # raises CycleError
    folders: dict[str, set[str]] = {}
    for module in of_package("multitask"):
        folder = ".".join(module.split(".")[:2])
        others = {".".join(other.split(".")[:2]) for other in graph[module] if other.startswith("multitask.")}
        folders.setdefault(folder, set()).update(others - {folder})
    TopologicalSorter(folders).prepare()


def test_a_task_imports_another_only_to_extend_it():
    bases = {  # of the classes of each module
        module: {
            base.id
            for node in tree_of(path).body
            if isinstance(node, ast.ClassDef)
            for base in node.bases
            if isinstance(base, ast.Name)
        }
        for module, path in FILES.items()
        if module.startswith("multitask.tasks.") and module != "multitask.tasks.base"
    }
    kinds = {module for module, names in bases.items() if any(name.endswith("Task") for name in names)}
    assert len(kinds) > 5
    for module in kinds:
        for entry in imports_of(module):
            assert entry.module not in kinds or entry.name in bases[module], f"{module} uses {entry.name}"


def test_the_loop_is_handed_what_it_uses():
    used = {m for m in imported_modules("multitask.training.loop") if m.startswith("multitask.")}
    needed = used.union(*(imported_modules(module) for module in used))
    assert used and not any(entry.module == "minbert" for entry in imports_of("multitask.training.loop"))
    assert not {m for m in needed if m.startswith(("multitask.tasks", "multitask.model"))}


def test_optional_packages_are_imported_where_they_are_needed():
    wrong = []
    for module, path in FILES.items():
        core = CORE | ({"pytest"} if path == PYTEST_PLUGIN else set())
        for entry in imports_of(module):
            package = entry.module.partition(".")[0]
            if not entry.inside and package not in core | {*sys.stdlib_module_names, "minbert", "multitask"}:
                wrong.append(f"{module}, line {entry.line}: {package} at the top of the file")
    assert wrong == []


def test_public_names_are_there_and_known_to_type_checkers():
    for package in (*PUBLIC, multitask):
        [block] = [
            node
            for node in tree_of(FILES[package.__name__]).body
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        ]
        for line in block.body:
            assert isinstance(line, ast.ImportFrom) and all(
                alias.name == alias.asname for alias in line.names
            )
            for alias in line.names:
                value = getattr(importlib.import_module(line.module), alias.name)
                assert getattr(package, alias.name) is value
        assert sorted(alias.name for line in block.body for alias in line.names) == sorted(package.__all__)


def test_files_and_folders_say_what_they_are():
    """A docstring each, names that mean something, folders that can be seen at a glance."""
    for module, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        assert ast.get_docstring(tree_of(path)) or not text.strip(), f"{module} has no docstring"
        assert not VAGUE & set(path.stem.split("_")) or STAND_INS in path.parents, module
    for folder in {path.parent for path in FILES.values()}:
        entries = [
            entry.name
            for entry in folder.iterdir()
            if not entry.name.startswith(("_", ".")) and entry.name != "py.typed"
        ]
        assert len(entries) <= ENTRIES_OF_A_FOLDER, f"{folder.relative_to(ROOT)} has {len(entries)} entries"
