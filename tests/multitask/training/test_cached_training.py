"""Training over cached frozen layers: the same losses and scores, no layer run twice, the folder of a run."""

import shutil
from typing import NamedTuple

import pytest

from minbert import InputError
from multitask import RunConfig, resume, train
from multitask.config.option_types import merge
from multitask.inference.evaluation import score_examples
from multitask.training.loop import train_loop
from multitask.training.trainer import Trainer
from tests.multitask.runs import assert_same_run, killed

LORA = {"lora": {"rank": 2, "layers": "last:1", "dropout": 0.1}}
TEXTS = ["the cat reads a book", "good", "a student writes over the house", "very dull film", "green river"]


@pytest.fixture(scope="module")
def data(tiny_data, tmp_path_factory):
    """The tiny data, with tagged sentences and plain text beside them."""
    folder = shutil.copytree(tiny_data, tmp_path_factory.mktemp("more") / "data")
    tagged = ["\n".join(f"{w} {'B-X' if len(w) == 4 else 'O'}" for w in text.split()) for text in TEXTS]
    for split in ("train", "dev"):
        (folder / f"words-{split}.txt").write_text("\n\n".join(tagged) + "\n", encoding="utf-8")
    (folder / "sentences.txt").write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def ready(tiny_values, data, tmp_path):
    """ready(**changes) -> a Trainer before its first step, with the cache that its run would have."""

    def make(**changes) -> Trainer:
        trainer = Trainer(RunConfig.from_dict(merge(tiny_values | {"data": str(data), "limit": 20}, changes)))
        trainer.setup(data)
        trainer.open_cache(tmp_path / "cache")
        return trainer

    return make


class Trained(NamedTuple):
    losses: list[float]
    cached: dict[str, set[bool]]  # by task: whether its batches had cached activations
    scores: dict[str, dict[str, float]]


def trained(run: Trainer) -> Trained:
    """Takes all steps of a run and scores it."""
    losses, cached, parts, model = [], {}, run.components, run.inputs.model

    def report(step, piece, loss):
        losses.append(float(loss))
        for batch in getattr(piece.batch, "parts", [piece.batch]):
            cached.setdefault(piece.task, set()).add(batch.inputs.cached is not None)

    model.train()
    arguments = parts.plan, parts.method, parts.gradients, parts.precision, parts.optimizer
    train_loop(parts.engine, *arguments, report, lambda step: None)
    return Trained(losses, cached, score_examples(model, run.inputs.dev)[0])


LOWEST = "embeddings,first:1"
RUNS = {
    "a pooler that trains": {"freeze": "embeddings,first:2", "tasks": {"sst": {"pooling": "pooler"}}},
    "max": {"freeze": "backbone", "r_drop": 1.0, "tasks": {"sst": {"pooling": "max", "projection": 8}}},
    "several poolings": {
        "freeze": "backbone",
        "tasks": {
            "sst": {"hidden": [8], "pooling": "cls"},
            "paraphrase": {"pooling": "pooler"},
            "sts": {"head": "mlp", "loss": "mse"},
            "ner": {},
        },
    },
    "an adapter per task": LORA | {"adapter_per_task": True, "tasks": {"sst": {}, "sts": {}}},
    "two towers": {
        "freeze": LOWEST,
        "train": {"checkpointing": True},
        "sampling": "together",
        "gradients": {"surgery": "pcgrad"},
        "tasks": {"paraphrase": {"pairs": "bi"}, "sts": {}},
    },
    "in chunks": LORA | {"tasks": {"ranking": {"chunk_size": 3, "batch_size": 9}}},
    "words": {"freeze": LOWEST, "tasks": {"ner": {}, "masked_lm": {}, "simcse": {}, "sst": {"train": None}}},
    "a teacher": LORA | {"smart": {"bregman": 1.0}, "tasks": {"sst": {}}},
}
FILES = {
    "ner": {"train": "words-train.txt", "dev": "words-dev.txt"},
    "masked_lm": {"train": "sentences.txt"},
    "simcse": {"train": "sentences.txt"},
}


@pytest.mark.parametrize("name", RUNS)
def test_training_with_and_without_is_the_same(name, ready):
    """The same dropout falls wherever something trains, and steps, losses and scores are the same."""
    changes = merge(RUNS[name], {"optim": {"lr": 1e-3, "head_lr": 1e-3}})
    for task, values in changes.get("tasks", {}).items():
        changes = merge(changes, {"tasks": {task: FILES.get(task, {}) | values}})
    plain = trained(ready(**merge(changes, {"cache": {"precision": "off"}})))
    cached = trained(ready(**changes))
    assert len(set(plain.losses)) >= 2
    assert cached.losses == pytest.approx(plain.losses, abs=1e-5)
    for task, scores in plain.scores.items():
        assert cached.scores[task] == pytest.approx(scores, abs=1e-4, nan_ok=True)
    assert all(seen == {False} for seen in plain.cached.values())
    assert all(seen == {task != "masked_lm"} for task, seen in cached.cached.items())


@pytest.mark.parametrize(
    ("changes", "kept", "atol"),
    [({"freeze": "backbone"}, "fp16", 5e-3), ({"freeze": LOWEST, "precision": "bf16"}, "fp32", 0.02)],
    ids=["rows in fp16", "a run in bf16"],
)
def test_half_precision_trains_nearly_the_same(ready, changes, kept, atol):
    plain, half = (trained(ready(**changes, cache={"precision": name})) for name in ("off", kept))
    assert half.losses == pytest.approx(plain.losses, abs=atol)
    assert half.losses != plain.losses or kept == "fp32"


@pytest.mark.parametrize(("changes", "layers"), [({"freeze": "backbone"}, []), (LORA, [1])])
def test_no_frozen_layer_runs_in_training_or_evaluation(ready, changes, layers):
    """What is known of the texts was computed before the first step; layers above run as ever."""
    run = ready(**changes, tasks={"sst": {}, "paraphrase": {"pooling": "pooler"}})
    encoder, ran = run.inputs.model.encoder, []
    for number, module in enumerate([*encoder.encoder.layers, encoder.embeddings]):
        module.register_forward_hook(lambda module, inputs, output, number=number: ran.append(number))
    steps = len(trained(run).losses)
    assert ran == layers * (steps + 2)
    ran.clear()
    run.inputs.model.cache = {}
    score_examples(run.inputs.model, run.inputs.dev)
    assert ran == [2, 0, 1] * 2  # each task in one batch


@pytest.mark.parametrize(
    "changes",
    [
        {"cache": {"precision": "off"}},
        {"train": {"epochs": 1}},
        {"frozen_dropout": True},
        {"smart": {"weight": 1.0}},
        {"freeze": "none", "unfreeze": "epoch"},
        {"freeze": "first:2"},
        {"freeze": "backbone", "model": {"projected_attention_size": 12}},
    ],
    ids=str,
)
def test_where_nothing_would_be_gained_or_kept_there_is_none(changes, ready, tmp_path, said):
    run = ready(**{"freeze": "backbone"} | changes)
    assert run.inputs.model.cache == {}
    assert not (tmp_path / "cache").exists() and not [line for line in said if "cache" in line]


@pytest.mark.parametrize(
    "changes", [{"train": {"max_steps": 7}}, {"train": {"epochs": 1}, "cache": {"folder": "kept"}}], ids=str
)
def test_a_second_epoch_or_a_later_run_reads_it(changes, ready, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ready(freeze="backbone", **changes).inputs.model.cache


# Whole runs.


def test_a_run_leaves_no_cache_and_a_folder_is_kept(tiny_config, tmp_path, said):
    """A later run reads what lies there, and both learn the same, bit by bit."""
    train(tiny_config(freeze="backbone", out=str(tmp_path / "own")))
    (line,) = [line for line in said if "cache" in line]
    assert line.startswith("cache of the frozen encoder's vectors (mean): ")
    assert line.endswith(f"in {tmp_path / 'own' / 'cache'}")
    assert not (tmp_path / "own" / "cache").exists()
    written = []
    for name in ("first", "second"):
        kept = {"cache": {"folder": str(tmp_path / "kept")}}
        train(tiny_config(freeze="backbone", out=str(tmp_path / name), **kept))
        (path,) = (tmp_path / "kept").iterdir()
        written.append(path.stat().st_mtime_ns)
        assert_same_run(tmp_path / name, tmp_path / "own")
    assert written[0] == written[1] and "read from" in [line for line in said if "cache" in line][-1]
    with pytest.raises(InputError, match="cache.folder is .*, which is a file; give the name of a folder"):
        train(tiny_config(freeze="backbone", cache={"folder": str(path)}))
    assert not (tmp_path / "run").exists()


def test_an_interrupted_run_with_a_damaged_cache_goes_on_with_the_same_bits(tiny_config, tmp_path, said):
    changes = LORA | {"limit": 24, "checkpoint": {"every_steps": 4}, "tasks": {"sst": {}, "sts": {}}}
    train(tiny_config(out=str(tmp_path / "whole"), **changes))
    killed(lambda: train(tiny_config(**changes)), 7)
    (path,) = (tmp_path / "run" / "cache").iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    said.clear()
    resume(tmp_path / "run")
    (line,) = [line for line in said if line.startswith("cache")]
    assert "read from" not in line
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    assert not (tmp_path / "run" / "cache").exists()


def test_each_stage_has_its_own(tiny_config, tmp_path, said):
    stages = [{"freeze": "backbone"}, {"freeze": LOWEST}, {"freeze": "none"}]
    train(tiny_config(tasks={"sst": {}}, limit=16, stages=stages))
    first, second = [line for line in said if line.startswith("cache")]
    assert "vectors (mean)" in first and first.endswith(str(tmp_path / "run/stages/1/cache"))
    assert "layer 1:" in second and second.endswith(str(tmp_path / "run/stages/2/cache"))
    assert not [*(tmp_path / "run").rglob("cache")]
