"""Training as a whole: the run's folder, what is refused before it is made, and that runs repeat."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert import BertModel, InputError, Tokenizer
from multitask import RunConfig, load_run, train
from multitask.inference.run import make_tasks, open_source
from multitask.runtime.precision import Precision
from multitask.runtime.tracking import read_metrics
from multitask.training.inputs import load_inputs
from multitask.training.selection import selector

MODEL_FILES = """checksums.json config.json heads.json heads.safetensors model.safetensors tokenizer.json
tokenizer_config.json vocab.txt""".split()
TENSORS = ("best/model", "best/heads", "last/model", "last/heads", "last/training_state/tensors")


def all_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def strict_json(text: str):
    """As JSON is defined: without NaN and Infinity."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def same_tensors(folder: Path, other: Path, names=TENSORS) -> bool:
    ours, theirs = (
        {(n, k): t for n in names for k, t in load_file(run / f"{n}.safetensors").items()}
        for run in (folder, other)
    )
    assert ours.keys() == theirs.keys()
    return all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_the_folder_of_a_run(tiny_run, tiny_config, tiny_data, tmp_path):
    """These files and no others, plain JSON, and the content that repeats the run or predicts with it."""
    state = {"last/training_state/state.json", "last/training_state/tensors.safetensors"}
    top = {"README.md", "config.json", "environment.json", "metrics.jsonl", "scores.json"}
    models = {f"{name}/{file}" for name in ("best", "last") for file in MODEL_FILES} | {"best/README.md"}
    assert all_files(tiny_run) == top | models | state
    read = {path.name: strict_json(path.read_text(encoding="utf-8")) for path in tiny_run.rglob("*.json")}
    lines = (tiny_run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [strict_json(line) for line in lines]
    assert [record["step"] for record in records if record["kind"] == "evaluation"] == [14, 28]
    assert [record["step"] for record in records if record["kind"] == "train"] == [10, 14, 20, 28]
    environment = read["environment.json"]
    assert {"minbert", "python", "torch", "platform", "git"} <= environment.keys()
    assert environment["device"] == "cpu" and environment["threads"] == 1
    names = [f"{name}-{split}.csv" for name in ("ids-sst", "quora", "sts") for split in ("train", "dev")]
    hashes = {name: hashlib.sha256((tiny_data / name).read_bytes()).hexdigest() for name in names}
    assert environment["data"] == hashes
    saved = json.loads((tiny_run / "config.json").read_text())
    assert RunConfig.from_dict(saved) == tiny_config(out=str(tiny_run))
    heads = read["heads.json"]["tasks"]
    assert list(heads) == ["sst", "paraphrase", "sts"]
    assert heads["sst"]["config"]["pooling"] == "mean" and heads["sst"]["fallback"] in range(5)
    load_run(tiny_run).write_predictions(tmp_path / "predictions")
    assert len(list((tmp_path / "predictions").iterdir())) == 3


def test_a_tokenizer_with_more_ids_than_embeddings_is_refused(tiny_folder, tiny_config, tmp_path):
    weights = shutil.copytree(tiny_folder, tmp_path / "weights")
    tokenizer = Tokenizer.from_pretrained(weights)
    tokenizer.backend.add_tokens(["newword"])
    tokenizer.save_pretrained(weights)
    message = "'newword' has .*take the tokenizer that belongs to the weights"
    with pytest.raises(InputError, match=message):
        train(tiny_config(weights=str(weights), out=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match=message):
        open_source(weights)


def test_config_json_alone_repeats_the_run_whatever_the_process_did_before(tiny_run, tmp_path):
    torch.manual_seed(2)
    torch.rand(5)
    values = json.loads((tiny_run / "config.json").read_text())
    train(RunConfig.from_dict(values | {"out": str(tmp_path / "again")}))
    assert same_tensors(tmp_path / "again", tiny_run)


@pytest.mark.parametrize(
    ("changes", "same"),
    [({"train": {"seed": 1}}, False), ({"eval": {"every_steps": 3}, "checkpoint": {"every_steps": 2}}, True)],
    ids=["another seed", "evaluations and checkpoints"],
)
def test_what_changes_the_weights(tiny_config, tiny_run, tmp_path, changes, same):
    train(tiny_config(**changes))
    assert same_tensors(tmp_path / "run", tiny_run, ("last/model", "last/heads")) is same


def test_the_best_checkpoint_is_the_best_and_scores_as_the_log_says(tiny_config, tmp_path):
    """Scores on disk are those that decided; the step is the earliest of the highest."""
    run = train(tiny_config(train={"epochs": 4}, select="sst.accuracy"))
    evaluations = [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "evaluation"]
    best = max(record["scores"]["sst"]["accuracy"] for record in evaluations)
    first = next(record for record in evaluations if record["scores"]["sst"]["accuracy"] == best)
    assert run.scores["step"] == first["step"]
    assert run.scores["scores"] == first["scores"]
    assert load_run(tmp_path / "run").evaluate().scores == first["scores"]
    assert json.loads((tmp_path / "run" / "scores.json").read_text()) == run.scores


def test_it_learns(tiny_config):
    """15 sentences with random labels are learnt by heart: the loop does what it is for."""
    config = tiny_config(
        limit=15,
        train={"epochs": 24, "batch_size": 3},
        optim={"lr": 5e-3},
        model={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        tasks={"sst": {"dropout": 0.0}},
    )
    run = train(config)
    losses = [r["loss"]["sst"] for r in read_metrics(run.folder / "metrics.jsonl") if r["kind"] == "train"]
    assert losses[-1] < 0.1 < 1 < losses[0]


def test_training_goes_on_from_a_checkpoint_with_its_heads(tiny_config, tiny_run, tmp_path):
    still = {"optim": {"lr": 0.0, "head_lr": 0.0}, "train": {"max_steps": 1}}
    train(tiny_config(weights=str(tiny_run / "best"), **still))
    assert same_tensors(tmp_path / "run", tiny_run, ("best/model", "best/heads"))


def test_dropout_rates_of_the_run_are_in_force(tiny_config):
    config = tiny_config(model={"hidden_dropout_prob": 0.4, "attention_probs_dropout_prob": 0.0})
    encoder = load_inputs(config, Path(config.data), torch.device("cpu")).model.encoder
    assert encoder.encoder.layers[0].dropout.p == 0.4
    assert encoder.config.attention_probs_dropout_prob == 0.0


def test_the_log_agrees_with_the_optimizer(tiny_config, tmp_path, monkeypatch):
    """The rate of each record is that of the encoder's group in that step; one step of the run is skipped."""
    rates, skipped, step = {}, {}, Precision.step

    def spied(self, optimizer):
        number = len(rates) + 1
        if number == 12:
            self.skip()
        step(self, optimizer)
        (rates[number],) = {group["lr"] for group in optimizer.param_groups if group["part"] == "encoder"}
        skipped[number] = self.skipped

    monkeypatch.setattr(Precision, "step", spied)
    train(tiny_config(eval={"every_steps": 3}))
    records = [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "train"]
    assert {r["step"]: r["rate"] for r in records} == {r["step"]: rates[r["step"]] for r in records}
    assert [r["step"] for r in records if r["step_skipped"]] == [12]
    assert [r.get("skipped", 0) for r in records] == [skipped[r["step"]] for r in records]
    assert len({r["rate"] for r in records}) > 5


def test_weights_that_are_lost_do_not_overwrite_a_checkpoint(tiny_config, tmp_path, monkeypatch):
    """The loss of a step can be finite while the update after it is not."""
    step = Precision.step

    def overflow(self, optimizer):
        step(self, optimizer)
        if self.steps == 28:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].fill_(float("inf"))

    monkeypatch.setattr(Precision, "step", overflow)
    with pytest.raises(InputError, match="is not finite after step 28; .*the last checkpoint stays"):
        train(tiny_config(select="sst.accuracy"))
    for name in TENSORS:
        assert all(t.isfinite().all() for t in load_file(tmp_path / "run" / f"{name}.safetensors").values())


# What is refused, before anything is written.


def refused(config, message, out):
    with pytest.raises(InputError, match=message):
        train(config)
    assert not Path(out).exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": None}, "no weights; give --weights"),
        ({"data": None}, "no data folder; give --data"),
        ({"out": None}, "no folder for the run; give --out"),
        ({"weights": "missing/w"}, "there is no folder"),
        ({"data": "missing/d"}, "data folder .* does not exist"),
        ({"precision": "fp16"}, "precision fp16 needs a CUDA device"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"tasks": {"half": {"type": "sst"}}}, "task name 'half' is taken by torch"),
        (
            {"select": "sst.acuracy"},
            "'sst.acuracy'; choose from overall_2024, mean_raw, sst.*did you mean 'sst.accuracy'",
        ),
        ({"select": "overal"}, "select is 'overal'.*did you mean 'overall_2024'"),
        ({"select": "mean_raw", "tasks": {"sst": {}}}, "choose from sst.accuracy, sst.off_by_one"),
        ({"freeze": "backbone", "tasks": {"sts": {}}}, "nothing to train"),
    ],
    ids=str,
)
def test_what_is_refused(tiny_config, tmp_path, changes, message):
    refused(tiny_config(**changes), message, tmp_path / "run")


def test_a_folder_that_is_there_is_left_alone_and_an_empty_one_taken(tiny_config, tmp_path):
    out, file = tmp_path / "run", tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        train(tiny_config(out=str(file)))
    out.mkdir()
    assert train(tiny_config(train={"max_steps": 1})).scores
    before = all_files(out)
    with pytest.raises(InputError, match="exists already; choose another --out, or continue it: multitask"):
        train(tiny_config())
    assert all_files(out) == before and file.read_text() == "mine"


# Data that cannot be used.


@pytest.fixture
def data(tiny_data, tmp_path):
    return shutil.copytree(tiny_data, tmp_path / "data")


def test_a_task_without_training_rows(tiny_config, data, tmp_path):
    config, path = tiny_config(data=str(data)), data / "sts-train.csv"
    header = path.read_text().splitlines()[0] + "\n"
    path.unlink()
    nothing = "sts has nothing to train on: there is no file .*sts-train.csv"
    refused(config, nothing, tmp_path / "run")
    for content, message in (
        (header, "sts has nothing to train on: no row of .*sts-train.csv is usable"),
        ("", "sts-train.csv: has no header"),
        ("\tid\tsentence1\tsentence2\n0\ta\tgood\tbad\n", "sts has no labels; set sts.label to their column"),
        ("\tid\tsentence1\tsimilarity\n0\ta\tgood\t1\n", "no column 'sentence2'; did you mean 'sentence1'"),
    ):
        path.write_text(content)
        refused(config, message, tmp_path / "run")


def test_rows_and_splits_that_cannot_be_used_are_noted_and_the_run_goes_on(tiny_config, data, said):
    path = data / "ids-sst-train.csv"
    lines = path.read_text().splitlines()
    lines[3] = lines[3].rpartition("\t")[0] + "\t9"
    path.write_text("\n".join(lines) + "\n")
    (data / "sts-dev.csv").unlink()
    (data / "quora-dev.csv").write_text("\tid\tsentence1\tsentence2\n0\ta\tgood\tbad\n")
    run = train(tiny_config(data=str(data), train={"max_steps": 1}))
    (note,) = (line for line in said if "rejected" in line)
    assert "ids-sst-train.csv:4 rejected" in note and "'9'" in note
    assert any(line.split()[:2] == ["sst", "44"] for line in said)
    assert list(run.scores["scores"]) == ["sst"] and run.scores["overall"] == {}
    assert any("sts: no dev split" in line for line in said)
    assert "paraphrase: quora-dev.csv has no labels to score by" in said


def test_without_any_dev_split_the_last_is_the_best(tiny_config, data):
    for path in data.glob("*-dev.csv"):
        path.unlink()
    run = train(tiny_config(data=str(data)))
    assert run.scores["step"] == 28 and run.scores["scores"] == {}
    config = tiny_config(data=str(data), out=str(data / "new"), select="sst.accuracy")
    refused(config, "select is 'sst.accuracy'; there is no dev split to score", data / "new")


SCORES = {
    "sst": {"accuracy": 0.5, "off_by_one": 0.8},
    "paraphrase": {"accuracy": 0.7, "f1": 0.1},
    "sts": {"pearson": 0.2, "spearman": 0.3},
}


@pytest.mark.parametrize(
    ("select", "names", "value"),
    [
        (None, ("sst", "paraphrase", "sts"), (0.5 + 0.7 + 0.6) / 3),
        ("mean_raw", ("sst", "paraphrase", "sts"), (0.5 + 0.7 + 0.2) / 3),
        ("paraphrase.f1", ("sst", "paraphrase", "sts"), 0.1),
        (None, ("sst", "sts"), (0.5 + 0.2) / 2),
        (None, (), None),
    ],
)
def test_what_selects_the_best(tiny_config, tiny_folder, select, names, value):
    config = tiny_config(select=select)
    tasks = make_tasks(config.tasks, BertModel.from_pretrained(tiny_folder).config)
    found = selector(config, tasks)({name: SCORES[name] for name in names})
    assert found == (value if value is None else pytest.approx(value))
