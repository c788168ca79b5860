"""Finding kinds of tasks by name, and kinds of a user's own from a Python file."""

import pytest

import multitask
from minbert import InputError
from multitask.config.run_config import RunConfig
from multitask.config.task_config import task_config
from multitask.config.task_kinds import KINDS, find_kind, load_task_file, make_task, register
from multitask.tasks.base import TextTask
from multitask.tasks.generic import PairTask

pytestmark = pytest.mark.usefixtures("own_kinds")

OWN = """
from __future__ import annotations
from dataclasses import dataclass

from multitask import register
from multitask.tasks.generic import PairTask

@dataclass
class Threshold:
    value: float = 0.25

class Entailment(PairTask):
    "Does the first text entail the second?"
    defaults = PairTask.defaults | {"train": "nli.csv", "text": "premise", "text2": "hypothesis"}

    def decode(self, outputs, inputs):
        return (outputs > Threshold().value).long().tolist()

register("entailment", Entailment)
"""


def test_a_users_file_brings_a_kind(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    with pytest.raises(InputError, match="no task 'entailment'.*or load your own with --task-file"):
        task_config("entailment", {})
    load_task_file(path)
    config = task_config("entailment", {"pooling": "cls"})
    assert (config.text2, config.pairs, config.loss) == ("hypothesis", "cross", "binary_cross_entropy")
    task = make_task("entailment", config)
    assert isinstance(task, PairTask) and task.file("train") == "nli.csv"
    assert task.format.stem == "entailment" and task.format.values == "flag"
    second = RunConfig.from_dict({"tasks": {"mine": {"type": "entailment", "text": "a"}}}).tasks["mine"]
    assert (second.type, second.text) == ("entailment", "a")


def test_a_file_may_be_loaded_again(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    load_task_file(path)
    first = find_kind("entailment")
    load_task_file(str(path))
    assert find_kind("entailment") is not first


def test_a_name_that_is_taken_is_refused(tmp_path):
    class Other(TextTask):
        pass

    with pytest.raises(InputError, match="there is a task 'sst' already; register yours under another name"):
        register("sst", Other)
    register("own", Other)
    register("own", Other)

    class Another(TextTask):
        pass

    with pytest.raises(InputError, match="there is a task 'own' already"):
        register("own", Another)
    path = tmp_path / "own.py"
    path.write_text(OWN.replace('register("entailment"', 'register("pair"'))
    with pytest.raises(InputError, match="there is a task 'pair' already"):
        load_task_file(path)
    assert find_kind("pair") is PairTask


def test_defaults_of_a_kind_are_checked():
    class Wrong(TextTask):
        defaults = {"poolin": "cls"}

    register("wrong", Wrong)
    with pytest.raises(InputError, match="wrong.poolin.*did you mean 'pooling'"):
        task_config("wrong", {})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.py", None, "there is no Python file .*absent.py; give the file that registers your task"),
        ("own.txt", "", "there is no Python file .*own.txt"),
        ("broken.py", "x = 1\nclass Mine(:\n", "broken.py:2: invalid syntax; mend the file"),
    ],
)
def test_files_that_cannot_be_loaded(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_task_file(tmp_path / name)


def test_an_error_inside_a_users_file_shows_where(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        load_task_file(path)


def test_unknown_kinds_get_a_hint():
    with pytest.raises(InputError, match="no task 'paraphrases'; did you mean 'paraphrase'"):
        find_kind("paraphrases")
    assert all(isinstance(find_kind(kind), type) for kind in KINDS)


def test_every_public_name_is_there():
    for name in multitask.__all__:
        assert getattr(multitask, name) is not None and name in dir(multitask)
    assert callable(multitask.evaluate) and callable(multitask.train)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = multitask.trian
