"""The documents are true: the map of files, the README's commands, and every step of docs/adding-a-task.md.

Run: pytest tests/test_documentation.py. The tree is a fenced block of lines `name   about`, indented by two
spaces a folder; a folder's name ends with "/".
"""

import csv
import re
import shlex
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
import torch

from minbert.check.parts import find_part, part_places
from multitask import TaskConfig, TextTask
from multitask.cli.check import PLACES
from multitask.cli.main import run
from multitask.config.task_config import task_config
from multitask.config.task_file import load_task_file
from multitask.config.task_kinds import KINDS, make_task
from multitask.data.readers import Example

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
SOURCES = ("minbert", "multitask", "benchmarks")
FOREIGN_OPTIONS = {  # of others, or removed
    *("logdir", "junitxml", "tasks.NAME", "index"),
    *("nproc-per-node", "max-restarts", "standalone"),
}


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language; "" for those without one."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def tree() -> dict[str, str]:
    """Path -> what docs/architecture.md says of it."""
    [block] = [block for block in blocks(ARCHITECTURE, "") if re.search(r"^multitask/", block, re.MULTILINE)]
    entries, folders = {}, []
    for indent, name, about in re.findall(r"^( *)(\S+) *(.*)$", block, re.MULTILINE):
        folders = folders[: len(indent) // 2]
        entries["".join(folders) + name] = about
        if name.endswith("/"):
            folders.append(name)
    return entries


def test_the_tree_has_a_line_for_each_file_and_no_other():
    files = {
        str(path.relative_to(ROOT))
        for package in ("minbert", "multitask")
        for path in (ROOT / package).rglob("*.py")
        if path.name not in UNLISTED and "starter" not in str(path)
    }
    shown = tree()
    assert files - shown.keys() == set(), "add a line to the map in docs/architecture.md"
    for name, about in shown.items():
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
def test_every_command_is_in_the_readme(program, capsys):
    with pytest.raises(SystemExit):
        import_module(f"{program}.cli.main").run(["--help"])
    commands = set(re.findall(r"^    ([\w-]+)(?:  |$)", capsys.readouterr().out, re.MULTILINE))
    assert len(commands) >= 3 and {name for name in commands if f"{program} {name}" not in README} == set()
    mentioned = set(re.findall(rf"`{program} ([\w-]+)", README))
    assert mentioned <= commands, "the README mentions a command that does not exist"


def test_paths_and_options_in_the_documents_exist():
    """Options of a configuration go by their last part; the tutorial's test holds the course's --sst_test."""
    sources = [path for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for document in DOCUMENTS:
        page = document.read_text(encoding="utf-8")
        for path in re.findall(
            r"(?<![\w./])((?:minbert|multitask|benchmarks|tests|scripts)/[\w./*-]*\w)", page
        ):
            assert any(ROOT.glob(path)), f"{document.name}: {path} does not exist"
        for option in set(re.findall(r"(?<![\w-])--([a-z][\w.-]*\w)", page)) - FOREIGN_OPTIONS:
            field = option.rpartition(".")[2].replace("-", "_")
            known = re.search(rf"--{option}\b|^    {field}: ", text, re.MULTILINE)
            assert known or field in PLACES or field.endswith("_test"), (
                f"{document.name}: there is no option --{option}"
            )


def test_the_numbers_of_mistakes_are_those_of_the_catalogue():
    counts = {
        name: len({known.name for stage in find_part(place).stages for known in stage.mistakes})
        for name, place in part_places().items()
    }
    page = " ".join((ROOT / "docs" / "checking.md").read_text(encoding="utf-8").split())
    assert f"{counts['optimizer']} mistakes are known by name." in page
    assert f"{counts['losses']} mistakes in losses and {counts['metrics']} in metrics" in page
    assert "Over 800 mistakes" in README and 800 < sum(counts.values()) < 900


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere_and_python_imports_what_exists(document):
    page = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page):
        assert (document.parent / link).exists(), f"{link} does not exist"
    for block in blocks(page, "python"):
        compile(block, str(document), "exec")
    for line in re.findall(
        r"^(?:.*`)? *(from (?:minbert|multitask)[\w.]* import [\w, ]+)", page, re.MULTILINE
    ):
        exec(line, {})


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
    exec(blocks(document, "py")[0], {})
    assert capsys.readouterr().out.strip() in ("['weather']", "['sport']")


def test_the_documents_own_kind_keeps_its_contract(reader):
    document = (ROOT / "docs" / "adding-a-task.md").read_text(encoding="utf-8")
    [block] = blocks(document, "python")
    assert len([line for line in block.splitlines() if line.strip()]) <= 40
    (reader / "stars.py").write_text(block, encoding="utf-8")
    load_task_file("stars.py")
    task = make_task("books", task_config("books", {"type": "stars", "train": "reviews-train.csv"}))
    assert task.target(Example("0", ("a",), 4, 2)) == [1.0, 1.0, 1.0, 0.0]
    assert task.decode(torch.tensor([[9.0, 2.0, 1.0, -1.0], [-1.0, -2.0, -3.0, -4.0]]), None) == [4, 1]
    assert task.load(reader / "data", "train").rejects == ()
    table = re.findall(r"^\| `(\w+)[`(]", document, re.MULTILINE)
    assert len(table) == 21 and set(table) <= {*dir(TextTask), *TaskConfig.__annotations__}


def test_the_files_for_clusters_can_be_read():
    yaml = pytest.importorskip("yaml", reason="reads Kubernetes files")
    folder = ROOT / "docs" / "scaling"
    kinds = [entry["kind"] for entry in yaml.safe_load_all((folder / "kubernetes.yaml").read_text("utf-8"))]
    assert kinds == ["Service", "Job"]
    subprocess.run(["bash", "-n", str(folder / "slurm.sh")], check=True)
