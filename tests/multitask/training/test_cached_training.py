"""Training over cached frozen layers: the same losses and scores, no layer run twice, the folder of a run.

Run: pytest tests/multitask/training/test_cached_training.py
"""

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file

from minbert import InputError
from multitask import RunConfig, resume, train
from multitask.config.option_types import merge
from multitask.inference.evaluation import score_examples
from multitask.training.components import TrainingComponents
from multitask.training.inputs import RunInputs
from multitask.training.loop import train_loop
from multitask.training.progress import Progress
from multitask.training.trainer import Trainer

LORA = {"lora": {"rank": 2, "layers": "last:1", "dropout": 0.1}}


@pytest.fixture(scope="module")
def data(tiny_data, tmp_path_factory):
    """The tiny data, with tagged sentences and plain text beside them."""
    folder = tmp_path_factory.mktemp("more") / "data"
    shutil.copytree(tiny_data, folder)
    texts = [
        "the cat reads a book",
        "good",
        "a student writes over the house",
        "very dull film",
        "green river",
    ]
    for split in ("train", "dev"):
        words = (
            "\n".join(f"{word} {'B-X' if len(word) == 4 else 'O'}" for word in text.split()) for text in texts
        )
        (folder / f"words-{split}.txt").write_text("\n\n".join(words) + "\n", encoding="utf-8")
    (folder / "sentences.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return folder


class Ready(NamedTuple):
    """A run before its first step."""

    config: RunConfig
    prepared: RunInputs
    parts: TrainingComponents
    said: list[str]


@pytest.fixture
def ready(tiny_values, data, tmp_path, said):
    """ready(**changes) -> a run with the cache that it would have; with dropout wherever something trains."""

    def make(**changes) -> Ready:
        config = RunConfig.from_dict(merge(tiny_values | {"data": str(data)}, changes))
        trainer = Trainer(config)
        trainer.setup(Path(config.data))
        trainer.open_cache(tmp_path / "cache")
        return Ready(config, trainer.inputs, trainer.components, said)

    return make


class Trained(NamedTuple):
    losses: list[float]
    prefixed: dict[str, set[bool]]  # by task: whether its batches had a prefix
    scores: dict[str, dict[str, float]]


def trained(run: Ready) -> Trained:
    """Takes all steps of a run and scores it."""
    losses, prefixed, parts, model = [], {}, run.parts, run.prepared.model

    def report(step, piece, loss):
        losses.append(float(loss))
        for batch in getattr(piece.batch, "parts", [piece.batch]):
            prefixed.setdefault(piece.task, set()).add(batch.inputs.cached is not None)

    model.train()
    train_loop(
        model,
        parts.plan,
        parts.method,
        parts.gradients,
        parts.precision,
        parts.optimizer,
        report,
        lambda step: None,
    )
    return Trained(losses, prefixed, score_examples(model, run.prepared.dev)[0])


RUNS = {
    "cls": {"freeze": "backbone", "tasks": {"sst": {"pooling": "cls"}}},
    "a pooler that trains": {"freeze": "embeddings,first:2", "tasks": {"sst": {"pooling": "pooler"}}},
    "max": {"freeze": "backbone", "r_drop": 1.0, "tasks": {"sst": {"pooling": "max", "projection": 8}}},
    "several poolings": {
        "freeze": "backbone",
        "tasks": {
            "sst": {"hidden": [8]},
            "paraphrase": {"pooling": "pooler"},
            "sts": {"head": "mlp", "loss": "mse"},
        },
    },
    "an adapter per task": LORA | {"adapter_per_task": True, "tasks": {"sst": {}, "sts": {}}},
    "two towers": {
        "freeze": "embeddings,first:1",
        "train": {"checkpointing": True},
        "tasks": {"paraphrase": {"pairs": "bi"}, "sts": {}},
    },
    "words over a frozen encoder": {"freeze": "backbone", "tasks": {"ner": {}}},
    "words": {"freeze": "embeddings,first:1", "tasks": {"ner": {}, "sst": {}}},
    "in chunks": LORA | {"tasks": {"ranking": {"chunk_size": 3, "batch_size": 9}}},
    "beside masked words": {"freeze": "embeddings,first:1", "tasks": {"sst": {}, "masked_lm": {}}},
    "simcse": {
        "freeze": "embeddings,first:1",
        "tasks": {"simcse": {"batch_size": 8}, "sst": {"train": None}},
    },
    "a teacher": LORA | {"smart": {"bregman": 1.0}, "tasks": {"sst": {}}},
    "together": {"freeze": "embeddings,first:1", "sampling": "together", "gradients": {"surgery": "pcgrad"}},
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
    assert all(seen == {False} for seen in plain.prefixed.values())
    assert all(seen == {task != "masked_lm"} for task, seen in cached.prefixed.items())


def test_half_precision_trains_nearly_the_same(ready):
    plain = trained(ready(freeze="backbone", cache={"precision": "off"}))
    half = trained(ready(freeze="backbone", cache={"precision": "fp16"}))
    assert half.losses != plain.losses
    assert half.losses == pytest.approx(plain.losses, abs=5e-3)


def test_bf16_runs_cache_what_they_compute(ready):
    changes = {"freeze": "embeddings,first:1", "precision": "bf16", "tasks": {"sst": {}}}
    plain = trained(ready(**changes, cache={"precision": "off"}))
    assert trained(ready(**changes)).losses == pytest.approx(plain.losses, abs=0.02)


def test_heads_alone_run_no_layer_of_the_encoder(ready):
    """In no epoch, and for no evaluation: what is known of the texts was computed before the first step."""
    run = ready(freeze="backbone", tasks={"sst": {}, "paraphrase": {"pooling": "pooler"}, "sts": {}})
    encoder, ran = run.prepared.model.encoder, []
    for module in [*encoder.encoder.layers, encoder.embeddings]:
        module.register_forward_hook(lambda module, inputs, output: ran.append(module))
    trained(run)
    assert ran == []
    run.prepared.model.cache = None
    score_examples(run.prepared.model, run.prepared.dev)
    assert len(ran) == 3 * 3  # each of three tasks runs in one batch: two layers and the embeddings


def test_layers_above_the_prefix_run_as_ever(ready):
    run = ready(**LORA, tasks={"sst": {}})
    ran = []
    for number, layer in enumerate(run.prepared.model.encoder.encoder.layers):
        layer.register_forward_hook(lambda module, inputs, output, number=number: ran.append(number))
    steps = len(trained(run).losses)
    assert ran == [1] * (steps + 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"cache": {"precision": "off"}},
        {"train": {"epochs": 1}},
        {"train": {"max_steps": 11}},  # one epoch: sts trains nothing
        {"frozen_dropout": True},
        {"smart": {"weight": 1.0}},
        {"freeze": "none", "unfreeze": "epoch"},
        {"freeze": "none"},
        {"freeze": "embeddings"},
        {"freeze": "first:2"},
        {"freeze": "none", "lora": {"rank": 2}},
        {"freeze": "backbone", "model": {"projected_attention_size": 12}},
    ],
    ids=str,
)
def test_where_nothing_would_be_gained_or_kept_there_is_none(changes, ready, tmp_path):
    run = ready(**{"freeze": "backbone"} | changes)
    assert run.prepared.model.cache is None
    assert not (tmp_path / "cache").exists() and not [line for line in run.said if "cache" in line]


@pytest.mark.parametrize(
    "changes", [{"train": {"max_steps": 12}}, {"train": {"epochs": 1}, "cache": {"folder": "kept"}}], ids=str
)
def test_a_second_epoch_or_a_later_run_reads_it(changes, ready, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ready(freeze="backbone", **changes).prepared.model.cache is not None


# Whole runs.


def scores_and_heads(folder: Path):
    scores = json.loads((folder / "scores.json").read_text())
    return scores | {"seconds": 0, "costs": {}}, load_file(folder / "best" / "heads.safetensors")


def assert_same(folder: Path, other: Path):
    (scores, heads), (other_scores, other_heads) = scores_and_heads(folder), scores_and_heads(other)
    assert scores == other_scores
    assert all(torch.equal(heads[name], other_heads[name]) for name in other_heads)


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
        assert_same(tmp_path / name, tmp_path / "own")
    assert written[0] == written[1] and "read from" in [line for line in said if "cache" in line][-1]


def test_a_folder_that_is_a_file_is_refused_before_anything_is_written(tiny_config, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cache.folder is .*, which is a file; give the name of a folder"):
        train(tiny_config(freeze="backbone", cache={"folder": str(tmp_path / "file")}))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("left", ["whole", "cut off", "gone"])
def test_an_interrupted_run_goes_on_with_the_same_bits(left, tiny_config, tmp_path, monkeypatch, said):
    changes = merge(LORA, {"checkpoint": {"every_steps": 4}, "tasks": {"sst": {}, "sts": {}}})
    train(tiny_config(out=str(tmp_path / "whole"), **changes))
    after_step = Progress.after_step

    def interrupted(self, step):
        if step.number == 7:
            raise KeyboardInterrupt
        after_step(self, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Progress, "after_step", interrupted)
        train(tiny_config(**changes))
    (path,) = (tmp_path / "run" / "cache").iterdir()
    if left == "cut off":
        path.write_bytes(path.read_bytes()[:1000])
    if left == "gone":
        shutil.rmtree(path.parent)
    said.clear()
    resume(tmp_path / "run")
    (line,) = [line for line in said if line.startswith("cache")]
    assert ("read from" in line) == (left == "whole")
    assert_same(tmp_path / "run", tmp_path / "whole")
    assert not (tmp_path / "run" / "cache").exists()
    said.clear()
    resume(tmp_path / "run")  # nothing is left to do
    assert not [line for line in said if "cache" in line]


def test_each_stage_has_its_own(tiny_config, tmp_path, said):
    stages = [{"freeze": "backbone"}, {"freeze": "embeddings,first:1"}, {"freeze": "none"}]
    train(tiny_config(tasks={"sst": {}}, stages=stages))
    first, second = [line for line in said if line.startswith("cache")]
    assert "vectors (mean)" in first and first.endswith(str(tmp_path / "run/stages/1/cache"))
    assert "layer 1:" in second and second.endswith(str(tmp_path / "run/stages/2/cache"))
    assert not [*(tmp_path / "run").rglob("cache")]


CODE = """
import sys
from pathlib import Path
import torch
from multitask.config.run_config import RunConfig, read_config
from multitask.runtime.messages import show_messages
from multitask.training.trainer import Trainer

config, out = RunConfig.from_dict(read_config(sys.argv[1])), Path(sys.argv[2])
trainer = Trainer(config)
trainer.setup(Path(config.data))
model, ran, said = trainer.inputs.model, [], []
model.encoder.encoder.layers[0].register_forward_hook(lambda *_: ran.append(0))
with show_messages(said.append):
    trainer.open_cache(out / "cache")
rows = model.collate("sst", trainer.inputs.train["sst"][:5]).inputs.cached.rows
torch.save({"ran": len(ran), "said": said, "rows": rows}, out / f"{trainer.group.rank}.pt")
trainer.group.barrier()
trainer.group.close()
"""


def test_the_first_process_computes_for_all(tiny_values, tmp_path, run_processes):
    (tmp_path / "run.json").write_text(json.dumps(tiny_values | {"freeze": "embeddings,first:1"}))
    (tmp_path / "code.py").write_text(CODE, encoding="utf-8")
    run_processes(2, str(tmp_path / "code.py"), str(tmp_path / "run.json"), str(tmp_path))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first["ran"] > 0 and second["ran"] == 0
    assert len(first["said"]) == 1 and second["said"] == []
    assert torch.equal(first["rows"], second["rows"])
    assert len([*(tmp_path / "cache").iterdir()]) == 1
