"""Kinds of tasks by configuration alone, from tables made here: one run trains them, and all else reads it.

Several labels a text, pairs of three classes in one input and in two towers, a regression, pairs with a
threshold. Run: pytest tests/multitask/test_kinds_from_tables.py
"""

import csv
import json
import random
import shutil
import tomllib
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics as sklearn_metrics

from minbert import InputError
from multitask import RunConfig, load_run, train
from multitask.cli.main import run as multitask
from multitask.config.option_types import merge
from multitask.experiments.ensemble.ensemble import ensemble
from multitask.runtime.tracking import read_metrics
from multitask.tasks.predictions import read_predictions, validate_file
from multitask.tasks.probabilities import probability_path, read_probabilities, validate_probabilities
from multitask.tasks.splits import load_split

CONFIG = """
[tasks.topics]
type = "multilabel"
train = "topics-train.jsonl"
dev = "topics-dev.jsonl"
threshold = 0.4

[tasks.nli]
type = "classification"
text = "premise"
text2 = "hypothesis"
pairs = "cross"
train = "nli-train.csv"
dev = "nli-dev.csv"

[tasks.nli_towers]
type = "classification"
text = "premise"
text2 = "hypothesis"
pairs = "bi"
features = ["u", "v", "difference", "product"]
train = "nli-train.csv"
dev = "nli-dev.csv"

[tasks.grade]
type = "regression"
label = "grade"
low = -50.0
high = 50.0
train = "grade-train.csv"
dev = "grade-dev.csv"

[tasks.same]
type = "pair"
threshold = 0.3
train = "same-train.csv"
dev = "same-dev.csv"
"""
TOPICS = {"animals": "cat", "film": "film", "study": "book"}
CLASSES = ("contradiction", "entailment", "neutral")
TASKS = ("topics", "nli", "nli_towers", "grade", "same")
SIZES = {"train": 48, "dev": 17}


def rows_of(split: str) -> dict[str, list[dict]]:
    """Single words decide the labels."""
    draw, found = random.Random(split), {"topics": [], "nli": [], "grade": [], "same": []}
    words = "the a of over under green blue house river my your".split()
    for i in range(SIZES[split]):
        text = draw.choices(words, k=draw.randint(2, 6))
        labels = sorted(label for label in TOPICS if draw.random() < 0.4)
        topics = [*text, *(TOPICS[label] for label in labels)]
        found["topics"].append({"id": f"t{i}", "text": " ".join(topics), "labels": labels})
        label = draw.choice(CLASSES)
        second = {"contradiction": "not", "entailment": "very", "neutral": "what"}[label]
        pair = {"premise": " ".join(text), "hypothesis": f"{second} {text[0]}", "label": label}
        found["nli"].append({"id": f"n{i}"} | pair)
        good = draw.randint(0, 4)
        grade = {"text": " ".join([*text, *["good"] * good, *["bad"] * (4 - good)]), "grade": 25 * good - 50}
        found["grade"].append({"id": f"g{i}"} | grade)
        same = draw.randint(0, 1)
        pair = {"sentence1": " ".join(text), "sentence2": "is how" if same else "dull film", "label": same}
        found["same"].append({"id": f"s{i}"} | pair)
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    for split in SIZES:
        for name, rows in rows_of(split).items():
            if name == "topics":
                lines = "".join(json.dumps(row) + "\n" for row in rows)
                (folder / f"topics-{split}.jsonl").write_text(lines, encoding="utf-8")
                continue
            with open(folder / f"{name}-{split}.csv", "w", encoding="utf-8", newline="") as file:
                table = csv.DictWriter(file, rows[0])
                table.writeheader()
                table.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def folder(data, tiny_options, tmp_path_factory):
    """The folder of the run. To be read only."""
    out = tmp_path_factory.mktemp("kinds") / "run"
    values = tiny_options | {"data": str(data), "out": str(out)}
    values = merge(values, {"train": {"epochs": 8}, "optim": {"lr": 2e-3}})
    train(RunConfig.from_dict(values | tomllib.loads(CONFIG)))
    return out


@pytest.fixture(scope="module")
def loaded(folder):
    return load_run(folder, "cpu")


def dev_rows(run, data, task):
    """The examples of dev, and their texts as `predict` takes them."""
    examples = load_split(run.task(task), data, "dev")[0].rows
    return examples, [list(side) for side in zip(*(row.texts for row in examples), strict=True)]


@pytest.mark.parametrize("task", TASKS)
def test_each_kind_learns_from_a_table(folder, task):
    losses = [
        record["loss"][task]
        for record in read_metrics(folder / "metrics.jsonl")
        if record["kind"] == "train" and task in record["loss"]
    ]
    assert np.mean(losses[-3:]) < 0.7 * np.mean(losses[:3])


def test_scores_are_those_of_scikit_learn_and_scipy(loaded, data):
    scores = loaded.evaluate(data).scores
    examples, texts = dev_rows(loaded, data, "topics")
    predicted = loaded.predict("topics", *texts)
    binary = [
        np.array([[label in row for label in TOPICS] for row in rows], int)
        for rows in ([example.label for example in examples], predicted)
    ]
    for average in ("micro", "macro"):
        expected = sklearn_metrics.f1_score(*binary, average=average, zero_division=0)
        assert scores["topics"][f"{average}_f1"] == pytest.approx(expected, rel=1e-12)
    for task in ("nli", "nli_towers"):
        examples, texts = dev_rows(loaded, data, task)
        labels = [example.label for example in examples]
        expected = sklearn_metrics.accuracy_score(labels, loaded.predict(task, *texts))
        assert scores[task] == {"accuracy": expected} and expected > 0.5
    examples, texts = dev_rows(loaded, data, "grade")
    predicted = loaded.predict("grade", *texts)
    assert scores["grade"]["pearson"] == pytest.approx(
        stats.pearsonr(predicted, [example.label for example in examples])[0], abs=1e-6
    )
    assert min(predicted) < 0 < max(predicted) and -50 <= min(predicted) and max(predicted) <= 50


def test_probabilities_are_the_softmax_or_the_sigmoid_of_the_outputs(loaded, data):
    for task in TASKS[:3]:
        examples, texts = dev_rows(loaded, data, task)
        kind = loaded.task(task)
        with torch.no_grad():
            batch = kind.collate(kind.tokenize(loaded.tokenizer, examples))
            outputs = loaded.model(task, batch.inputs).double()
        expected = outputs.sigmoid() if task == "topics" else outputs.softmax(dim=-1)
        found = loaded.predict_proba(task, *texts)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
        assert found.shape == (len(examples), 3) and found.dtype == np.float64
        assert kind.classes == (tuple(TOPICS) if task == "topics" else CLASSES)
        if task != "topics":
            places = [kind.classes.index(label) for label in loaded.predict(task, *texts)]
            assert places == found.argmax(axis=1).tolist()
    _, texts = dev_rows(loaded, data, "same")
    found = loaded.predict_proba("same", *texts)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    assert loaded.task("same").classes == (0, 1)
    assert loaded.predict("same", *texts) == (found[:, 1] > 0.3).astype(int).tolist()
    assert loaded.predict_proba("same", [], []).shape == (0, 2)
    assert loaded.predict_proba("topics", []).shape == (0, 3)
    with pytest.raises(InputError, match="grade has no probabilities: tasks of type 'regression' predict no"):
        loaded.predict_proba("grade", ["a cat"])
    with pytest.raises(InputError, match="same takes pairs of texts an example"):
        loaded.predict_proba("same", ["a cat"])


def test_probability_files_are_read_back_bit_by_bit(loaded, data, tmp_path):
    files, notes = loaded.write_predictions(tmp_path, data, "dev", probabilities=True)
    names = [f"{task}-dev-{kind}.csv" for task in TASKS for kind in ("output", "probabilities")]
    assert [path.name for path in files] == [name for name in names if name != "grade-dev-probabilities.csv"]
    [note] = [note for note in notes if "grade" in note]
    assert note.startswith("grade has no probabilities: tasks of type 'regression' predict no classes")
    for task in ("topics", "nli", "nli_towers", "same"):
        examples, texts = dev_rows(loaded, data, task)
        kind, ids = loaded.task(task), [row.id for row in examples]
        path = probability_path(tmp_path, kind.format, "dev")
        found = read_probabilities(path)
        assert found.ids == tuple(ids) and found.classes == tuple(map(str, kind.classes))
        np.testing.assert_allclose(found.values, loaded.predict_proba(task, *texts), atol=1e-6)
        assert validate_probabilities(path, ids, kind.classes, task != "topics") == []
        [path] = [path for path in files if path.name == f"{task}-dev-output.csv"]
        written = [value for _, value in read_predictions(path, kind.format)]
        predicted = loaded.predict(task, *texts)
        if task == "topics":
            predicted = ["|".join(labels) or "[]" for labels in predicted]
        assert written == [f"{value}.0" if task == "same" else value for value in predicted]
    with pytest.raises(InputError, match="grade has no probabilities"):
        loaded.write_predictions(tmp_path, data, "dev", ["grade"], probabilities=True)


def test_the_command_prints_probabilities(folder, loaded, capsys):
    [shares] = loaded.predict_proba("topics", ["the cat"]).tolist()
    [labels] = loaded.predict("topics", ["the cat"])
    multitask(["predict", str(folder), "--task", "topics", "--text", "the cat", "--probabilities"])
    columns = (f"{name} {share:.4f}" for name, share in zip(TOPICS, shares, strict=True))
    assert capsys.readouterr().out == "\t".join(["|".join(labels) or "[]", *columns]) + "\n"
    words = ["--task", "same", "--text", "a cat", "is how", "--probabilities", "--json"]
    multitask(["predict", str(folder), *words])
    [row] = json.loads(capsys.readouterr().out)["predictions"]
    [expected] = loaded.predict_proba("same", ["a cat"], ["is how"]).tolist()
    assert row["probabilities"] == pytest.approx({"0": expected[0], "1": expected[1]}, abs=1e-9)
    assert row["prediction"] == loaded.predict("same", ["a cat"], ["is how"])[0]
    with pytest.raises(InputError, match="grade has no probabilities: tasks of type 'regression'"):
        multitask(["predict", str(folder), "--task", "grade", "--text", "a cat", "--probabilities"])


@pytest.mark.parametrize("method", ["plain", "weighted", "greedy"])
def test_runs_are_averaged(folder, loaded, data, tmp_path, method):
    """A run with itself predicts as it does alone."""
    copy = shutil.copytree(folder, tmp_path / "copy")
    result = ensemble([str(folder), str(copy)], data, method=method, out=tmp_path / "out")
    assert tuple(result.scores) == TASKS
    for task, scores in loaded.evaluate(data).scores.items():
        assert result.scores[task] == pytest.approx(scores, abs=1e-6)
    rows, _ = dev_rows(loaded, data, "topics")
    path = tmp_path / "out" / "topics-dev-output.csv"
    assert validate_file(path, [row.id for row in rows], loaded.task("topics").format) == []


def test_runs_with_other_thresholds_are_not_averaged(folder, data, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    heads = json.loads((copy / "best" / "heads.json").read_text())
    config = json.loads((copy / "config.json").read_text())
    heads["tasks"]["topics"]["config"]["threshold"] = config["tasks"]["topics"]["threshold"] = 0.7
    (copy / "best" / "heads.json").write_text(json.dumps(heads))
    (copy / "best" / "checksums.json").unlink()
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"topics.threshold is 0.7, and 0.4 in the first run"):
        ensemble([str(folder), str(copy)], data)


def test_the_page_of_the_run_has_a_table_of_each_label(folder, loaded, data, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from multitask.experiments.report.report import write_report

    monkeypatch.setattr("multitask.experiments.report.charts.chart", lambda *arguments: "<svg></svg>")
    page = write_report(folder, tmp_path / "page.html", data).read_text(encoding="utf-8")
    assert "topics: scores of each label on dev, at the threshold 0.4" in page
    for caption in ("topics: examples of each label", "nli: confusion matrix on dev", "same: thresholds."):
        assert caption in page
    assert "grade: predicted against gold on dev" in page


def test_a_threshold_can_be_changed_after_training(folder, data):
    run = load_run(folder, "cpu")
    task = run.model.tasks["topics"]
    task.config = replace(task.config, threshold=1e-9)
    assert set(run.predict("topics", ["a cat", "the river"])) == {tuple(TOPICS)}


def test_the_model_card_names_the_scores(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| topics | dev | 17 | micro_f1 |" in card and "text-classification" in card


# Files that are not as they should be


def test_what_is_wrong_with_a_probability_file(tmp_path):
    path = tmp_path / "sst-dev-probabilities.csv"

    def problems(content: str, exclusive: bool = True, optional=()) -> list[tuple]:
        path.write_text(content, encoding="utf-8")
        found = validate_probabilities(path, ["a", "b"], ("no", "yes"), exclusive, optional)
        return [(problem.line, problem.message) for problem in found]

    assert problems("id,no,yes\na,0.25,0.75\nb,1.0,0.0\n") == []
    assert problems("id,no,yes\na,0.9,0.75\nb,0.0,0.0\n", exclusive=False) == []
    assert problems("id,no,yes\na,0.25,0.75\nb,,\n", optional=["b"]) == []
    assert problems("id,no,yes\na,0.25,0.75\nb,,\n") == [(3, "b has no probabilities")]
    assert problems("id,no,yes\na,0.25,0.7\nb,-0.1,1.1\n") == [
        (2, "the probabilities of a sum to 0.95, not to 1"),
        (3, "b has a number that is not from 0 to 1"),
    ]
    [(line, message)] = problems("id,yes,no\na,0.25,0.75\nb,1,0\n")
    assert (line, message) == (1, "the classes are yes, no; they are no, yes")
    [(line, message), (_, missing)] = problems("id,no,yes\na,0.25\nb,1,0\n")
    assert (line, message) == (2, "this row is not an id and 2 numbers") and "no prediction: a" in missing
    with pytest.raises(InputError, match="csv:2: this row is not an id and 2 numbers; give a file as"):
        problems("id,no,yes\na,x,0.2\n")
        read_probabilities(path)
    assert problems("nothing\n")[0] == (1, "the header has to be id and the classes, with commas between")


def test_validate_reads_probability_files_of_the_course(tiny_run, tiny_data, tmp_path, capsys):
    run = load_run(tiny_run, "cpu")
    files, _ = run.write_predictions(tmp_path, tiny_data, "dev", probabilities=True)
    words = ["validate", str(tmp_path), "--data", str(tiny_data), "--split", "dev"]
    assert multitask(words) == 0
    assert "5 files checked, 0 errors" in capsys.readouterr().out
    path = tmp_path / "sst-dev-probabilities.csv"
    path.write_text(path.read_text("utf-8").replace("id,0,1", "id,1,0"), encoding="utf-8")
    shutil.copyfile(path, tmp_path / "sts-dev-probabilities.csv")
    assert multitask(words) == 1
    shown = capsys.readouterr().out
    assert "the classes are 1, 0, 2, 3, 4; they are 0, 1, 2, 3, 4" in shown
    assert "sts has no probabilities: tasks of type 'sts' predict no classes" in shown


def test_rows_without_text_have_no_probabilities(tiny_run, tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    with open(data / "ids-sst-dev.csv", "a", encoding="utf-8") as file:
        file.write("15\tempty\t\t3\n16\tunmarked\tgood movie\t\n")
    run = load_run(tiny_run, "cpu")
    run.write_predictions(tmp_path, data, "dev", ["sst"], probabilities=True)
    found = read_probabilities(tmp_path / "sst-dev-probabilities.csv")
    assert found.ids[-2:] == ("empty", "unmarked") and np.isnan(found.values[-2]).all()
    np.testing.assert_allclose(found.values[-1:], run.predict_proba("sst", ["good movie"]), atol=1e-6)
    assert (
        validate_probabilities(
            tmp_path / "sst-dev-probabilities.csv", found.ids[:-2], range(5), True, ["empty", "unmarked"]
        )
        == []
    )
