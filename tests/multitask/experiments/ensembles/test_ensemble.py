"""`multitask ensemble` on real runs: averages of their soft predictions, in valid prediction files."""

import gc
import json
import os
import shutil
import weakref

import numpy as np
import pytest

from minbert import CommandParser, InputError
from multitask import RunConfig, load_run, train
from multitask.cli.ensemble import add_ensemble_options, ensemble_command
from multitask.cli.main import run as multitask
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.experiments.ensembles import ensemble as ensemble_module
from multitask.experiments.ensembles.ensemble import ensemble
from multitask.metrics.scores import overall_scores
from multitask.tasks.predictions import read_predictions
from multitask.tasks.splits import load_split

FORMATS = {
    name: make_task(name, task_config(name, {})).format for name in ("sst", "paraphrase", "sts", "cfimdb")
}

TASKS = ("sst", "paraphrase", "sts")
FILES = ["sst-{}-output.csv", "para-{}-output.csv", "sts-{}-output.csv"]


@pytest.fixture(scope="module")
def data(tiny_data, tmp_path_factory):
    """The tiny data with rows that have no text or no label in dev, and test splits of sst and sts."""
    folder = tmp_path_factory.mktemp("data") / "data"
    shutil.copytree(tiny_data, folder)
    with open(folder / "ids-sst-dev.csv", "a", encoding="utf-8") as file:
        file.write("15\tunmarked\tgood movie\t\n16\tempty\t\t3\n")
    for name in ("ids-sst", "sts"):
        lines = (folder / f"{name}-dev.csv").read_text(encoding="utf-8").splitlines()
        rows = ["\t".join(line.split("\t")[:-1]) for line in lines]
        (folder / f"{name}-test-student.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def train_run(tiny_folder, data, tmp_path_factory):
    """The function train_run(name, **changes) -> the run's folder, as text."""
    folder = tmp_path_factory.mktemp("runs")

    def train_one(name, **changes):
        values = {
            "weights": str(tiny_folder),
            "data": str(data),
            "out": str(folder / name),
            "device": "cpu",
            "train": {"epochs": 2, "batch_size": 8, "seed": len(name)},
            "optim": {"lr": 1e-3, "head_lr": 1e-2},
            "tasks": {task: {} for task in TASKS},
        }
        return str(train(RunConfig.from_dict(values | changes)).folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield train_one


@pytest.fixture(scope="module")
def runs(train_run):
    """Three runs whose heads, losses, poolings and methods differ."""
    return [
        train_run("plain"),
        train_run(
            "other",
            tasks={
                "sst": {"loss": "ordinal", "pooling": "cls", "hidden": [7]},
                "paraphrase": {"pairs": "bi"},
                "sts": {"head": "mlp", "loss": "mse", "label_scale": [-1.0, 1.0]},
            },
        ),
        train_run(
            "adapted", lora={"rank": 2}, tasks={"sts": {"loss": "cosent"}, "sst": {}, "paraphrase": {}}
        ),
    ]


def dev_rows(runs, data, name):
    return load_split(load_run(runs[0]).task(name), data, "dev")[0].rows


def soft_of(runs, data, name):
    rows = dev_rows(runs, data, name)
    return [load_run(run).example_scores(name, rows) for run in runs], rows


def test_single_scores_are_those_of_evaluate(runs, data):
    result = ensemble(runs, data)
    assert result.single == [load_run(run).evaluate(data).scores for run in runs]
    assert result.weights == {name: pytest.approx([1 / 3] * 3) for name in TASKS}


@pytest.mark.parametrize("method", ["plain", "weighted", "greedy"])
def test_scores_and_files_are_those_of_the_mean(runs, data, tmp_path, method):
    result = ensemble(runs, data, method=method, out=tmp_path)
    for name, file in zip(TASKS, FILES, strict=True):
        soft, rows = soft_of(runs, data, name)
        task = load_run(runs[0]).task(name)
        mean = sum(weight * part for weight, part in zip(result.weights[name], soft, strict=True))
        expected = task.hard(mean)
        assert result.scores[name] == pytest.approx(task.score(expected, rows), nan_ok=True)
        written = dict(read_predictions(tmp_path / file.format("dev"), FORMATS[name]))
        found = [float(written[row.id]) for row in rows]
        assert found == pytest.approx([float(value) for value in expected], abs=1e-5)
    saved = json.loads((tmp_path / "ensemble.json").read_text())
    assert saved["weights"] == result.weights and saved["ensemble"]["overall"] == overall_scores(
        result.scores
    )


def test_the_order_of_the_runs_does_not_matter(runs, data):
    """Though the first takes the most probable level, and the second, "ordinal", the middle one."""
    there, back = ensemble(runs[:2], data), ensemble(runs[1::-1], data)
    assert there.scores == {name: pytest.approx(scores) for name, scores in back.scores.items()}
    assert there.single == back.single[::-1]
    soft, rows = soft_of(runs[:2], data, "sst")
    expected = np.mean(np.mean(soft, axis=0).argmax(axis=1) == [row.label for row in rows])
    assert there.scores["sst"]["accuracy"] == pytest.approx(expected)


def test_ordinal_runs_among_themselves_take_the_middle_level(runs, data, tmp_path):
    shutil.copytree(runs[1], tmp_path / "copy")
    result = ensemble([runs[1], str(tmp_path / "copy")], data)
    assert result.scores == result.single[0] == load_run(runs[1]).evaluate(data).scores


def test_greedy_is_no_worse_than_the_best(runs, data):
    result = ensemble(runs, data, method="greedy")
    for name, metric in (("sst", "accuracy"), ("paraphrase", "accuracy"), ("sts", "pearson")):
        best = max(single[name][metric] for single in result.single)
        assert result.scores[name][metric] >= best - 1e-12
    assert set(result.cross_validated) == set(TASKS)


@pytest.mark.parametrize("dialect", ["code", "handout"])
def test_the_files_are_valid(runs, data, tmp_path, dialect):
    for split in ("dev", "test"):
        result = ensemble(
            runs, data, split, method="weighted", out=tmp_path, dialect=dialect, tasks=["sst", "sts"]
        )
        assert len(result.files) == 2
    assert multitask(["validate", str(tmp_path), "--data", str(data), "--tasks", "sst,sts"]) == 0


def test_rows_without_text_get_the_fallback_and_rejects_with_text_a_prediction(runs, data, tmp_path):
    result = ensemble(runs, data, out=tmp_path)
    written = dict(read_predictions(tmp_path / "sst-dev-output.csv", FORMATS["sst"]))
    assert int(written["empty"]) == load_run(runs[0]).fallbacks["sst"]
    assert "unmarked" in written
    assert any("ids-sst-dev.csv:18 has no text; predicted the training split's" in n for n in result.notes)


def test_copies_of_one_run_write_what_the_run_writes(runs, data, tmp_path):
    shutil.copytree(runs[1], tmp_path / "copy")
    ensemble([runs[1], str(tmp_path / "copy")], data, out=tmp_path / "ours")
    load_run(runs[1]).write_predictions(tmp_path / "theirs", data)
    for name in ("sst-dev-output.csv", "para-dev-output.csv"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_weights_for_test_are_fitted_on_dev(runs, data):
    on_dev, on_test = (ensemble(runs, data, split, ["sst", "sts"], "weighted") for split in ("dev", "test"))
    assert on_dev.weights == on_test.weights and on_dev.scores == on_test.scores


def test_checkpoints_and_the_runs_own_data(runs, data):
    """A checkpoint folder is a source too; the first run says where the data are."""
    result = ensemble([runs[0], f"{runs[2]}/last"])
    assert result.single[0] == load_run(runs[0]).evaluate().scores
    with pytest.raises(InputError, match="last does not say where its data lie; give --data DIR"):
        ensemble([f"{runs[2]}/last", runs[0]])


def test_no_two_runs_are_loaded_at_once(runs, data, monkeypatch):
    alive, original = [], ensemble_module.open_source

    def open_source(*arguments, **options):
        gc.collect()
        assert not [reference for reference in alive if reference() is not None]
        run = original(*arguments, **options)
        alive.append(weakref.ref(run.model))
        return run

    monkeypatch.setattr(ensemble_module, "open_source", open_source)
    ensemble(runs, data)
    assert len(alive) == 3


def test_tasks_that_a_run_lacks(runs, data, train_run):
    few = train_run("few", tasks={"sts": {}, "sst": {}}, train={"max_steps": 1})
    result = ensemble([runs[0], few], data)
    assert list(result.scores) == ["sst", "sts"] and overall_scores(result.scores) == {}
    assert any(note.startswith(f"left out: {few}: the run has no task 'paraphrase'") for note in result.notes)
    with pytest.raises(InputError, match="few: the run has no task 'paraphrase'"):
        ensemble([runs[0], few], data, tasks=["paraphrase"])


CUSTOM = {"type": "classification", "train": "ids-sst-train.csv", "dev": "ids-sst-dev.csv"}
CUSTOM |= {"text": "sentence", "label": "sentiment"}


def test_tasks_that_differ_are_refused(train_run, data):
    one = {"train": {"max_steps": 1}}
    base = train_run("upwards", tasks={"mine": CUSTOM}, **one)
    downwards = train_run("downwards", tasks={"mine": CUSTOM | {"labels": list("43210")}}, **one)
    with pytest.raises(
        InputError, match=r"downwards: mine.labels is \('4', .*, and \('0', .* leave the run out"
    ):
        ensemble([base, downwards], data)
    scaled = train_run("scaled", tasks={"sts": {"high": 10.0}}, **one)
    usual = train_run("usual", tasks={"sts": {}}, **one)
    with pytest.raises(InputError, match="scaled: sts.high is 10.0, and 5.0 in the first run"):
        ensemble([usual, scaled], data)


def test_words_are_refused_with_a_hint(train_run, data):
    words = "EU B-ORG\nrejects O\nbooks O\n\nthe O\ncat B-PER\n\n"
    (data / "words.txt").write_text(words, encoding="utf-8")
    tags = {"type": "tokens", "train": "words.txt", "dev": "words.txt"}
    found = [
        train_run(name, tasks={"tags": tags, "sts": {}}, train={"max_steps": 1}) for name in ("red", "green")
    ]
    result = ensemble(found, data)
    assert list(result.scores) == ["sts"]
    assert any("tags (type tokens) gives no number" in note for note in result.notes)
    with pytest.raises(InputError, match="tags .* average the weights: --average weights"):
        ensemble(found, data, tasks=["tags"])


def test_what_is_no_ensemble(runs, data, tmp_path):
    with pytest.raises(InputError, match="one run is no ensemble; give two or more"):
        ensemble(runs[:1], data)
    with pytest.raises(InputError, match="is given twice; name each run once"):
        ensemble([runs[0], f"{runs[1]}/../plain"], data)
    (tmp_path / "data").mkdir()
    for path in data.glob("*-t*.csv"):
        shutil.copy(path, tmp_path / "data")
    with pytest.raises(InputError, match="sst: there are no labelled dev examples to fit weights on"):
        ensemble(runs, tmp_path / "data", "test", method="weighted")
    result = ensemble(runs, tmp_path / "data", "test", out=tmp_path / "out", tasks=["sst", "sts"])
    assert result.scores == {} and len(result.files) == 2


# The command.


def command(*words: str):
    parser = CommandParser(prog="multitask ensemble")
    add_ensemble_options(parser)
    return ensemble_command(parser.parse_args(words))


def test_the_command_prints_one_json_object(runs, data, capsys):
    command(*runs, "--data", str(data), "--method", "weighted", "--json")
    found = json.loads(capsys.readouterr().out)
    result = ensemble(runs, data, method="weighted")
    assert found == json.loads(json.dumps(result.as_dict()))
    assert found["fitted_on_dev"] and found["cross_validated"]["scores"]["sst"]
    assert found["single"][1]["overall"] == overall_scores(result.single[1])


def test_the_command_shows_a_table_and_warns_of_fitted_weights(runs, data, capsys, tmp_path):
    command(*runs, "--data", str(data), "--method", "greedy", "--out", str(tmp_path))
    shown = capsys.readouterr().out
    result = ensemble(runs, data, method="greedy")
    (line,) = [line for line in shown.splitlines() if line.startswith("sts            pearson")]
    values = [*(single["sts"]["pearson"] for single in result.single), result.scores["sts"]["pearson"]]
    values.append(result.cross_validated["sts"]["pearson"])
    assert line.split()[2:] == [f"{value:.4f}" for value in values]
    assert "weights were fitted on these dev examples" in shown and "overall_2024" in shown
    assert f"wrote {tmp_path / 'sst-dev-output.csv'}" in shown
    command(*runs, "--data", str(data), "--tasks", "sst")
    shown = capsys.readouterr().out
    assert "cross-validated" not in shown and "fitted" not in shown and "paraphrase" not in shown
