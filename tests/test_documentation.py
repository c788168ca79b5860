"""The documents are true: the map of files, the README's commands, and every step of docs/adding-a-task.md.

Run: pytest tests/test_documentation.py. The tree is a fenced block of lines `name   about`, indented by two
spaces a folder; a folder's name ends with "/".
"""

import csv
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from multitask.config.task_kinds import KINDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "checkpoints" / "README.md",
]
UNLISTED = {"__init__.py", "__main__.py"}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language; "" for those without one."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def tree() -> dict[str, str]:
    """Path -> what docs/architecture.md says of it."""
    [block] = [block for block in blocks(ARCHITECTURE, "") if re.search(r"^multitask/", block, re.MULTILINE)]
    entries, folders = {}, []
    for line in block.splitlines():
        match = re.fullmatch(r"( *)(?:[├└│─ ]*)(\S+)(?: +(\S.*))?", line)
        if not match:
            continue
        name, depth = match[2], len(match[1]) // 2
        folders = folders[:depth]
        entries["".join(folders) + name] = match[3] or ""
        if name.endswith("/"):
            folders.append(name)
    return entries


def test_the_tree_has_a_line_for_each_file():
    files = {
        str(path.relative_to(ROOT))
        for package in ("minbert", "multitask")
        for path in (ROOT / package).rglob("*.py")
        if path.name not in UNLISTED
    }
    shown = tree()
    left = {file for file in files - shown.keys() if "/starter" not in file}
    assert left == set(), "add a line to the map in docs/architecture.md"


def test_the_tree_shows_nothing_that_is_not_there():
    assert len(tree()) > 50
    for name, about in tree().items():
        path = ROOT / name
        assert path.is_dir() if name.endswith("/") else path.is_file(), f"{name} does not exist"
        assert about or name.endswith("/"), f"{name}: say what it is"


def test_the_readme_maps_the_folders_and_stays_short():
    assert len(README.splitlines()) <= 150
    for package in ("minbert", "multitask"):
        for folder in (ROOT / package).iterdir():
            if (folder / "__init__.py").is_file():
                assert re.search(rf"^  {folder.name}/ ", README, re.MULTILINE), (
                    f"{folder} is not in the README"
                )


def test_the_tours_name_functions_that_are_there():
    """Each hop of docs/architecture.md: `file: function, ...`."""
    hops = re.findall(r"^\d+\. `([\w/]+\.py): ([\w., ]+)`", ARCHITECTURE, re.MULTILINE)
    tours = ARCHITECTURE.partition("One batch through")
    assert len(re.findall(r"^\d+\. ", tours[0], re.MULTILINE)) <= 12
    assert len(re.findall(r"^\d+\. ", tours[2].partition("##")[0], re.MULTILINE)) <= 20 and len(hops) > 25
    for file, names in hops:
        source = (ROOT / file).read_text(encoding="utf-8")
        for name in names.split(", "):
            for part in name.split("."):
                assert re.search(rf"^ *(?:class|def) {part}\b", source, re.MULTILINE), f"{file}: {part}"


@pytest.mark.parametrize("program", ["minbert", "multitask"])
def test_every_command_is_in_the_readme(program):
    shown = subprocess.run([sys.executable, "-m", program, "--help"], capture_output=True, text=True)
    commands = re.findall(r"^    ([\w-]+)(?:  |$)", shown.stdout, re.MULTILINE)
    assert len(commands) >= 3, shown.stdout + shown.stderr
    missing = [command for command in commands if f"{program} {command}" not in README]
    assert missing == []
    mentioned = set(re.findall(rf"`{program} ([\w-]+)", README))
    assert mentioned <= {*commands}, "the README mentions a command that is not there"


def test_the_numbers_of_mistakes_are_those_of_the_catalogue():
    from minbert.check.parts import find_part, part_places

    counts = {
        name: len({known.name for stage in find_part(place).stages for known in stage.mistakes})
        for name, place in part_places().items()
    }
    page = " ".join((ROOT / "docs" / "checking.md").read_text(encoding="utf-8").split())
    assert f"{counts['optimizer']} mistakes are known by name." in page
    assert f"{counts['losses']} mistakes in losses and {counts['metrics']} in metrics" in page
    assert "Over 700 mistakes" in README and 700 < sum(counts.values()) < 800


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / link).exists(), f"{link} does not exist"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_blocks_are_python(document):
    for block in blocks(document.read_text(encoding="utf-8"), "python"):
        compile(block, str(document), "exec")


@pytest.fixture
def reader(tmp_path, tiny_folder, monkeypatch):
    """A reader's working folder: weights by the name that the document uses, and tables with its columns."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_folder, tmp_path / "checkpoints" / "all-MiniLM-L6-v2")
    (tmp_path / "data").mkdir()
    tables = {
        "news": (
            ("headline", "topic"),
            [("the river is blue", "weather"), ("the cat reads a book", "animals")],
        ),
        "reviews": (
            ("review", "stars"),
            [("good film", "5"), ("dull !", "2"), ("bad", "1"), ("not great", "4")],
        ),
    }
    for name, (columns, rows) in tables.items():
        for split in ("train", "dev"):
            with open(tmp_path / "data" / f"{name}-{split}.csv", "w", newline="", encoding="utf-8") as file:
                table = csv.writer(file)
                table.writerow(columns)
                table.writerows(rows * 4)
    kinds = dict(KINDS)
    yield tmp_path
    KINDS.clear()
    KINDS.update(kinds)


def test_adding_a_task_step_by_step(reader, capsys):
    """Its files are written under the name in their first line; its commands are run as they stand."""
    from multitask.cli.main import run

    document = (ROOT / "docs" / "adding-a-task.md").read_text(encoding="utf-8")
    for block in [*blocks(document, "toml"), *blocks(document, "python")]:
        (reader / block.split("\n")[0].removeprefix("# ")).write_text(block, encoding="utf-8")
    printed = []
    for block in blocks(document, "sh"):
        for command in block.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(command)
            assert program == "multitask"
            assert not run(arguments)
            printed.append(capsys.readouterr().out)
    assert len(printed) == 6
    assert "news           accuracy" in printed[0]
    assert printed[1].strip() in ("weather", "animals")
    predictions = (reader / "runs" / "news" / "predictions" / "news-dev-output.csv").read_text("utf-8")
    assert len(predictions.splitlines()) == 9
    assert printed[4].strip() in "12345"
    assert "stars          spearman" in printed[5] and "stars          accuracy" in printed[5]


def test_the_documents_own_kind_keeps_its_contract(reader):
    from multitask import TaskConfig, TextTask
    from multitask.config.task_config import task_config
    from multitask.config.task_kinds import load_task_file, make_task
    from multitask.data.readers import Example

    document = (ROOT / "docs" / "adding-a-task.md").read_text(encoding="utf-8")
    [block] = blocks(document, "python")
    assert len([line for line in block.splitlines() if line.strip()]) <= 40
    (reader / "stars.py").write_text(block, encoding="utf-8")
    load_task_file("stars.py")
    task = make_task("books", task_config("books", {"type": "stars", "train": "reviews-train.csv"}))
    import torch

    assert task.target(Example("0", ("a",), 4, 2)) == [1.0, 1.0, 1.0, 0.0]
    assert task.decode(torch.tensor([[9.0, 2.0, 1.0, -1.0], [-1.0, -2.0, -3.0, -4.0]]), None) == [4, 1]
    assert task.load(reader / "data", "train").rejects == ()
    table = re.findall(r"^\| `(\w+)[`(]", document, re.MULTILINE)
    members = {*dir(TextTask), *TaskConfig.__annotations__}
    assert len(table) == 17 and set(table) <= members
