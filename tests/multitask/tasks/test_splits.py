"""A split of a task's data: notes on rejects and on what is missing, the limit, the bundled corpus."""

import pytest

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.tasks.splits import load_split, open_data

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


def test_rejects_are_noted_with_line_and_reason_and_the_limit_takes_the_first_rows(sst, write):
    path = write("a\tgood\t4", "b\t\t3", "c\tdull\t", "d\tbad\t7", "e\tshort", "f\tgood\t1", "g\tbad\t0")
    examples, notes = load_split(sst, path.parent, "dev", limit=2)
    assert [row.id for row in examples.rows] == ["a", "f"]
    assert notes == [
        f"sst: {path}:3 rejected: the text 'sentence' is empty or not text",
        f"sst: {path}:4 rejected: the label 'sentiment' is empty",
        f"sst: {path}:5 rejected: the label 'sentiment' cannot be used: '7' is not between 0 and 4",
        f"sst: {path}:6 rejected: 3 fields where the header has 4",
    ]
    path = write(*["a\t\t3"] * 8)
    _, notes = load_split(sst, path.parent, "dev")
    assert len(notes) == 6 and notes[-1] == f"sst: 8 rows of {path} rejected in all"


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
