"""Ranking: positive pairs of a labelled table, the other rows counted; what is masked."""

import csv

import pytest
import torch

from minbert import InputError
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task

ROWS = [
    ("the cat reads", "a cat is reading", "1.0"),
    ("good", "bad", "0.0"),
    ("what a movie", "what a film", "1.0"),
    ("what a film", "great film", "1.0"),
    ("bad", "not good", "1.0"),
    ("dull", "great", "0.5"),
]


@pytest.fixture
def ranking(tmp_path):
    """ranking(rows, columns, **config) -> (task, Examples of the training split)."""

    def make(rows=ROWS, columns=("sentence1", "sentence2", "is_duplicate"), **values):
        with open(tmp_path / "pairs.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter="\t").writerows([columns, *rows])
        task = make_task("ranking", task_config("ranking", {"train": "pairs.csv"} | values))
        return task, task.load(tmp_path, "train")

    return make


def test_rows_that_are_no_positives_are_counted_and_not_used(ranking):
    task, examples = ranking()
    assert [row.texts for row in examples.rows] == [ROWS[i][:2] for i in (0, 2, 3, 4)]
    assert [reject.line for reject in examples.rejects] == [7]
    assert task.prepare_training(examples.rows) == [
        "1 of 5 rows are no positive pairs, and not used",
        "2 of 4 pairs are known positives of another; left out of each other's negatives",
    ]


def test_a_file_without_labels_holds_positive_pairs(ranking):
    task, examples = ranking([row[:2] for row in ROWS], ("sentence1", "sentence2"))
    assert len(examples.rows) == 6
    [note, _] = task.prepare_training(examples.rows)
    assert note.endswith("pairs.csv has no column 'is_duplicate'; every row is a positive pair")


def test_hard_negatives_come_from_columns_of_their_own(ranking, on_tiny, tiny_tokenizer):
    columns = ("sentence1", "sentence2", "is_duplicate", "n1", "n2")
    task, examples = ranking([(*row, "a", "b") for row in ROWS[:5]], columns, negatives=["n1", "n2"])
    assert examples.rows[0].texts == ("the cat reads", "a cat is reading", "a", "b")
    task.prepare_training(examples.rows)
    batch = task.collate(task.tokenize(tiny_tokenizer, examples.rows))
    assert batch.targets.shape == (4, 4) and on_tiny(task)("ranking", batch.inputs).shape == (4, 4, 24)
    assert on_tiny(task).loss("ranking", batch).isfinite()


def test_known_positives_are_masked_through_the_loss(ranking, on_tiny, tiny_tokenizer):
    task, examples = ranking()
    task.prepare_training(examples.rows)
    batch = task.collate(task.tokenize(tiny_tokenizer, examples.rows))
    model = on_tiny(task)
    with torch.no_grad():
        outputs, loss = model("ranking", batch.inputs).double(), model.loss("ranking", batch)
    unit = outputs / outputs.norm(dim=-1, keepdim=True)
    logits = unit[:, 0] @ unit[:, 1].T / 0.05
    logits[1, 2] = logits[2, 1] = -torch.inf  # "what a movie" = "what a film" = "great film"
    assert loss.item() == pytest.approx(-logits.log_softmax(dim=1).diagonal().mean().item(), abs=1e-4)
    assert task.masked_share == 2 / 12


def test_labels_and_columns_that_cannot_be_used(ranking):
    with pytest.raises(InputError, match="no column 'text'"):
        ranking(text="text")
    with pytest.raises(InputError, match="ranking needs pairs; set ranking.text2"):
        ranking(text2=None, pairs=None)


@pytest.mark.parametrize("file", ["quora-train.csv", "quora-extra/positives.csv"])
def test_the_shared_files(file, shared, tmp_path):
    lines = (shared / "data" / file).read_text(encoding="utf-8").split("\n")[:1001]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    task = make_task("ranking", task_config("ranking", {"train": "pairs.csv"}))
    examples = task.load(tmp_path, "train")
    positives = sum("\t1.0" in line for line in lines)
    assert len(examples.rows) == positives and not examples.rejects
    note = task.prepare_training(examples.rows)[0]
    assert note == f"{1000 - positives} of 1,000 rows are no positive pairs, and not used"
