"""Several labels a row: read, trained, predicted and written; thresholds and ranges of all kinds."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from minbert import InputError
from multitask.config.task_config import LABEL_OPTIONS, task_config
from multitask.config.task_kinds import KINDS, find_kind, make_task
from multitask.data.readers import Example
from multitask.tasks.predictions import prediction_path, read_predictions, validate_file

NAMES = ("animals", "film", "study")
ROWS = [("animals", "study"), (), ("film",), ("animals",)]
LOGITS = torch.tensor([[2.0, -1.0, 0.3], [-0.2, -3.0, -1.0], [0.0, 0.1, 4.0]])


def task_of(kind="multilabel", **values):
    return make_task("topics", task_config("topics", {"type": kind, "train": "train", "dev": "dev"} | values))


def write_csv(path, separator):
    rows = [separator.join(row) or "[]" for row in ROWS]
    lines = (f"text {i}\t{row}" for i, row in enumerate(rows))
    path.write_text("text\tlabels\n" + "\n".join(lines) + "\n", encoding="utf-8")


def write_jsonl(path, separator):
    rows = [{"text": f"text {i}", "labels": list(row)} for i, row in enumerate(ROWS)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def write_parquet(path, separator):
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"text": [f"text {i}" for i in range(len(ROWS))], "labels": [list(r) for r in ROWS]})
    pytest.importorskip("pyarrow.parquet").write_table(table, path)


@pytest.mark.parametrize(
    ("name", "write", "separator"),
    [
        ("bars.tsv", write_csv, "|"),
        ("semicolons.tsv", write_csv, " ; "),
        ("commas.tsv", write_csv, ","),
        ("lists.jsonl", write_jsonl, "|"),
        ("lists.parquet", write_parquet, "|"),
    ],
)
def test_labels_from_a_column_with_separators_or_from_lists(tmp_path, name, write, separator):
    write(tmp_path / name, separator)
    task = task_of(train=name, label_separator=separator.strip())
    examples = task.load(tmp_path, "train")
    assert [row.label for row in examples.rows] == ROWS and not examples.rejects
    assert task.labels == task.classes == NAMES and task.outputs == 3
    assert [task.target(row) for row in examples.rows[:2]] == [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    assert task.majority_prediction(examples.rows) in ROWS


def test_what_a_row_of_labels_may_not_be():
    task = task_of()
    accepted = {"b|a": ("a", "b"), " a | a": ("a",), '["b, c", 3]': ("3", "b, c"), "[]": ()}
    named = task_of(labels=["3", "a", "b", "b, c"])
    for text, labels in accepted.items():
        assert named.parse_label(text) == labels
    refused = {
        "a||b": "has an empty label",
        "a,b": "label 'a,b' has a comma, .* say in topics.label-separator what stands between labels",
        "[a]": "begins like a JSON list and is not one",
        "[[1]]": "is not a list of texts or whole numbers",
        "[0.5]": "is not a list of texts or whole numbers",
        "[" * 100_000: "begins like a JSON list",
    }
    for text, message in refused.items():
        with pytest.raises(ValueError, match=message):
            task.parse_label(text)
    with pytest.raises(ValueError, match="label 'c' is not one of 3, a, b, b, c"):
        named.parse_label("a|c")


def test_an_empty_cell_is_a_reject_that_says_how_to_write_no_labels(tmp_path):
    (tmp_path / "train.tsv").write_text("text\tlabels\na cat\tanimals\na dog\t\n", encoding="utf-8")
    [reject] = task_of(train="train.tsv").load(tmp_path, "train").rejects
    assert reject.line == 3
    assert reject.reason == "the label 'labels' is empty; write [] for a row without labels"


def test_the_loss_is_binary_cross_entropy_and_the_probabilities_are_sigmoids():
    task = task_of(labels=NAMES)
    rows = [Example(str(i), ("a",), label, i) for i, label in enumerate(ROWS[:3])]
    targets = torch.tensor([task.target(row) for row in rows])
    expected = F.binary_cross_entropy_with_logits(LOGITS, targets)
    torch.testing.assert_close(task.loss(LOGITS, targets), expected)
    scores = task.example_scores(LOGITS.double()).numpy()
    np.testing.assert_allclose(task.probabilities(scores), 1 / (1 + np.exp(-LOGITS.double().numpy())))
    assert task.decode(LOGITS, None) == [("animals", "study"), (), ("film", "study")] == task.hard(scores)
    assert task.score(ROWS[:3], rows) == {"micro_f1": 1.0, "macro_f1": 1.0}
    reordered = task_of(labels=NAMES[::-1])  # a row's labels are sorted, whatever the order of the outputs
    assert reordered.decode(LOGITS.flip(1), None) == task.decode(LOGITS, None)


@pytest.mark.parametrize("threshold", [0.05, 0.5, 0.57, 0.9])
def test_a_threshold_decides_what_is_predicted(threshold):
    """Of labels, of pairs, and of two classes; 0.574 is sigmoid(0.3)."""
    p = LOGITS.sigmoid()
    values = {"threshold": threshold}
    task = task_of(labels=NAMES, **values)
    expected = [tuple(n for n, flag in zip(NAMES, row, strict=True) if flag) for row in p > threshold]
    assert task.decode(LOGITS, None) == expected == task.hard(p.numpy())
    pair = task_of("pair", **values)
    assert pair.decode(LOGITS[0], None) == (p[0] > threshold).long().tolist() == pair.hard(p[0].numpy())
    two = torch.stack([torch.zeros(3), LOGITS[0]], dim=1)
    for kind, names in (("classification", ("no", "yes")), ("cfimdb", (0, 1))):
        task = task_of(kind, labels=["no", "yes"] if kind == "classification" else ["0", "1"], **values)
        expected = [names[flag] for flag in (p[0] > threshold).long().tolist()]
        assert task.decode(two, None) == expected == task.hard(two.softmax(dim=-1).numpy())
        assert task.classes == names


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("sst", {"threshold": 0.3}, "topics.threshold is 0.3, and there are 5 classes: 0, 1, 2, 3, 4; a"),
        (
            "similarity",
            {"threshold": 0.3},
            "topics.threshold is 0.3, which tasks of type 'similarity' do not",
        ),
        ("ner", {"threshold": 0.3}, "topics.threshold is 0.3, which tasks of type 'ner' do not read"),
        ("simcse", {"threshold": 0.3}, "'simcse' do not read .of these options: none.; leave it out"),
        ("pair", {"labels": ["a", "b", "c"]}, "topics.labels is .'a', 'b', 'c'., which tasks of type 'pair'"),
        ("classification", {"high": 5.0}, "high is 5.0, which tasks of type 'classification' do not read"),
        ("sst", {"label_separator": ";"}, "topics.label-separator is ';', which tasks of type 'sst' do not"),
        ("multilabel", {"low": -1.0}, "low is -1.0, .* labels and label_separator and threshold.; leave"),
        ("multilabel", {"class_weights": "1,2"}, "topics.class-weights is '1,2', which no loss of its type"),
        (
            "multilabel",
            {"labels": ["a", "b|c"]},
            "the label 'b.c' is empty or has a bar",
        ),
        ("multilabel", {"threshold": 1.0}, "threshold is 1.0; it must be above 0 and below 1"),
        ("multilabel", {"label_separator": ""}, "label_separator is empty; give the text that stands"),
    ],
)
def test_options_that_a_kind_does_not_read_are_refused(kind, values, message):
    with pytest.raises(InputError, match=message):
        task_of(kind, **values)


def test_prediction_files_hold_any_number_of_labels(tmp_path):
    task = task_of(labels=NAMES)
    rows = [Example(str(i), ("a",), None, i) for i in range(len(ROWS))]
    ids = [row.id for row in rows]
    for dialect in ("code", "handout"):
        path = prediction_path(tmp_path, task.format, "dev", dialect)
        task.write(ROWS, rows, path, dialect)
        assert validate_file(path, ids, task.format) == []
        read = [value for _, value in read_predictions(path, task.format)]
        assert read == ["animals|study", "[]", "film", "animals"]
        assert list(map(task.parse_label, read)) == ROWS
    path.write_text("id, Prediction\n0, animals||film\n1, a|a\n", encoding="utf-8")
    problems = validate_file(path, ids[:2], task.format)
    assert [problem.line for problem in problems] == [2, 3]
    assert problems[0].message == "'animals||film' has a label that is empty or there twice"


@pytest.mark.parametrize("kind", ["similarity", "regression", "sts"])
def test_scores_outside_the_range_name_low_and_high(tmp_path, kind):
    low, high = (-50, 50) if kind == "regression" else (0, 1)
    values = {} if kind == "sts" else {"low": float(low), "high": float(high)}
    task = task_of(kind, **values, label="score", text="text", train="train.tsv")
    columns = ["text"] if task.config.text2 is None else ["text", task.config.text2]
    header = "\t".join([*columns, "score"])
    rows = ["\t".join([*["a"] * len(columns), score]) for score in ("3.5", "-60", "0.25")]
    (tmp_path / "train.tsv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    rejects = task.load(tmp_path, "train").rejects
    high = 5 if kind == "sts" else high
    assert [reject.line for reject in rejects] == ([2, 3] if kind == "similarity" else [3])
    expected = f"'-60' is not between {low} and {high}, which are topics.low and topics.high"
    assert expected in rejects[-1].reason


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (-50.0, 50.0), (1e6, 1e6 + 1), (-1e-30, 1e-30), (-1e30, 1e30)]
)
def test_a_regression_has_any_range(low, high):
    task = task_of("regression", low=low, high=high)
    scores = [low, low + 0.3 * (high - low), high]
    outputs = torch.tensor([0.0, 0.3, 1.0])
    assert task.decode(outputs, None) == pytest.approx(scores, abs=1e-6 * (high - low), rel=0)
    rows = [Example(str(i), ("a",), score, i) for i, score in enumerate(scores)]
    targets = task._tensor([task.target(row) for row in rows])
    for loss, expected in (("mse", 0), ("pearson", 0)):
        other = task_of("regression", low=low, high=high, loss=loss)
        assert other.loss(outputs, targets).item() == pytest.approx(expected, abs=1e-6)
    assert task.score(scores, rows) == pytest.approx({"pearson": 1, "spearman": 1})
    assert task.decode(torch.tensor([-1.0, 2.0]), None) == [low, high]
    with pytest.raises(InputError, match="topics has no probabilities: tasks of type 'regression'"):
        _ = task.classes


def test_probabilities_of_contradicting_levels_are_none_below_0():
    """P(above 0) = 0.2 and P(above 1) = 0.8: sorted, the level that is predicted is the same."""
    task = task_of("sst", loss="ordinal")
    outputs = torch.tensor([[0.2, 0.8, 0.4, 0.1], [0.9, 0.6, 0.4, 0.1]], dtype=torch.float64).logit()
    shares = task.probabilities(task.example_scores(outputs).numpy())
    np.testing.assert_allclose(shares, [[0.2, 0.4, 0.2, 0.1, 0.1], [0.1, 0.3, 0.2, 0.3, 0.1]])
    assert task.hard(shares) == task.decode(outputs, None) == [1, 2] and task.classes == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_says_which_options_it_reads(kind):
    assert find_kind(kind).label_options != LABEL_OPTIONS  # all of them, some in vain
