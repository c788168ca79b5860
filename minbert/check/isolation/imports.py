"""How a user's file is imported: as a part of its own project, with stand-ins for the starter's files.

`from src.models.base_bert import ...` needs the project's root, which is found above the file; `from .utils
import ...` needs the file's package. A file of the starter that is missing or cannot be imported is stood in
for. A user's package may be called minbert, too.
"""

import ast
import builtins
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from minbert.check.judge import is_below

STARTER = Path(__file__).with_name("starter")
STARTER_PACKAGES = Path(__file__).with_name("starter_packages")  # after what is installed
OURS = "minbert"
OUR_FOLDER = Path(__file__).resolve().parents[2]
HIGHEST = 5  # folders from a file's own up, in which what it imports is looked for


class UserImports:
    """The imports of one file; `root` is the folder of its project. `notes` gets why stand-ins were taken."""

    def __init__(self, file: Path, notes: list[str]):
        self.file = file
        self.notes = notes
        level, names = _imports(file)
        self.package = _package(file, level)
        folders = (file.parent, file.parents[len(self.package)], *_folders_above(file, names))
        self.root = min(folders, key=lambda folder: len(folder.parts))
        self.paths = list(dict.fromkeys(map(str, folders)))

    def load(self) -> ModuleType:
        """The file as a module under its own name, so that files beside it find it by import."""
        sys.path[:] = [*self.paths, *sys.path, str(STARTER_PACKAGES)]
        sys.meta_path.insert(0, StandIns(self.root, self.paths, self.notes))
        if not any(_is_other_package(Path(path)) for path in self.paths):
            return self._load()
        own_package = OwnPackage(self.root)
        builtins.__import__ = own_package
        with own_package.in_place():
            return self._load()

    def _load(self) -> ModuleType:
        for depth in range(1, len(self.package) + 1):
            self._import_package(".".join(self.package[:depth]))
        name = (
            self.file.stem
            if self.package or self.file.stem not in sys.modules
            else f"checked_{self.file.stem}"
        )
        name = ".".join((*self.package, name))
        spec = importlib.util.spec_from_file_location(name, self.file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module

    def _import_package(self, name: str) -> None:
        """The package of a user, or an empty one in its folder where its __init__.py fails."""
        try:
            importlib.import_module(name)
        except Exception as error:
            self.notes.append(f"the package {name} cannot be imported ({error})")
            module = ModuleType(name)
            module.__path__ = [str(self.file.parents[len(self.package) - name.count(".") - 1])]
            sys.modules[name] = module


def _imports(file: Path) -> tuple[int, set[str]]:
    """The highest level of a relative import, and the first names of the absolute ones."""
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):  # told where the file is run
        return 0, set()
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in froms if node.module and not node.level}
    return max((node.level for node in froms), default=0), {name.partition(".")[0] for name in names}


def _package(file: Path, level: int) -> tuple[str, ...]:
    """The names of the packages that a file with relative imports lies in."""
    if not level:
        return ()
    while (file.parents[level] / "__init__.py").is_file():
        level += 1
    return tuple(folder.name for folder in reversed(file.parents[:level]))


def _folders_above(file: Path, names: set[str]) -> Iterator[Path]:
    """The nearest folders above a file's own in which what it imports lies, and is not installed."""
    for name in sorted(names):
        installed = name in sys.stdlib_module_names or PathFinder.find_spec(name) is not None
        for folder in file.parents[:HIGHEST]:
            own = folder / name
            is_there = own.is_dir() or own.with_suffix(".py").is_file()
            if is_there and (own in file.parents or not installed) and own != OUR_FOLDER:
                yield folder
                break


def _is_other_package(folder: Path) -> bool:
    return (folder / OURS).is_dir() and (folder / OURS).resolve() != OUR_FOLDER


class StandIns(MetaPathFinder):
    """Finds base_bert, config and utils, at the top or in a user's package: the user's own, else ours."""

    def __init__(self, root: Path, paths: list[str], notes: list[str]):
        self.root = root
        self.paths = paths
        self.notes = notes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        stand_in = STARTER / f"{fullname.rpartition('.')[2]}.py"
        if not stand_in.is_file() or (path is not None and not any(is_below(self.root, p) for p in path)):
            return None
        spec = PathFinder.find_spec(fullname, self.paths if path is None else path, target)
        if spec is None or spec.loader is None:
            return importlib.util.spec_from_file_location(fullname, stand_in)
        spec.loader = OwnOrStandIn(spec.loader, stand_in, self.notes)
        return spec


class OwnOrStandIn(Loader):
    """Runs a user's module, and the stand-in where that fails."""

    def __init__(self, own: Loader, stand_in: Path, notes: list[str]):
        self.own = own
        self.stand_in = stand_in
        self.notes = notes

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        before = dict(vars(module))
        try:
            self.own.exec_module(module)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self.notes.append(
                f"{self.stand_in.name} cannot be imported ({reason}); a stand-in took its place"
            )
            vars(module).clear()
            vars(module).update(before)
            SourceFileLoader(module.__name__, str(self.stand_in)).exec_module(module)


class OwnPackage:
    """In place of `__import__`: code below `root` sees a package of its own that has our package's name."""

    def __init__(self, root: Path):
        self.root = root
        self.theirs: dict[str, ModuleType] = {}
        self.inside = False
        self.original = builtins.__import__

    def __call__(self, name: str, globals: Any = None, *arguments: Any, **settings: Any) -> ModuleType:
        if not is_below(self.root, (globals or {}).get("__file__") or ""):
            return self.original(name, globals, *arguments, **settings)
        with self.in_place():
            return self.original(name, globals, *arguments, **settings)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        if self.inside:
            yield
            return
        self.inside, ours = True, _taken_out()
        sys.modules.update(self.theirs)
        try:
            yield
        finally:
            self.inside, self.theirs = False, _taken_out()
            sys.modules.update(ours)


def _taken_out() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name == OURS or name.startswith(f"{OURS}.")]
    return {name: sys.modules.pop(name) for name in names}
