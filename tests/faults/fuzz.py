"""A fuzzer that knows the structure of the files: mutations of every kind of file that is read.

Each case changes a file that is accepted as it is, and gives it to its reader. Allowed are an InputError of
one line, and a value that equals what json, tomllib, safetensors, transformers or sentence-transformers
makes of the same file. Any other exception, more than SECONDS, or growth of the process beyond GROWTH is
a finding.

Run: python -m tests.faults.fuzz --cases 100000 --seed 1
"""

import argparse
import copy
import json
import random
import resource
import sys
import tempfile
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from minbert import (
    BertConfig,
    BertModel,
    CommandParser,
    InputError,
    LoRAConfig,
    SentenceEncoder,
    SentenceModules,
    Tokenizer,
    add_lora,
    read_tensors,
    save_lora,
)
from minbert.adapters.attention_adapters import read_attention_adapters
from minbert.adapters.config import TARGETS
from minbert.adapters.peft import read_adapter
from minbert.cli.check import read_points
from minbert.corpus.parts import PartFolder
from minbert.weights.files import INDEX_FILE, weight_files
from minbert.weights.hub import RECORD_FILE, _read_record
from minbert.weights.sentence_transformers import write_modules
from multitask.config.options import RunOptions, add_key_options
from multitask.config.run_config import RunConfig, read_config
from multitask.data.records import open_table
from multitask.data.token_store import ARRAYS, read_facts
from multitask.experiments.ablation.compute_cell import CellJob
from multitask.experiments.ablation.definition import read_ablation
from multitask.experiments.augmentation.cache import ReplyCache
from multitask.experiments.report.report import SEARCH, TABLE, read_summary
from multitask.experiments.search.settings import read_settings
from multitask.experiments.search.space import read_space
from multitask.inference.checkpoint import load_state, read_heads, save_state
from multitask.inference.run import read_run_config, read_scores_file
from multitask.runtime.tracking import read_metrics
from multitask.training.trainer import read_environment

SECONDS, GROWTH = 5.0, 2**30
LONGEST = 4000  # characters of a message
TEXTS = ["a cat", "The dogs, the dog!", "dog [MASK] caf\u00e9", "\u4e2da"]
SENTENCE_FILES = """modules.json config_sentence_transformers.json sentence_bert_config.json
1_Pooling/config.json""".split()
WORDS = [*"abcdefghijklmnopqrstuvwxyz", "cat", "dog", "##s", "the"]


@dataclass(frozen=True)
class Reader:
    """A kind of file: `read` gives what our code makes of it, `oracle` what must equal that, or nothing."""

    path: Path
    read: Callable[[], Any]
    oracle: Callable[[Path], Any] | None = None
    content: bytes = field(default=b"", compare=False)


def make_readers(root: Path) -> dict[str, Reader]:
    """Writes one accepted file of each kind below `root`."""
    model = root / "model"
    model.mkdir()
    (model / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    Tokenizer.from_pretrained(model).save_pretrained(model)
    sizes = dict(hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
    bert = BertModel(BertConfig(vocab_size=5 + len(WORDS), max_position_embeddings=16, **sizes))
    bert.save_pretrained(model)
    write_modules(model, SentenceModules.of(12, "mean", "l2"), 16)
    _write(model / "config_sentence_transformers.json", {"prompts": {"query": "q: "}})
    shards = root / "shards"
    shards.mkdir()
    _write(shards / INDEX_FILE, {"metadata": {}, "weight_map": {"a": "model-1.safetensors"}})
    add_lora(bert, LoRAConfig(rank=2))
    adapter = root / "adapter"
    save_lora(bert, adapter)
    shapes = {
        f"encoder.layers.{number}.{target}": tuple(layer.get_submodule(target).weight.shape)
        for number, layer in enumerate(bert.encoder.layers)
        for target in TARGETS.values()
    }
    attention = root / "attention"
    attention.mkdir()
    BertConfig(extra={"minbert_adapters": ["attention_head_layers"]}).save(attention)
    sizes = {
        "attention_head_layers": 1,
        "projected_attention_size": 0,
        "projected_attention_heads": 12,
        "projected_attention_names": [],
    }
    _write(attention / "adapter" / "attention_adapters.json", {"sha256": "0" * 64, **sizes})

    run = root / "run"
    run.mkdir()
    config = RunConfig().to_dict()
    _write(run / "config.json", config)
    head = {"config": config["tasks"]["sst"], "labels": ["0", "1"], "fallback": "1"}
    _write(run / "heads.json", {"tasks": {"sst": head}})
    safetensors.torch.save_file({"sst.weight": torch.zeros(2, 8)}, run / "heads.safetensors")
    scores = {"scores": {"sst": {"accuracy": 0.5}}, "overall": {"mean_raw": 0.5}}
    _write(run / "scores.json", {**scores, "step": 4, "seconds": 1.5, "costs": {"epochs": 1.0, "tokens": 40}})
    environment = {"threads": 1, "data": {"a.csv": "0" * 64}, "torch": "2"}
    _write(run / "environment.json", environment)
    state = {
        "plan": {"step": 3, "stopped": None},
        "precision": {"steps": 3, "skipped": 0, "scaler": {}},
        "optimizer": {0: {"step": torch.tensor(3.0), "m": torch.ones(2, 3)}},
        "progress": {"seconds": 1.0, "peak_memory": 5},
    }
    save_state(run, state)
    lines = [{"kind": "train", "step": step, "loss": 1.0 / (step + 1)} for step in range(3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    cell = CellJob(str(root / "table"), "id", "key", "base", 1, "name", {}, False, True)
    record = {"row": "base", "seed": 1, "state": "finished", "error": None, **scores, "step": 4}
    task = {"metric": "accuracy", "value": 0.5, "kind": "mean", "examples": "ab", "values": [[1.0, 0.0]]}
    record |= {"seconds": 2.0, "costs": {"epochs": 1.0}, "environment": environment, "tasks": {"sst": task}}
    _write(cell.file("json"), record)
    difference = {"mean": 0.1, "low": 0.0, "high": 0.2, "significant": True, "why": None}
    row = {
        "name": "base",
        "cells": [{"seed": 1, "state": "finished", "error": None}],
        "scores": {"sst.accuracy": {"mean": 0.5, "sd": None}},
        "differences": {"sst.accuracy": difference},
        "published": None,
    }
    texts = dict.fromkeys(("title", "about", "command", "created"), "t")
    table = {"kind": "ablation", **texts, "baseline": "base", "seeds": [1], "columns": ["sst.accuracy"]}
    table |= {"rows": [row], "notes": [], "environment": {}, "level": 0.95}
    _write(root / "table" / "table.json", table)
    trial = {"number": 0, "state": "complete", "value": 0.5, "parameters": {"lr": 0.1}, "steps": [[1, 0.5]]}
    range_of = {"kind": "float", "low": 0.01, "high": 1.0, "log": True, "choices": []}
    search = {"kind": "search", **texts, "metric": "m", "sampler": "tpe", "trials": [trial], "notes": []}
    search |= {"parameters": {"lr": range_of}, "importance": {"lr": 1.0}, "best": trial}
    _write(root / "search" / "search.json", search)
    parameter = {"name": "lr", "keys": ["optim.lr"], "kind": "float", "low": 0.01, "high": 1.0, "log": True}
    parameter |= {"step": None, "choices": [], "grid": []}
    settings = {**texts, "seeds": [1], "parameters": [parameter], "base": config, "points": []}
    settings |= {"sampler": "tpe", "trials": 3, "pruner": "none", "sampler_seed": 0}
    _write(root / "search" / "settings.json", settings | {"storage": None, "data": {"a": "b"}})
    journal = root / "cache.jsonl"
    reply = {"text": "hi", "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 2, "cost": 0.25}
    lines = [
        {"request": 1, "key": "a", "bound": 0.5},
        {"request": 1, "key": "a", "reply": reply},
        {"request": 2, "key": "b", "bound": 0.5},
        {"request": 2, "error": "time-out", "cost": 0.5},
    ]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    facts = {"arrays": {name: ["<i4", [2]] for name in ARRAYS}, "sides": 1, "repeated": 1, "examples": 2}
    facts |= {"rows": 2, "dropped": 0, "rejected": 1, "rejects": ["a.csv:3 rejected"], "unlabelled": 0}
    facts |= {"label_kind": "name", "label_names": ["x"], "labels": [["x", 2]], "file_ends": [2]}
    _write(root / "store" / "facts.json", facts)
    parts = {"id": "a", "settings": {"column": None}, "source": "s", "rows": 2, "features": 3}
    _write(root / "parts" / "encoding.json", parts | {"starts": [[0, 0, 1]]})
    files = {"config.json": {"size": 3, "blob_id": "a" * 40}}
    hub = {"name": "a/b", "revision": "main", "commit": "c" * 40, "files": files}
    _write(root / "hub" / RECORD_FILE, hub)
    rows = root / "rows.jsonl"
    rows.write_text('{"text": "a cat", "label": 1}\n{"text": "the dog", "label": 0}\n')
    toml = root / "run.toml"
    toml.write_text(
        'tasks = ["sst"]\n[train]\nepochs = 2\nseed = 3\n[optim]\nlr = 1e-4\n[sst]\nweight = 2.0\n'
    )
    tables = root / "table.toml"
    tables.write_text(
        'title = "t"\nseeds = [1, 2]\n[base.optim]\nlr = 1e-4\n[[rows]]\nname = "a"\n'
        '[[rows]]\nname = "b"\nset = {optim.lr = 2e-4}\n'
    )
    space = root / "space.toml"
    space.write_text('title = "t"\n[space."optim.lr"]\nlow = 1e-5\nhigh = 1e-3\nlog = true\n')
    points = root / "points.toml"
    points.write_text('[model]\n"scaled scores" = 3\n')

    parser = CommandParser()
    add_key_options(parser)
    options = RunOptions(parser, [])

    def all_rows() -> Any:
        return list(open_table(rows).records())

    def replies() -> Any:
        with ReplyCache(journal) as cache:
            assert 0 <= cache.cost <= cache.most < float("inf"), "a cost that no budget can hold"

    def _plain(path: Path) -> Any:
        return json.loads(path.read_text(encoding="utf-8"))

    def config_of(path: Path) -> Any:
        values = _plain(path)
        return {
            key: values[key] for key in ("hidden_size", "vocab_size", "num_hidden_layers") if key in values
        }

    def our_config() -> Any:
        config, given = BertConfig.from_folder(model), _plain(model / "config.json")
        return {key: getattr(config, key) for key in config_of(model / "config.json") if key in given}

    def our_ids() -> Any:
        tokenizer = Tokenizer.from_pretrained(model)
        return [tokenizer([text]).padded()["input_ids"][0].tolist() for text in TEXTS]

    def their_ids(path: Path) -> Any:
        tokenizer = AutoTokenizer.from_pretrained(model)
        return [tokenizer(text, truncation=True, max_length=512)["input_ids"] for text in TEXTS]

    def our_vectors() -> np.ndarray:
        return SentenceEncoder.from_pretrained(model).encode(TEXTS)

    def their_vectors(path: Path) -> np.ndarray:
        return SentenceTransformer(str(model), device="cpu").encode(TEXTS)

    def table_of(kind: str, path: Path, rules: dict) -> Callable[[], Any]:
        return lambda: read_summary(path, kind, rules)

    tensors = run / "training_state" / "tensors.safetensors"
    readers = {
        "config.json": Reader(model / "config.json", our_config, config_of),
        **{
            name: Reader(model / name, our_ids, their_ids)
            for name in ("tokenizer_config.json", "tokenizer.json")
        },
        **{name: Reader(model / name, our_vectors, their_vectors) for name in SENTENCE_FILES},
        "model.safetensors": Reader(
            model / "model.safetensors",
            lambda: read_tensors(model / "model.safetensors"),
            safetensors.torch.load_file,
        ),
        "weights of a model": Reader(
            model / "model.safetensors", lambda: BertModel.from_pretrained(model) and None
        ),
        INDEX_FILE: Reader(shards / INDEX_FILE, lambda: weight_files(shards) and None),
        "adapter_config.json": Reader(
            adapter / "adapter_config.json",
            lambda: read_adapter(adapter, shapes, bert.config.family) and None,
        ),
        "attention_adapters.json": Reader(
            attention / "adapter" / "attention_adapters.json",
            lambda: read_attention_adapters(attention).attention_head_layers,
            lambda path: _plain(path)["attention_head_layers"],
        ),
        "hub.json": Reader(root / "hub" / RECORD_FILE, lambda: _read_record(root / "hub") and None),
        "a run's config.json": Reader(run / "config.json", lambda: read_run_config(run) and None),
        "heads.json": Reader(run / "heads.json", lambda: read_heads(run), lambda path: _plain(path)["tasks"]),
        "scores.json": Reader(run / "scores.json", lambda: read_scores_file(run), _plain),
        "environment.json": Reader(
            run / "environment.json",
            lambda: read_environment(run),
            lambda path: {"threads": None} | _plain(path),
        ),
        "state.json": Reader(run / "training_state" / "state.json", lambda: load_state(run) and None),
        "tensors.safetensors": Reader(tensors, lambda: load_state(run) and None),
        "metrics.jsonl": Reader(run / "metrics.jsonl", lambda: read_metrics(run / "metrics.jsonl") and None),
        "a cell's record": Reader(cell.file("json"), cell.result, _plain),
        "table.json": Reader(
            root / "table" / "table.json", table_of("ablation", root / "table" / "table.json", TABLE), _plain
        ),
        "search.json": Reader(
            root / "search" / "search.json",
            table_of("search", root / "search" / "search.json", SEARCH),
            _plain,
        ),
        "settings.json": Reader(
            root / "search" / "settings.json", lambda: read_settings(root / "search") and None
        ),
        "augment's journal": Reader(journal, replies),
        "facts.json": Reader(root / "store" / "facts.json", lambda: read_facts(root / "store"), _plain),
        "encoding.json": Reader(
            root / "parts" / "encoding.json",
            lambda: PartFolder.open(root / "parts").rows,
            lambda path: _plain(path)["rows"],
        ),
        "rows.jsonl": Reader(rows, lambda: all_rows() and None),
        "run.toml": Reader(
            toml,
            lambda: read_config(str(toml)),
            lambda path: {
                key.replace("-", "_"): value for key, value in tomllib.loads(path.read_text("utf-8")).items()
            },
        ),
        "table.toml": Reader(tables, lambda: read_ablation(str(tables), options) and None),
        "space.toml": Reader(space, lambda: read_space(str(space)) and None),
        "points.toml": Reader(
            points, lambda: read_points(points, ()), lambda p: tomllib.loads(p.read_text("utf-8"))
        ),
    }
    return {
        name: Reader(reader.path, reader.read, reader.oracle, reader.path.read_bytes())
        for name, reader in readers.items()
    }


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


# --- Mutations ----------------------------------------------------------------------------------------------

_RAW = "\0RAW%d\0"  # stands for a text that json.dumps cannot write
RAW = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "9" * 5000,
    "-" + "9" * 41,
    "1" + "0" * 400,
    "[" * 100_000 + "]" * 100_000,
    "[" * 120 + "]" * 120,
    '{"a":' * 2000 + "1" + "}" * 2000,
    '"\\ud800"',
    '"\\u0000"',
]
VALUES = [
    *(None, True, False, 0, -1, 1, 2, 3, 2**31, 2**62, 2**63, 2**64, 10**30, 0.5, -0.0, -1.5, 1e-320, 1e308),
    *("", "a", "x" * 5000, "../../etc/passwd", "/etc/passwd", "\n\x1b[31m", "\u202e", "1", "nan"),
    *([], [1], [None], ["a"], [[1]], [{}], {}, {"a": 1}, {"": None}, {"a": {"b": [1]}}, [0] * 2000),
]


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in parts for place in _places(part, (*path, key)))]


def mutate_json(value: Any, draw: random.Random) -> str:
    """Returns the text of a value with one to three of its parts replaced, removed, doubled or renamed."""
    value, raw = copy.deepcopy(value), []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        *above, last = draw.choice(_places(value)) or (None,)
        if last is None and not above:
            value = copy.deepcopy(draw.choice(VALUES)) if draw.random() < 0.2 else value
            continue
        holder = value
        for key in above:
            holder = holder[key]
        kind = draw.randrange(8)
        if kind < 3:
            holder[last] = copy.deepcopy(draw.choice(VALUES))
        elif kind == 3:
            holder[last] = _RAW % len(raw)
            raw.append(draw.choice(RAW))
        elif kind == 4:
            del holder[last]
        elif kind == 5 and isinstance(holder, dict):
            holder[draw.choice(("", "unknown", "__class__", str(last).upper()))] = holder.pop(last)
        elif kind == 6 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        else:
            old = holder[last]
            number = isinstance(old, int | float) and not isinstance(old, bool)
            holder[last] = -old if number and draw.random() < 0.5 else str(old) if number else [old]
    text = json.dumps(value)
    for number, part in enumerate(raw):
        text = text.replace(json.dumps(_RAW % number), part)
    return text


def mutate_bytes(content: bytes, draw: random.Random) -> bytes:
    """Returns a content that is cut, doubled, overwritten or in another code."""
    start, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    other = bytes(draw.randrange(256) for _ in range(draw.choice((1, 1, 2, 8))))
    return draw.choice(
        (
            b"",
            content[:start],
            content[:start] + other + content[start:],
            content[:start] + other + content[start + len(other) :],
            content[:start] + content[end:],
            content[:end] + content[start:],
            b"\xef\xbb\xbf" + content,
            content.decode("latin-1").encode("utf-16"),
            b"version https://git-lfs.github.com/spec/v1\n",
            b"<!DOCTYPE html><html></html>",
            b"\0" * len(content),
        )
    )


def mutate_safetensors(content: bytes, draw: random.Random) -> bytes:
    """Returns a safetensors file with another header, or other numbers."""
    size = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + size]), content[8 + size :]
    changed = mutate_json(header, draw).encode("utf-8", "surrogatepass")
    length = len(changed) if draw.random() < 0.9 else draw.choice((0, 1, 2**31, 2**62, len(changed) + 1))
    if draw.random() < 0.2:
        place = draw.randrange(len(data))
        return content[: 8 + size + place] + draw.randbytes(1) + content[8 + size + place + 1 :]
    cut = data if draw.random() < 0.8 else data[: draw.randrange(len(data) + 1)]
    return length.to_bytes(8, "little") + changed + cut


def mutate_toml(content: bytes, draw: random.Random) -> bytes:
    """Returns a TOML file in which a value, a key or a line is another."""
    lines = content.decode().splitlines()
    place = draw.randrange(len(lines))
    key, sign, _ = lines[place].partition(" = ")
    values = [
        *("nan", "inf", "-1", "0", "9" * 5000, "1e999", "true", '""', '"a"', "[]", "[[1]]", "{}", "{a = 1}"),
        *(
            "1979-05-27",
            "07:32:00",
            "[" * 5000 + "]" * 5000,
            "{a=" * 1500 + "1" + "}" * 1500,
            "'\u202e'",
            "2e400",
        ),
        *('"x"' * 3, "[1, 'a', {}]", "0x7fffffffffffffffffff", '"\\u0000"', "[" + "1, " * 3000 + "]"),
    ]
    kind = draw.randrange(5)
    if kind < 2 and sign:
        lines[place] = f"{key} = {draw.choice(values)}"
    elif kind == 2:
        lines.insert(
            place, draw.choice((lines[place], "[a]", "[[a]]", "a.b.c = 1", ".".join("a" * 2000) + " = 1"))
        )
    elif kind == 3:
        del lines[place]
    else:
        lines[place] = lines[place].replace(
            key, draw.choice((f"{key}x", '""', "a.b", "__class__", "\u00e9")), 1
        )
    return "\n".join(lines).encode("utf-8")


def mutate(path: Path, content: bytes, draw: random.Random) -> bytes:
    """Returns a changed content of a file, by the structure that its name tells."""
    if draw.random() < 0.15:
        return mutate_bytes(content, draw)
    if path.suffix == ".safetensors":
        return mutate_safetensors(content, draw)
    if path.suffix == ".toml":
        return mutate_toml(content, draw)
    if path.suffix == ".jsonl":
        lines = content.decode().splitlines()
        place = draw.randrange(len(lines))
        lines[place] = mutate_json(json.loads(lines[place]), draw)
        if draw.random() < 0.1:
            draw.shuffle(lines)
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    return mutate_json(json.loads(content), draw).encode("utf-8", "surrogatepass")


# --- Cases --------------------------------------------------------------------------------------------------


def equal(ours: Any, theirs: Any) -> bool:
    """Returns True for the same values, tensors bit by bit, vectors to 1e-5."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(equal(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, np.ndarray):
        return ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=0, atol=1e-5)
    if isinstance(ours, torch.Tensor):
        same = ours.dtype == theirs.dtype and ours.shape == theirs.shape
        return same and bool(
            (ours.view(torch.uint8) == theirs.view(torch.uint8)).all() if ours.dim() else True
        )
    return repr(ours) == repr(theirs)


def run_case(reader: Reader) -> tuple[str, str]:
    """Reads the file as it is -> "accepted" or "refused" with the message, or "failed" with the reason."""
    start, before = time.perf_counter(), _memory()
    try:
        found = reader.read()
        result, message = "accepted", ""
    except InputError as error:
        result, message = "refused", str(error)
        if len(message) > LONGEST:
            result, message = "failed", f"a message of {len(message)} characters: {message[:200]}"
    except Exception:
        return "failed", traceback.format_exc(limit=-6)
    if time.perf_counter() - start > SECONDS:
        return "failed", f"took {time.perf_counter() - start:.1f} s"
    if _memory() - before > GROWTH:
        return "failed", f"the process grew by {(_memory() - before) / 2**20:.0f} MiB"
    if result == "accepted" and reader.oracle is not None:
        try:
            expected = reader.oracle(reader.path)
        except Exception as error:
            return "failed", f"accepted, and the oracle refuses it: {error!r}"
        if not equal(found, expected):
            return "failed", f"read {str(found)[:200]}, and the oracle {str(expected)[:200]}"
    return result, message


def _memory() -> int:
    """Returns the most bytes that this process had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(cases: int, seed: int, names: list[str] | None = None) -> tuple[dict[str, Counter], list[str]]:
    """Runs so many cases, spread over the readers -> counts by kind of file, and the findings."""
    counts: dict[str, Counter] = {}
    findings = []
    with tempfile.TemporaryDirectory(prefix="minbert-fuzz-") as folder:
        readers = make_readers(Path(folder))
        for name, reader in readers.items():
            result, message = run_case(reader)
            if result != "accepted":
                findings.append(f"{name}: the base case is {result}: {message}")
        chosen = names or list(readers)
        for case in range(cases):
            name = chosen[case % len(chosen)]
            reader, draw = readers[name], random.Random(f"{seed} {case} {name}")
            content = mutate(reader.path, reader.content, draw)
            reader.path.write_bytes(content)
            result, message = run_case(reader)
            reader.path.write_bytes(reader.content)
            counts.setdefault(name, Counter())[result] += 1
            if result == "failed":
                findings.append(f"{name}, case {case}: {message}\n  {content[:300]!r}")
    return counts, findings


def main() -> int:
    disable_progress_bar()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="kinds of files, separated by commas")
    options = parser.parse_args()
    counts, findings = fuzz(options.cases, options.seed, options.only.split(",") if options.only else None)
    for name, found in counts.items():
        print(
            f"{name:36}{found['accepted']:8} accepted{found['refused']:8} refused{found['failed']:6} failed"
        )
    print("\n".join(findings[:20]))
    print(f"{sum(map(Counter.total, counts.values())):,} cases, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
