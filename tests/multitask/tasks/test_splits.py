"""A split of a task's data: notes on rejects and classes and on what is missing, the bundled corpus."""

from collections import Counter

import pytest

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.readers import Example
from multitask.data.token_store import Rejected
from multitask.tasks.splits import check_rejected, class_notes, load_split, open_data

HEADER = "\tid\tsentence\tsentiment\n"


@pytest.fixture
def sst():
    return make_task("sst", task_config("sst", {}))


@pytest.fixture
def write(tmp_path):
    """write(rows) -> the dev file of sst with these rows."""

    def make(*rows: str):
        path = tmp_path / "ids-sst-dev.csv"
        path.write_text(HEADER + "".join(f"{i}\t{row}\n" for i, row in enumerate(rows)), encoding="utf-8")
        return path

    return make


def test_rejects_are_noted_with_line_and_reason(sst, write):
    path = write("a\tgood\t4", "b\t\t3", "c\tdull\t", "d\tbad\t7", "e\tshort", "f\tgood\t1", "g\tbad\t0")
    examples, notes = load_split(sst, path.parent, "dev", limit=2)
    assert len(examples.rows) == 2 and {row.id for row in examples.rows} < {"a", "f", "g"}
    assert notes == [
        f"sst: {path}:3 rejected: the text 'sentence' is empty or not text",
        f"sst: {path}:4 rejected: the label 'sentiment' is empty",
        f"sst: {path}:5 rejected: the label 'sentiment' cannot be used: '7' is not between 0 and 4",
        f"sst: {path}:6 rejected: 3 fields where the header has 4",
    ]
    path = write(*["a\t\t3"] * 8)
    _, notes = load_split(sst, path.parent, "dev")
    assert len(notes) == 6 and notes[-1] == f"sst: 8 rows of {path} rejected in all"


def test_more_rejects_than_are_allowed_are_an_error_with_the_first_reason(sst, said):
    rejected = Rejected(
        3, 30, ("f.csv:2 rejected: no text", "f.csv:3 rejected: no label", "f.csv:9 rejected")
    )
    for most in (0.1, 1.0):
        check_rejected(sst, "f.csv", rejected, most)
    assert said == []
    with pytest.raises(InputError) as caught:
        check_rejected(sst, "f.csv", rejected, 0.09)
    assert str(caught.value) == (
        "sst: 3 of 30 rows of f.csv cannot be used; f.csv:2 rejected: no text; mend them, or go on without "
        "them: --max-rejected 1"
    )
    assert said == [f"sst: {first}" for first in rejected.first]


def test_classes_are_listed_with_their_rows_and_named_where_spelled_alike(sst):
    def notes(task, labels):
        rows = [Example("", ("a",), label, 1) for label in labels]
        if task.config.type == "classification":
            task.labels = sorted(set(labels))
        return class_notes(task, rows)

    assert notes(sst, [4, 0, 4]) == ["5 classes: 0 1, 1 0, 2 0, 3 0, 4 2"]
    own = make_task("own", task_config("own", {"type": "classification"}))
    spelled = ["Pos", "pos", "neg", "very  good", "Very good", "very\u00a0good", "pos"]
    (line, *alike) = notes(own, spelled)
    assert line.startswith("6 classes: Pos 1, 'Very good' 1, neg 1, pos 2")
    assert len(alike) == 2 and alike[0].startswith("the classes 'Pos', 'pos' differ in case or spacing alone")
    assert all(repr(name) in alike[1] for name in ("very  good", "Very good", "very\u00a0good"))
    many = make_task("own", task_config("own", {"type": "classification"}))
    counts = Counter(f"{i:03}" for i in range(200))
    (line,) = notes(many, list(counts))
    assert line.startswith("200 classes: 000 1, 001 1") and line.endswith(", 039 1 and 160 more")
    assert notes(make_task("paraphrase", task_config("paraphrase", {})), [1, 0, 1]) == ["2 classes: 0 1, 1 2"]
    assert notes(make_task("ner", task_config("ner", {})), [("O", "B-X"), ("O",)]) == [
        "2 classes: B-X 1, O 2"
    ]
    assert notes(make_task("sts", task_config("sts", {})), [1.5]) == []


def test_a_split_that_is_not_there_is_noted(sst, tmp_path):
    missing = tmp_path / "ids-sst-dev.csv"
    assert load_split(sst, tmp_path, "dev") == (None, [f"sst: no dev split (no file {missing}), left out"])
    task = make_task("news", task_config("news", {"type": "classification"}))
    assert load_split(task, tmp_path, "dev") == (
        None,
        ["news: no dev split (news.dev names no file), left out"],
    )


def test_data_folders(tmp_path):
    with open_data(tmp_path) as folder:
        assert folder == tmp_path
    with open_data("sample") as folder:
        assert (folder / "ids-sst-train.csv").is_file()
    assert not folder.exists()
    (tmp_path / "file").write_text("")
    for name, message in (("absent", "does not exist"), ("file", "is a file")):
        with pytest.raises(InputError, match=f"{name} {message}; give a folder with the data files, or"):
            with open_data(tmp_path / name):
                pass
