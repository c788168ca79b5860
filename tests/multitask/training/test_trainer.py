"""Training as a whole: the run's folder, what is refused before it is made, and that runs repeat."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minbert import BertModel, InputError
from multitask import RunConfig, load_run, train
from multitask.inference.run import make_tasks
from multitask.runtime.precision import Precision
from multitask.runtime.tracking import read_metrics
from multitask.training.selection import selector

MODEL_FILES = {
    "config.json",
    "heads.json",
    "heads.safetensors",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
}


def all_files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def strict_json(text: str):
    """As JSON is defined: without NaN and Infinity."""

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_the_folder_of_a_run_holds_these_files_and_no_others(tiny_config, tmp_path):
    run = train(tiny_config())
    state = {"last/training_state/state.json", "last/training_state/tensors.safetensors"}
    top = {"README.md", "config.json", "environment.json", "metrics.jsonl", "scores.json"}
    models = {f"{name}/{file}" for name in ("best", "last") for file in MODEL_FILES} | {"best/README.md"}
    assert all_files(tmp_path / "run") == top | models | state
    for path in (tmp_path / "run").rglob("*.json"):
        strict_json(path.read_text(encoding="utf-8"))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [strict_json(line) for line in lines]
    assert [record["step"] for record in records if record["kind"] == "evaluation"] == [14, 28]
    assert [record["step"] for record in records if record["kind"] == "train"] == [10, 14, 20, 28]
    run.write_predictions(run.folder / "predictions")
    assert len(list((tmp_path / "run" / "predictions").iterdir())) == 3


def test_what_environment_and_configuration_record(tiny_config, tmp_path, tiny_data):
    import hashlib

    config = tiny_config()
    train(config)
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment.keys() >= {
        "minbert",
        "python",
        "torch",
        "platform",
        "device",
        "threads",
        "git",
        "data",
    }
    assert environment["device"] == "cpu" and environment["threads"] == 1
    names = {f"{name}-{split}.csv" for name in ("ids-sst", "quora", "sts") for split in ("train", "dev")}
    assert environment["data"] == {
        name: hashlib.sha256((tiny_data / name).read_bytes()).hexdigest() for name in names
    }
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert RunConfig.from_dict(saved) == config
    heads = json.loads((tmp_path / "run" / "best" / "heads.json").read_text())["tasks"]
    assert list(heads) == ["sst", "paraphrase", "sts"]
    assert heads["sst"]["config"]["pooling"] == "mean" and heads["sst"]["fallback"] in range(5)


def weights_of(folder: Path) -> dict:
    files = ("best/model", "best/heads", "last/model", "last/heads", "last/training_state/tensors")
    return {(f, k): t for f in files for k, t in load_file(folder / f"{f}.safetensors").items()}


def assert_bit_equal(folder: Path, other: Path, equal: bool = True):
    ours, theirs = weights_of(folder), weights_of(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours) is equal


def test_config_json_alone_repeats_the_run(tiny_config, tmp_path):
    train(tiny_config(train={"accumulation": 2}))
    values = json.loads((tmp_path / "run" / "config.json").read_text())
    train(RunConfig.from_dict(values | {"out": str(tmp_path / "again")}))
    assert_bit_equal(tmp_path / "run", tmp_path / "again")


def test_the_state_of_the_process_before_changes_nothing(tiny_config, tmp_path):
    torch.manual_seed(1)
    train(tiny_config())
    torch.manual_seed(2)
    torch.rand(5)
    train(tiny_config(out=str(tmp_path / "again")))
    assert_bit_equal(tmp_path / "run", tmp_path / "again")


def test_another_seed_gives_other_weights(tiny_config, tmp_path):
    train(tiny_config())
    train(tiny_config(out=str(tmp_path / "other"), train={"seed": 1}))
    assert_bit_equal(tmp_path / "run", tmp_path / "other", equal=False)


def test_evaluations_and_checkpoints_do_not_touch_the_training(tiny_config, tmp_path):
    train(tiny_config())
    watched = tiny_config(
        out=str(tmp_path / "watched"), eval={"every_steps": 3}, checkpoint={"every_steps": 2}
    )
    train(watched)
    for name in ("model", "heads"):
        ours, theirs = (load_file(tmp_path / run / f"last/{name}.safetensors") for run in ("run", "watched"))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


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
        train={"epochs": 16, "batch_size": 3},
        optim={"lr": 5e-3},
        model={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        tasks={"sst": {"dropout": 0.0}},
    )
    run = train(config)
    losses = [r["loss"]["sst"] for r in read_metrics(run.folder / "metrics.jsonl") if r["kind"] == "train"]
    assert losses[-1] < 0.1 < 1 < losses[0]


def test_training_goes_on_from_a_checkpoint_with_its_heads(tiny_config, tmp_path):
    train(tiny_config())
    frozen = {"optim": {"lr": 0.0, "head_lr": 0.0}, "train": {"max_steps": 1}}
    train(tiny_config(weights=str(tmp_path / "run" / "best"), out=str(tmp_path / "second"), **frozen))
    for name in ("model", "heads"):
        ours, theirs = (load_file(tmp_path / run / f"best/{name}.safetensors") for run in ("run", "second"))
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_dropout_rates_of_the_run_are_in_force(tiny_config, tmp_path):
    from multitask.training.inputs import load_inputs

    config = tiny_config(model={"hidden_dropout_prob": 0.4, "attention_probs_dropout_prob": 0.0})
    prepared = load_inputs(config, Path(config.data), torch.device("cpu"))
    encoder = prepared.model.encoder
    assert encoder.encoder.layers[0].dropout.p == 0.4
    assert encoder.config.attention_probs_dropout_prob == 0.0


def test_the_log_agrees_with_the_optimizer(tiny_config, tmp_path, monkeypatch):
    """The rate of each record is that of the pooler's group in that step; one step of the run is skipped."""
    rates, skipped = {}, {}
    step = Precision.step

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


# What is refused, before anything is written.


def refused(config, message, out):
    with pytest.raises(InputError, match=message):
        train(config)
    assert not Path(out).exists()


def test_missing_parts(tiny_config, tmp_path):
    out = tmp_path / "run"
    refused(tiny_config(weights=None), "no weights; give --weights", out)
    refused(tiny_config(data=None), "no data folder; give --data", out)
    with pytest.raises(InputError, match="no folder for the run; give --out"):
        train(tiny_config(out=None))
    refused(tiny_config(weights=str(tmp_path / "w")), "there is no folder", out)
    refused(tiny_config(data=str(tmp_path / "d")), "data folder .* does not exist", out)
    refused(tiny_config(precision="fp16"), "precision fp16 needs a CUDA device", out)
    refused(tiny_config(device="cuda:99"), "device 'cuda:99' cannot be used", out)
    refused(tiny_config(tasks={"half": {"type": "sst"}}), "task name 'half' is taken by torch", out)


def test_a_folder_that_is_there_is_left_alone(tiny_config, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(
        InputError, match="exists already; choose another --out, or continue it: multitask resume"
    ):
        train(tiny_config())
    assert all_files(out) == {"mine.txt"}
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        train(tiny_config(out=str(file)))
    assert file.read_text() == "mine"


def test_an_empty_folder_is_taken(tiny_config, tmp_path):
    (tmp_path / "run").mkdir()
    assert train(tiny_config(train={"max_steps": 1})).scores


@pytest.fixture
def data(tiny_data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(tiny_data, folder)
    return folder


def test_a_task_without_training_rows(tiny_config, data, tmp_path):
    config, out = tiny_config(data=str(data)), tmp_path / "run"
    path = data / "sts-train.csv"
    header = path.read_text().splitlines()[0] + "\n"
    path.unlink()
    refused(config, "sts has nothing to train on: .*sts-train.csv is missing or has no usable row", out)
    path.write_text(header)
    refused(config, "sts has nothing to train on", out)
    path.write_text("")
    refused(config, "sts-train.csv: has no header", out)
    path.write_text("\tid\tsentence1\tsentence2\n0\ta\tgood\tbad\n")
    refused(config, "the training split of sts has no labels; set sts.label to their column", out)
    path.write_text("\tid\tsentence1\tsimilarity\n0\ta\tgood\t1\n")
    refused(config, "no column 'sentence2'; did you mean 'sentence1'", out)


def test_a_row_that_cannot_be_used_is_noted_and_the_run_goes_on(tiny_config, data, said):
    path = data / "ids-sst-train.csv"
    lines = path.read_text().splitlines()
    lines[3] = lines[3].rpartition("\t")[0] + "\t9"
    path.write_text("\n".join(lines) + "\n")
    said.clear()
    train(tiny_config(data=str(data), train={"max_steps": 1}))
    (note,) = (line for line in said if "rejected" in line)
    assert "ids-sst-train.csv:4 rejected" in note and "'9'" in note
    assert any(line.split()[:2] == ["sst", "44"] for line in said)


def test_dev_splits_that_cannot_be_scored_are_left_out_with_a_note(tiny_config, data, said):
    (data / "sts-dev.csv").unlink()
    (data / "quora-dev.csv").write_text("\tid\tsentence1\tsentence2\n0\ta\tgood\tbad\n")
    said.clear()
    run = train(tiny_config(data=str(data)))
    assert list(run.scores["scores"]) == ["sst"] and run.scores["overall"] == {}
    assert any("sts: no dev split" in line for line in said)
    assert "paraphrase: quora-dev.csv has no labels to score by" in said


def test_without_any_dev_split_the_last_is_the_best(tiny_config, data):
    for path in data.glob("*-dev.csv"):
        path.unlink()
    run = train(tiny_config(data=str(data)))
    assert run.scores["step"] == 28 and run.scores["scores"] == {}
    refused(
        tiny_config(data=str(data), out=str(data / "new"), select="sst.accuracy"),
        "select is 'sst.accuracy'; there is no dev split to score",
        data / "new",
    )


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("sst.acuracy", "choose from overall_2024, mean_raw, sst.accuracy, .*; did you mean 'sst.accuracy'"),
        ("overal", "did you mean 'overall_2024'"),
        ("cfimdb.accuracy", "choose from overall_2024, mean_raw, sst.accuracy, sst.off_by_one, paraphrase"),
    ],
)
def test_a_wrong_select_is_refused_before_training(tiny_config, tmp_path, select, message):
    refused(tiny_config(select=select), f"select is '{select}'.*{message}", tmp_path / "run")


def test_an_overall_score_without_its_tasks_is_refused(tiny_config, tmp_path):
    config = tiny_config(select="mean_raw", tasks={"sst": {}})
    refused(config, "select is 'mean_raw'; choose from sst.accuracy, sst.off_by_one", tmp_path / "run")


SCORES = {
    "sst": {"accuracy": 0.5, "off_by_one": 0.8},
    "paraphrase": {"accuracy": 0.7, "f1": 0.1},
    "sts": {"pearson": 0.2, "spearman": 0.3},
}


@pytest.mark.parametrize(
    ("select", "names", "value"),
    [
        (None, ("sst", "paraphrase", "sts"), (0.5 + 0.7 + 0.6) / 3),
        ("overall_2024", ("sst", "paraphrase", "sts"), (0.5 + 0.7 + 0.6) / 3),
        ("mean_raw", ("sst", "paraphrase", "sts"), (0.5 + 0.7 + 0.2) / 3),
        ("paraphrase.f1", ("sst", "paraphrase", "sts"), 0.1),
        (None, ("sst", "sts"), (0.5 + 0.2) / 2),
        (None, ("paraphrase",), 0.7),
        (None, (), None),
    ],
)
def test_what_selects_the_best(tiny_config, tiny_folder, select, names, value):
    config = tiny_config(select=select)
    tasks = make_tasks(config.tasks, BertModel.from_pretrained(tiny_folder).config)
    found = selector(config, tasks)({name: SCORES[name] for name in names})
    assert found == (value if value is None else pytest.approx(value))


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
    for tensor in weights_of(tmp_path / "run").values():
        assert torch.isfinite(tensor).all()
