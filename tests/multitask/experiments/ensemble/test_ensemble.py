"""`multitask ensemble` on real runs: averages of their example scores, in valid prediction files."""

import gc
import json
import shutil
import weakref

import numpy as np
import pytest

from minbert import InputError
from multitask import load_run
from multitask.cli.main import run as multitask
from multitask.experiments.ensemble import ensemble as ensemble_module
from multitask.experiments.ensemble.ensemble import ensemble
from multitask.metrics.scores import overall_scores
from multitask.tasks.predictions import read_predictions
from multitask.tasks.splits import load_split

TASKS = ("sst", "paraphrase", "sts")
FILES = ("sst-dev-output.csv", "para-dev-output.csv", "sts-dev-output.csv")


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
def runs(train_run):
    """Three runs whose heads, losses, poolings and methods differ."""
    other = {
        "sst": {"loss": "ordinal", "pooling": "cls", "hidden": [7]},
        "paraphrase": {"pairs": "bi"},
        "sts": {"head": "mlp", "loss": "mse", "label_scale": [-1.0, 1.0]},
    }
    adapted = {"sts": {"loss": "cosent"}, "sst": {}, "paraphrase": {}}
    return [
        train_run("plain"),
        train_run("other", tasks=other),
        train_run("adapted", lora={"rank": 2}, tasks=adapted),
    ]


@pytest.fixture(scope="module")
def members(runs, data):
    """The runs, loaded; the labelled dev rows of each task, and what each run says of them."""
    loaded, found = [load_run(run) for run in runs], {}
    for name in TASKS:
        rows = load_split(loaded[0].task(name), data, "dev")[0].rows
        found[name] = [run.example_scores(name, rows) for run in loaded], rows
    return loaded, found


@pytest.mark.parametrize("method", ["plain", "weighted", "greedy"])
def test_scores_and_files_are_those_of_the_mean(runs, members, data, tmp_path, method):
    result = ensemble(runs, data, method=method, out=tmp_path)
    assert result.single == [run.evaluate(data).scores for run in members[0]]
    for name, file in zip(TASKS, FILES, strict=True):
        scores, rows = members[1][name]
        task = members[0][0].task(name)
        mean = sum(weight * part for weight, part in zip(result.weights[name], scores, strict=True))
        expected = task.hard(mean)
        assert result.scores[name] == pytest.approx(task.score(expected, rows), nan_ok=True)
        written = dict(read_predictions(tmp_path / file, task.format))
        found = [float(written[row.id]) for row in rows]
        assert found == pytest.approx([float(value) for value in expected], abs=1e-5)
        if method == "plain":
            assert result.weights[name] == pytest.approx([1 / 3] * 3)
        else:
            assert result.cross_validated[name].keys() == result.scores[name].keys()
        if method == "greedy":
            best = max(single[name][task.primary_metric] for single in result.single)
            assert result.scores[name][task.primary_metric] >= best - 1e-12
    saved = json.loads((tmp_path / "ensemble.json").read_text())
    assert saved["weights"] == result.weights
    assert saved["ensemble"]["overall"] == overall_scores(result.scores)


def test_the_order_of_the_runs_does_not_matter(runs, members, data):
    """Though the first takes the most probable level, and the second, "ordinal", the middle one."""
    there, back = ensemble(runs[:2], data), ensemble(runs[1::-1], data)
    assert there.scores == {name: pytest.approx(scores) for name, scores in back.scores.items()}
    assert there.single == back.single[::-1]
    soft, rows = members[1]["sst"]
    expected = np.mean(np.mean(soft[:2], axis=0).argmax(axis=1) == [row.label for row in rows])
    assert there.scores["sst"]["accuracy"] == pytest.approx(expected)


def test_files_are_valid_and_weights_for_test_are_fitted_on_dev(runs, data, tmp_path):
    dev, test = (
        ensemble(runs[:2], data, split, ["sst", "sts"], "weighted", tmp_path, "handout")
        for split in ("dev", "test")
    )
    assert dev.weights == test.weights and dev.scores == test.scores
    assert len(dev.files) == len(test.files) == 2
    assert multitask(["validate", str(tmp_path), "--data", str(data), "--tasks", "sst,sts"]) == 0


def test_copies_of_one_run_write_what_the_run_writes(runs, members, data, tmp_path):
    """Ordinal runs among themselves take the middle level; a row without text gets the fallback."""
    shutil.copytree(runs[1], tmp_path / "copy")
    result = ensemble([runs[1], str(tmp_path / "copy")], data, out=tmp_path / "ours")
    run = members[0][1]
    assert result.scores == result.single[0] == run.evaluate(data).scores
    run.write_predictions(tmp_path / "theirs", data)
    for name in FILES[:2]:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    written = dict(read_predictions(tmp_path / "ours" / FILES[0], run.task("sst").format))
    assert int(written["empty"]) == run.fallbacks["sst"] and "unmarked" in written
    assert any("ids-sst-dev.csv:18 has no text; predicted the training split's" in n for n in result.notes)


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
    ensemble(runs, data, tasks=["sst"])
    assert len(alive) == 3


CUSTOM = {"type": "classification", "train": "ids-sst-train.csv", "dev": "ids-sst-dev.csv"}
CUSTOM |= {"text": "sentence", "label": "sentiment"}


def test_tasks_that_runs_lack_or_that_differ(train_run, data):
    (data / "words.txt").write_text("EU B-ORG\nrejects O\n\nthe O\ncat B-PER\n\n", encoding="utf-8")
    tags = {"type": "tokens", "train": "words.txt", "dev": "words.txt"}
    base = train_run("base", tasks={"mine": CUSTOM, "tags": tags, "sts": {}}, train={"max_steps": 1})
    changed = {"mine": CUSTOM | {"labels": list("43210")}, "tags": tags, "sts": {"high": 10.0}}
    other = train_run("other-tasks", tasks=changed, train={"max_steps": 1})
    with pytest.raises(InputError, match=r"tasks: mine.labels is \('4', .*, and \('0', .* leave the run out"):
        ensemble([base, other], data, tasks=["mine"])
    with pytest.raises(InputError, match="tasks: sts.high is 10.0, and 5.0 in the first run"):
        ensemble([base, other], data, tasks=["sts"])
    with pytest.raises(InputError, match="tags .* average the weights: --average weights"):
        ensemble([base, other], data, tasks=["tags"])
    few = train_run("few", tasks={"sts": {}, "tags": tags}, train={"max_steps": 1})
    result = ensemble([base, few], data)
    assert list(result.scores) == ["sts"] and overall_scores(result.scores) == {}
    assert any("tags (type tokens) gives no number" in note for note in result.notes)
    assert any(note.startswith(f"left out: {few}: the run has no task 'mine'") for note in result.notes)
    with pytest.raises(InputError, match="few: the run has no task 'mine'"):
        ensemble([base, few], data, tasks=["mine"])


def test_sources_that_make_no_ensemble(runs, data, tmp_path):
    with pytest.raises(InputError, match="needs two or more folders"):
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


def test_the_command(runs, data, capsys, tmp_path):
    """One JSON object, or a table that warns of fitted weights."""

    def command(*words: str) -> str:
        multitask(["ensemble", *runs, "--data", str(data), *words])
        return capsys.readouterr().out

    result = ensemble(runs, data, method="greedy")
    capsys.readouterr()
    found = json.loads(command("--method", "greedy", "--json"))
    assert found == json.loads(json.dumps(result.as_dict()))
    assert found["fitted_on_dev"] and found["cross_validated"]["scores"]["sst"]
    assert found["single"][1]["overall"] == overall_scores(result.single[1])
    shown = command("--method", "greedy", "--out", str(tmp_path))
    (line,) = [line for line in shown.splitlines() if line.split()[:2] == ["sts", "pearson"]]
    values = [*result.single, result.scores, result.cross_validated]
    assert line.split()[2:] == [f"{scores['sts']['pearson']:.4f}" for scores in values]
    assert "weights were fitted on these dev examples" in shown and "overall_2024" in shown
    assert f"wrote {tmp_path / 'sst-dev-output.csv'}" in shown
    shown = command("--tasks", "sst")
    assert "cross-validated" not in shown and "fitted" not in shown and "paraphrase" not in shown
