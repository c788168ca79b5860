"""The cache of frozen layers: which layers it has, what its rows are, when a file is another one."""

import copy
import shutil
import time
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
import torch

from minbert import Batch, BertModel, InputError, LoRAConfig, Tokenizer, TokenSequence, add_lora, pool
from multitask.config.task_config import task_config
from multitask.config.task_kinds import make_task
from multitask.data.readers import Example
from multitask.model.cache import frozen_layers, open_cache
from multitask.model.multitask_model import EncoderView, MultitaskModel
from multitask.runtime.locks import take_lock
from multitask.runtime.process_group import ProcessGroup
from multitask.training.parameters.freezing import freeze
from tests.encoders import fresh_encoder

WORDS = "cat dog house river book film good bad great dull".split()
NER = {"type": "ner", "labels": ["O", "B-X", "I-X"]}


def sentences(count: int, start: int = 0) -> list[str]:
    """Of 1 to 6 words, two of each length; each twelfth one is the same."""
    numbers = ((start + i) % 12 for i in range(count))
    return [" ".join(WORDS[(3 * i + j * j) % 10] for j in range(1 + 5 * i % 6)) for i in numbers]


@pytest.fixture
def make(tiny_folder, randomize):
    """make(policy, **tasks) -> the tiny encoder, frozen so, with heads from a seed; `tasks` as configured."""

    def build(policy: str, **tasks) -> MultitaskModel:
        made = {name: make_task(name, task_config(name, values)) for name, values in tasks.items()}
        model = MultitaskModel(BertModel.from_pretrained(tiny_folder), made)
        randomize(model.heads, seed=1)
        freeze(model, policy)
        return model.train()

    return build


@pytest.fixture
def tokenized(tiny_tokenizer):
    """tokenized(model, texts) -> examples of each task; the second of a pair is the next text."""

    def build(model: MultitaskModel, texts: list[str]):
        rows = zip(texts, [*texts[1:], texts[0]], strict=True)
        pairs = [Example(str(i), row, None, i + 2) for i, row in enumerate(rows)]
        singles = [Example(row.id, row.texts[:1], None, row.line) for row in pairs]
        return {
            name: task.tokenize(tiny_tokenizer, pairs if task.config.text2 else singles)
            for name, task in model.tasks.items()
        }

    return build


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "cache"


def opened(model, examples, folder, precision="fp32"):
    model.cache = open_cache(model, examples, folder, precision, ProcessGroup())
    return model.cache


def deep_model(lora: str | None = None, **variant) -> MultitaskModel:
    """Six layers; LoRA on the layers that `lora` names."""
    sizes = dict(vocab_size=20, hidden_size=8, num_attention_heads=2, intermediate_size=12)
    encoder = fresh_encoder(num_hidden_layers=6, **sizes, **variant)
    if lora:
        add_lora(encoder, LoRAConfig(rank=1, layers=lora))
    return MultitaskModel(encoder, {"sst": make_task("sst", task_config("sst", {}))})


PROJECTED = dict(projected_attention_size=4, projected_attention_heads=2, projected_attention_names=("sst",))


@pytest.mark.parametrize(
    ("policy", "changes", "count"),
    [
        ("embeddings", {}, 0),
        ("first:3", {}, 0),
        ("embeddings,layers:0-1+3", {}, 2),
        ("backbone", {}, 6),
        ("backbone", {"lora": "last:2"}, 4),  # adapters count as trained
        ("none", {"lora": "first:1"}, 0),
        ("backbone", PROJECTED, 0),
        ("backbone", {"attention_head_layers": 1}, 0),
    ],
    ids=str,
)
def test_the_prefix_ends_below_the_first_tensor_that_trains(policy, changes, count):
    model = deep_model(**changes)
    freeze(model, policy)
    assert frozen_layers(model) == count
    model.frozen_dropout = True
    assert frozen_layers(model) == 0


@pytest.mark.parametrize(
    ("policy", "pooling"),
    [
        ("embeddings,first:1", "cls"),
        ("embeddings,first:2", "pooler"),
        ("backbone", "mean"),
        ("backbone", "pooler"),
    ],
)
def test_cached_equals_uncached(policy, pooling, make, tokenized, folder):
    """Rows, outputs and losses of batches of any composition, against each sequence on its own."""
    model = make(policy, sst={"pooling": pooling}, paraphrase={"pairs": "bi", "pooling": pooling}, sts={})
    examples = tokenized(model, sentences(12))
    plain = copy.deepcopy(model).eval()
    opened(model, examples, folder)
    model.eval()
    whole = policy != "embeddings,first:1"
    for name, entries in examples.items():
        for indices in ([3], [7, 0, 9, 7]):
            chosen = [entries[i] for i in indices]
            batch, expected = model.collate(name, chosen), plain.collate(name, chosen)
            assert batch.inputs.cached.layers == (2 if whole else 1) and expected.inputs.cached is None
            assert torch.equal(batch.inputs.order, expected.inputs.order)
            sides = [side for sides in zip(*(entry.sides for entry in chosen), strict=True) for side in sides]
            kind = model.tasks[name].config.pooling
            vectors = EncoderView(model.encoder, name, model.autocast).vectors(batch.inputs, kind)
            alone = [plain.encoder(Batch.from_sequences([side.ids], [side.types])) for side in sides]
            expected_vectors = torch.cat([pool(output, kind) for output in alone])
            torch.testing.assert_close(vectors, expected_vectors, atol=1e-6, rtol=0)
            loss = plain.loss(name, expected)
            torch.testing.assert_close(model.loss(name, batch), loss, atol=1e-6, rtol=1e-6)


def test_rows_of_real_weights_do_not_depend_on_their_batch(minilm, shared, tmp_path):
    """To 1e-6 of the largest value: torch multiplies the smallest batches in another order of sums."""
    task = make_task("sst", task_config("sst", {}))
    model = MultitaskModel(BertModel.from_pretrained(minilm), {"sst": task})
    freeze(model, "embeddings,first:4")
    rows = task.load(shared / "data", "dev").rows[:24]
    examples = task.tokenize(Tokenizer.from_pretrained(minilm), rows)
    opened(model, {"sst": examples}, tmp_path)
    batches = [*([i] for i in range(0, 24, 3)), range(8, 16), range(24)]
    for indices in batches:
        inputs = model.collate("sst", [examples[i] for i in indices]).inputs
        plain = model.eval().encoder(replace(inputs, cached=None), output_hidden_states=True).states[4]
        assert (inputs.cached.rows - plain).abs().max() <= 1e-6 * plain.abs().max()


@pytest.mark.parametrize("policy", ["embeddings,first:1", "backbone"])
def test_texts_that_are_not_known_are_computed(policy, make, tokenized, folder):
    model = make(policy, sst={})
    opened(model, tokenized(model, sentences(6)), folder)
    new = tokenized(model, [sentences(1)[0], "the student writes"])["sst"]
    assert model.collate("sst", new[:1]).inputs.cached is not None
    assert model.collate("sst", new).inputs.cached is None
    padded = {"input_ids": torch.tensor([[2, 60, 0, 3], [2, 61, 62, 3]])}
    with_gap = Batch.from_padded(**padded, attention_mask=torch.tensor([[1, 1, 0, 1], [1, 1, 1, 1]]))
    assert with_gap.layout.packed
    sides = [(2, 60, 3), (2, 61, 62, 3)]
    entries = [
        entry._replace(sides=(TokenSequence([*ids], [0] * len(ids)),))
        for ids, entry in zip(sides, new, strict=True)
    ]
    opened(model, {"sst": entries}, folder)
    assert model.cache["sst"].attach(with_gap) is with_gap  # position 2 stands empty: other rows
    assert model.collate("sst", entries).inputs.cached is not None


def test_a_task_that_draws_its_inputs_has_none(make, tokenized, folder, tiny_tokenizer):
    model = make("embeddings,first:1", sst={}, masked_lm={})
    examples = tokenized(model, sentences(6))
    opened(model, examples, folder)
    assert model.collate("masked_lm", examples["masked_lm"]).inputs.cached is None
    assert model.collate("sst", examples["sst"]).inputs.cached is not None
    alone = make("embeddings,first:1", masked_lm={})
    assert opened(alone, tokenized(alone, sentences(6)), folder) == {}


# The file.


def change_weight(model):
    model.encoder.encoder.layers[0].feed_forward_norm.bias.data[3] += 1e-3


def change_heads(model):
    object.__setattr__(model.encoder.config, "num_attention_heads", 2)


def run_in_bf16(model):
    model.autocast = lambda: torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize(
    ("policy", "task", "change", "settings"),
    [
        ("backbone", {"pooling": "mean"}, change_weight, {}),
        ("backbone", {"pooling": "mean"}, change_heads, {}),
        ("backbone", {"pooling": "mean"}, run_in_bf16, {}),
        ("backbone", {"pooling": "mean", "max_length": 6}, None, {}),
        ("backbone", {"pooling": "mean"}, None, {"precision": "fp16"}),
        ("backbone", {"pooling": "max"}, None, {}),
        ("backbone", {"pooling": "cls"}, None, {}),
        ("embeddings,first:1", {"pooling": "mean"}, None, {}),
        ("backbone", NER, None, {}),
    ],
)
def test_whatever_decides_a_row_makes_another_file(policy, task, change, settings, make, tokenized, folder):
    before = make("backbone", sst={"pooling": "mean"})
    opened(before, tokenized(before, sentences(12)), folder)
    model = make(policy, sst=task)
    if change:
        change(model)
    examples = tokenized(model, sentences(12))
    opened(model, examples, folder, **settings)
    assert len(list(folder.iterdir())) == 2
    if not change:
        return
    opened(model, tokenized(model, sentences(11) + ["good book"]), folder)
    assert len(list(folder.iterdir())) == 3
    sides = [entry.sides[0]._replace(types=[1] * entry.length) for entry in examples["sst"]]
    types = [entry._replace(sides=(side,)) for entry, side in zip(examples["sst"], sides, strict=True)]
    opened(model, {"sst": types}, folder)
    assert len(list(folder.iterdir())) == 4


def test_the_same_rows_are_read_not_computed(make, tokenized, folder, said):
    """Whatever is trained, and in whichever order the texts come."""
    model = make("embeddings,first:1", sst={})
    examples = tokenized(model, sentences(12))
    opened(model, examples, folder)
    (path,) = folder.iterdir()
    written, rows = path.stat().st_mtime_ns, model.collate("sst", examples["sst"]).inputs.cached.rows
    other = make("embeddings,first:1", sst={"pooling": "cls"}, sts={})
    other.encoder.encoder.layers[1].feed_forward.output.weight.data.zero_()
    other.encoder.encoder.layers[0].register_forward_hook(lambda *_: pytest.fail("computed anew"))
    opened(other, {"sts": [], "sst": examples["sst"][::-1]}, folder)
    assert path.stat().st_mtime_ns == written and [*folder.iterdir()] == [path]
    assert torch.equal(other.collate("sst", examples["sst"]).inputs.cached.rows, rows)
    text = "cache of the frozen embeddings and layer 1: 12 sequences, 0.01 MB"
    assert said == [f"{text} in {folder}", f"{text} read from {folder}"]


def test_another_command_that_computes_the_same_rows_is_waited_for(make, tokenized, folder, said):
    model = make("embeddings,first:1", sst={})
    examples = tokenized(model, sentences(12))
    opened(model, examples, folder)
    (path,) = folder.iterdir()
    content = path.read_bytes()
    path.unlink()
    locked = Event()

    def write():
        with take_lock(path.with_suffix(".lock")):
            locked.set()
            time.sleep(0.5)
            path.write_bytes(content)

    other = Thread(target=write)
    other.start()
    locked.wait()
    opened(model, examples, folder)
    other.join()
    assert said[-1].endswith(f"read from {folder}") and [*folder.iterdir()] == [path]


@pytest.mark.parametrize("damage", ["short", "text", "shape"])
def test_a_damaged_file_is_computed_anew(damage, make, tokenized, folder):
    model = make("embeddings,first:1", sst={})
    examples = tokenized(model, sentences(12))
    opened(model, examples, folder)
    (path,) = folder.iterdir()
    content = path.read_bytes()
    model.cache = {}
    if damage == "shape":
        np.save(path, np.load(path)[:-1])
    else:
        path.write_bytes({"short": content[:-1], "text": b"not an array" * 99}[damage])
    opened(model, examples, folder)
    assert path.read_bytes() == content and [*folder.iterdir()] == [path]


def test_half_precision_takes_half_the_disk(make, tokenized, tmp_path):
    model = make("embeddings,first:1", sst={})
    examples = tokenized(model, sentences(24))
    rows = {}
    for precision in ("fp32", "fp16"):
        opened(model, examples, tmp_path / precision, precision=precision)
        rows[precision] = model.collate("sst", examples["sst"]).inputs.cached.rows
        (path,) = (tmp_path / precision).iterdir()
        tokens = sum(entry.length for entry in examples["sst"][:12])  # the rest are the same ones
        assert path.stat().st_size == 128 + tokens * 24 * {"fp32": 4, "fp16": 2}[precision]
    assert rows["fp16"].dtype == torch.float32 and not torch.equal(*rows.values())
    torch.testing.assert_close(rows["fp16"], rows["fp32"], atol=1e-3, rtol=1e-3)


def test_without_room_on_the_disk_there_is_none(make, tokenized, folder, monkeypatch, said):
    usage = shutil.disk_usage(folder.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=5_000))
    model = make("backbone", sst={}, ner=NER)
    examples = tokenized(model, sentences(12))
    opened(model, examples, folder)
    assert said == [
        f"cache of the frozen encoder's vectors (mean): 12 sequences, 0.00 MB in {folder}",
        f"no cache of the frozen embeddings and layers 1 to 2: 12 sequences, 0.01 MB, and {folder} has "
        f"0.01 MB left; computed in each epoch",
    ]
    assert model.collate("sst", examples["sst"]).inputs.cached is not None
    assert model.collate("ner", examples["ner"]).inputs.cached is None


def test_a_folder_that_cannot_be_written(make, tokenized, folder, said):
    model = make("embeddings,first:1", sst={})
    folder.write_text("")
    with pytest.raises(InputError, match="which is a file; give the name of a folder"):
        opened(model, tokenized(model, sentences(3)), folder)
    assert opened(model, tokenized(model, sentences(3)), folder / "below") == {}
    assert "Not a directory" in said[0]


def test_a_pass_that_is_interrupted_leaves_nothing(make, tokenized, folder):
    model = make("embeddings,first:1", sst={})
    hook = model.encoder.encoder.layers[0].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        opened(model, tokenized(model, sentences(3)), folder)
    hook.remove()
    assert [*folder.iterdir()] == [] and model.training


# The model that has one.


def test_vectors_that_were_pooled_otherwise_are_refused(make, tokenized, folder):
    model = make("backbone", sst={"pooling": "max"})
    entries, keys = tokenized(model, sentences(3)), list(model.state_dict())
    opened(model, entries, folder)
    assert copy.deepcopy(model).cache["sst"] is model.cache["sst"] and list(model.state_dict()) == keys
    inputs = model.collate("sst", entries["sst"]).inputs
    encode = EncoderView(model.encoder, "sst", model.autocast)
    with pytest.raises(
        InputError, match="sst reads token rows, and the .* pooled by 'max', as `pooled_inputs`"
    ):
        encode(inputs)
    with pytest.raises(InputError, match="sst reads vectors pooled by 'cls', and .* None for rows"):
        encode.vectors(inputs, "cls")
