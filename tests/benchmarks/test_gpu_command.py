"""benchmarks/gpu.py: the refusal without a CUDA device, its made-up data, and its comparisons on the CPU.

Run: pytest tests/benchmarks/test_gpu_command.py
"""

import argparse
import os
import shutil
from itertools import islice

import numpy as np
import pytest
import torch

from minbert import BertConfig, InputError, Tokenizer
from multitask.data.readers import read_table

TINY = BertConfig(
    vocab_size=500,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=128,
)


@pytest.fixture(scope="module")
def gpu(commands):
    return commands("gpu")


@pytest.fixture(scope="module")
def lengths(gpu) -> list[int]:
    return gpu.drawn_lengths("SST", 60)


@pytest.fixture(scope="module")
def place(gpu, lengths):
    with gpu.made_up(TINY, gpu.sentences(TINY, lengths)) as folder:
        yield gpu.Place(folder, "cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_so(gpu):
    with pytest.raises(InputError, match="^torch sees no CUDA device"):
        gpu.main([])


@pytest.mark.parametrize(
    "name, file, columns", [("SST", "ids-sst", ["sentence"]), ("Quora", "quora", ["sentence1", "sentence2"])]
)
def test_lengths_are_spread_as_in_the_data(gpu, shared, minilm, name, file, columns):
    rows = read_table(shared / "data" / f"{file}-train.csv", texts=columns, label=None, parse_label=None).rows
    tokenizer = Tokenizer.from_pretrained(minilm)
    texts = [[row.texts[side] for row in rows] for side in range(len(columns))]
    found = [len(sequence.ids) for sequence in tokenizer.encode(*texts)]
    assert np.rint(np.quantile(found, gpu.SHARES)).astype(int).tolist() == list(gpu.LENGTHS[name])
    drawn = gpu.drawn_lengths(name, 8192)
    assert np.mean(drawn) == pytest.approx(np.mean(found), rel=0.02)
    assert drawn != sorted(drawn)


def test_made_up_sentences_have_these_lengths(place, lengths):
    file = place.folder / "ids-sst-train.csv"
    rows = read_table(file, texts=["sentence"], label=None, parse_label=None).rows
    encoded = Tokenizer.from_pretrained(place.folder).encode([row.texts[0] for row in rows])
    assert [len(sequence.ids) for sequence in encoded] == lengths
    assert max(max(sequence.ids) for sequence in encoded) < TINY.vocab_size
    assert not any(1 in sequence.ids for sequence in encoded)  # [UNK]


def test_the_peer_has_the_same_losses(gpu, place):
    count, _, figure = gpu.apart(place, 8).partition(" losses, ")
    assert count == "5" and float(figure.removesuffix(" relative")) < 1e-2


def test_random_batches_take_each_sentence_once_an_epoch(gpu, place, lengths):
    training = gpu.own(place, 8, 10)
    batches = list(islice(gpu.random_batches(training), 9))
    assert sorted(n for batch in batches[:8] for n in batch.lengths) == sorted(lengths)
    assert len(batches[7].lengths) == 4 and batches[8].lengths != batches[0].lengths


@pytest.mark.filterwarnings("ignore")  # of sentence-transformers
def test_encoding(gpu, place, lengths):
    rows = gpu.encode(place, gpu.sentences(TINY, lengths), repetitions=1).rows
    assert [row.peer for row in rows] == ["sentence-transformers fp32", "sentence-transformers bf16"]
    for row in rows:
        assert row.floor == 3.0 and row.ratio.median > 0
        assert row.difference.startswith("least cosine to fp32 0.999")


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
    tokens = {entry["contender"]: entry["tokens a round"] for entry in measured.figures}
    same = {name: tokens[f"SST: {name}"] for name in ("ours bf16", "ours fp32", "ours bf16, compiled")}
    assert set(same.values()) == {tokens["SST: transformers bf16, like lengths"]}
    assert measured.rows[0].difference == measured.rows[1].difference != measured.rows[2].difference
