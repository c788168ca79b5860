"""Kinds of tasks by name, and kinds and losses of a user's own from a Python file."""

import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from minbert import BertConfig, InputError
from multitask.cli.main import run
from multitask.config.run_config import RunConfig
from multitask.config.task_config import task_config
from multitask.config.task_file import load_task_file
from multitask.config.task_kinds import KINDS, find_kind, make_task, register
from multitask.model.multitask_model import MultitaskModel
from multitask.tasks.base import TextTask
from multitask.tasks.course import SST
from multitask.tasks.generic import PairTask

pytestmark = pytest.mark.usefixtures("own_kinds")

DOCUMENT = Path(__file__).parents[3] / "docs" / "adding-a-task.md"


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


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


def test_a_users_file_brings_a_kind_and_may_be_loaded_again(tmp_path):
    path = write(tmp_path / "own.py", OWN)
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
    first = find_kind("entailment")
    load_task_file(str(path))
    assert find_kind("entailment") is not first


def test_doctor_reports_on_tasks_of_a_users_own(tmp_path, capsys):
    """A kind from --task-file whose files are there, and tasks that a configuration makes of our kinds."""
    write(tmp_path / "nli.csv", "premise;hypothesis;label\na;b;1\nc;d;0\ne;f;2\n")
    write(tmp_path / "news.csv", "text|label\none|A\ntwo|B\n")
    toml = write(tmp_path / "own.toml", '[tasks.news]\ntype = "classification"\ntrain = "news.csv"\n')
    path = write(tmp_path / "own.py", OWN)
    for words, lines in (
        (["--task-file", path], ["entailment train: 2 rows, 1 rejected", "is not between 0 and 1"]),
        (["--task-file", path, "--tasks", "entailment"], ["entailment train: 2 rows"]),
        (["--config", toml], ["news train: 2 rows, 0 rejected", "labels: A: 1 (50.0%), B: 1 (50.0%)"]),
    ):
        run(["doctor", str(tmp_path), *map(str, words)])
        found = capsys.readouterr().out
        assert all(line in found for line in lines)
    with pytest.raises(InputError, match="there is no Python file"):
        run(["doctor", str(tmp_path), "--task-file", str(tmp_path / "absent.py")])


def test_a_kind_that_extends_sst_with_a_loss_of_its_own(tmp_path, monkeypatch):
    """The second file of docs/adding-a-task.md: defaults are inherited, the added loss is SST's too."""
    monkeypatch.setattr(SST, "losses", SST.losses)  # taken back after the test
    [_, block] = re.findall(r"^```py\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    for _ in range(2):
        load_task_file(write(tmp_path / "reviews.py", block))
    task = make_task("reviews", task_config("reviews", {}))
    assert isinstance(task, SST) and task.labels == tuple("01234") and task.hub_task == SST.hub_task
    assert task.config.train == "reviews-train.csv" and task.config.label == "sentiment"
    assert task.format.stem == "reviews" and task.format.column == "Predicted_Sentiment"
    logits, labels = torch.randn(6, 5), torch.tensor([0, 1, 2, 3, 4, 0])
    for kind in ("reviews", "sst"):
        found = make_task(kind, task_config(kind, {"loss": "margin"}))
        assert found.loss(logits, labels) == F.multi_margin_loss(logits, labels)
    assert "margin" not in find_kind("cfimdb").losses and "margin" not in find_kind("classification").losses


def test_names_that_are_taken_and_defaults_that_are_wrong(tmp_path):
    class Other(TextTask):
        defaults = {"poolin": "cls"}

    with pytest.raises(InputError, match="there is a task 'sst' already; register yours under another name"):
        register("sst", Other)
    register("own", Other)
    register("own", Other)
    with pytest.raises(InputError, match="own.poolin.*did you mean 'pooling'"):
        task_config("own", {})

    class Another(TextTask):
        pass

    with pytest.raises(InputError, match="there is a task 'own' already"):
        register("own", Another)
    with pytest.raises(InputError, match="there is a task 'pair' already"):
        load_task_file(write(tmp_path / "own.py", OWN.replace('register("entailment"', 'register("pair"')))
    assert find_kind("pair") is PairTask
    with pytest.raises(InputError, match="no task 'paraphrases'; did you mean 'paraphrase'"):
        find_kind("paraphrases")


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("absent.py", None, InputError, "there is no Python file .*absent.py; give the file that registers"),
        ("own.txt", "", InputError, "own.txt is no file whose name ends in .py"),
        ("broken.py", "x = 1\nclass Mine(:\n", InputError, "broken.py:2: invalid syntax; mend the file"),
        ("raises.py", "1 / 0\n", ZeroDivisionError, "division by zero"),  # with the user's own traceback
    ],
)
def test_files_that_cannot_be_loaded(tmp_path, name, content, error, message):
    if content is not None:
        write(tmp_path / name, content)
    with pytest.raises(error, match=message):
        load_task_file(tmp_path / name)


def test_a_plain_loss_reads_what_it_likes_and_gets_no_targets_to_broadcast():
    class Mine(TextTask):
        losses = {"mine": F.mse_loss}

    task = Mine("mine", task_config("pair", {"loss": "mine", "temperature": 0.3, "label_smoothing": 0.1}))
    assert task.loss(torch.ones(3), torch.zeros(3)) == 1
    for outputs, targets in (((3,), (3, 1)), ((3, 1), (3,)), ((3, 2), (3, 1)), ((3,), (1,))):
        with pytest.raises(InputError, match="they must be equal"):
            task.loss(torch.ones(outputs), torch.zeros(targets))


def test_parameters_outside_of_the_head_are_refused(tiny):
    class Scaled(PairTask):
        def build_head(self, encoder: BertConfig) -> None:
            super().build_head(encoder)
            self.scale = torch.nn.Parameter(torch.ones(1))

    with pytest.raises(InputError, match="mine has parameters outside of its head; put them into `head`"):
        MultitaskModel(tiny, {"mine": Scaled("mine", task_config("pair", {}))})


TASK_FILE = '''
from multitask import register
from multitask.tasks.generic import ClassificationTask


class Topic(ClassificationTask):
    """Topics."""

    defaults = {"text": "text", "label": "topic"}


register("topic", Topic)
'''


def test_a_run_finds_the_task_file_from_another_folder(tiny_folder, tmp_path, monkeypatch, capsys):
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    here.mkdir()
    elsewhere.mkdir()
    write(here / "topic.py", TASK_FILE)
    for split in ("train", "dev"):
        write(here / f"{split}.tsv", "text\ttopic\n" + "the dog is good\ta\na good film is dull\tb\n" * 6)

    def multitask(*words, folder):
        """Runs a command as a process that knows no kind of the user's."""
        KINDS.pop("topic", None)
        monkeypatch.chdir(folder)
        capsys.readouterr()
        run([*map(str, words)])
        return capsys.readouterr().out

    words = ["--task-file", "topic.py", "--tasks", "topic", "--topic.train", "train.tsv"]
    words += ["--topic.dev", "dev.tsv", "--weights", tiny_folder, "--data", here, "--out", here / "run"]
    monkeypatch.setattr("multitask.inference.plots.write_plots", lambda run: [])
    multitask("train", *words, "--train.epochs", 1, folder=here)
    expected = json.loads((here / "run" / "scores.json").read_text())["scores"]
    found = multitask("evaluate", here / "run", "--json", folder=elsewhere)
    assert json.loads(found)["scores"] == expected

    words = ["--weights", here / "run" / "best", "--data", here, "--json"]
    with pytest.raises(InputError, match="--task-file"):
        multitask("evaluate", *words, folder=elsewhere)
    given = multitask("evaluate", *words, "--task-file", here / "topic.py", folder=elsewhere)
    assert json.loads(given)["scores"] == expected
