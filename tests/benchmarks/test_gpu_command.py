"""benchmarks/gpu.py: what it says without a CUDA device, what it makes up, and its comparisons on the CPU.

Run: pytest tests/benchmarks/test_gpu_command.py
"""

import argparse
import os
import shutil
import subprocess
import sys
from importlib import import_module
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from minbert import BertConfig, Tokenizer
from multitask.data.readers import read_table

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TINY = BertConfig(
    vocab_size=500,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=128,
)


@pytest.fixture(scope="module")
def commands():
    """The function that imports a file of benchmarks/, as the commands import each other."""
    sys.path.insert(0, str(BENCHMARKS))
    yield import_module
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def gpu(commands):
    return commands("gpu")


@pytest.fixture(scope="module")
def lengths(commands) -> list[int]:
    return commands("made_up").drawn_lengths("SST", 60)


@pytest.fixture(scope="module")
def place(commands, gpu, lengths):
    made_up = commands("made_up")
    with made_up.made_up(TINY, made_up.sentences(TINY, lengths)) as folder:
        yield gpu.Place(folder, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so():
    done = subprocess.run([sys.executable, str(BENCHMARKS / "gpu.py")], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: torch sees no CUDA device") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "name, file, columns", [("SST", "ids-sst", ["sentence"]), ("Quora", "quora", ["sentence1", "sentence2"])]
)
def test_lengths_are_spread_as_in_the_data(commands, shared, minilm, name, file, columns):
    made_up = commands("made_up")
    rows = read_table(shared / "data" / f"{file}-train.csv", texts=columns, label=None, parse_label=None).rows
    tokenizer = Tokenizer.from_pretrained(minilm)
    texts = [[row.texts[side] for row in rows] for side in range(len(columns))]
    found = [len(sequence.ids) for sequence in tokenizer.encode(*texts)]
    assert np.rint(np.quantile(found, made_up.SHARES)).astype(int).tolist() == list(made_up.LENGTHS[name])
    drawn = made_up.drawn_lengths(name, 8192)
    assert np.mean(drawn) == pytest.approx(np.mean(found), rel=0.02)
    assert drawn != sorted(drawn)


def test_made_up_sentences_have_these_lengths(place, lengths):
    rows = read_table(
        place.folder / "ids-sst-train.csv", texts=["sentence"], label=None, parse_label=None
    ).rows
    encoded = Tokenizer.from_pretrained(place.folder).encode([row.texts[0] for row in rows])
    assert [len(sequence.ids) for sequence in encoded] == lengths
    assert max(max(sequence.ids) for sequence in encoded) < TINY.vocab_size
    assert not any(1 in sequence.ids for sequence in encoded)  # [UNK]


def test_goals(gpu):
    goals = {kind: [(q.ours, q.peer, q.floor) for q in gpu.questions(kind)] for kind in gpu.GOALS}
    for kind, goal in (("SST", 2.0), ("Quora", 2.0), ("full 128", 1.2)):
        assert goals[kind] == [
            ("ours bf16", "transformers bf16, random batches", goal),
            ("ours bf16", "transformers bf16, like lengths", goal),
            ("ours bf16", "ours fp32", 2.5),
            ("ours bf16, compiled", "ours bf16", None),
        ]


def test_the_peer_has_the_same_losses(gpu, place):
    count, _, figure = gpu.apart(place, 8).partition(" losses, ")
    assert count == "5" and float(figure.removesuffix(" relative")) < 1e-2


def test_random_batches_take_each_sentence_once_an_epoch(gpu, place, lengths):
    training = gpu.own(place, 8, 10)
    batches = list(islice(gpu.random_batches(training), 9))
    assert sorted(n for batch in batches[:8] for n in batch.lengths) == sorted(lengths)
    assert len(batches[7].lengths) == 4 and batches[8].lengths != batches[0].lengths


@pytest.mark.filterwarnings("ignore")  # of sentence-transformers
def test_encoding(gpu, commands, place, lengths):
    texts = commands("made_up").sentences(TINY, lengths)
    rows = gpu.encode(place, texts, lengths, repetitions=1)
    assert [row.peer for row in rows] == ["sentence-transformers fp32", "sentence-transformers bf16"]
    for row in rows:
        assert row.floor == 3.0 and row.ratio.median > 0
        assert float(row.difference.removeprefix("least cosine ")) > 0.999


def test_the_peak_counts_operations(gpu):
    assert 0.01 < gpu.device_peak("cpu", side=256, products=2) < 1e5


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which(os.environ.get("CXX", "g++")), reason="torch.compile needs a C++ compiler"
)
@pytest.mark.filterwarnings("ignore")  # of which torch.compile has many, raised and hidden by itself
def test_training(gpu, place):
    options = argparse.Namespace(batch_size=8, batches=2, repetitions=1)
    measured = gpu.train(place, "SST", options)
    assert [row.peer for row in measured.rows] == [q.peer for q in gpu.questions("SST")]
    tokens = {entry["contender"]: entry["tokens a round"] for entry in measured.contenders}
    same = {name: tokens[f"SST: {name}"] for name in ("ours bf16", "ours fp32", "ours bf16, compiled")}
    assert set(same.values()) == {tokens["SST: transformers bf16, like lengths"]}
    assert measured.rows[0].difference == measured.rows[1].difference != measured.rows[2].difference
