"""benchmarks/comparison.py: turns, ratios, counted operations, texts, processes and tables.

Run: pytest tests/benchmarks/test_comparison.py
"""

import argparse
import csv
import gc
import json
import statistics
import time
import weakref
from itertools import count

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from minbert import InputError
from multitask.data.sample import write_sample


@pytest.fixture(scope="module")
def comparison(commands):
    return commands("comparison")


def test_contenders_take_turns_and_every_second_round_is_reversed(comparison, monkeypatch):
    monkeypatch.setattr(comparison.gc, "collect", lambda: None)  # slow beside the objects of all tests
    calls = []
    contenders = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    contenders["long"] = lambda: time.sleep(0.03)
    seconds = comparison.alternate(contenders, repetitions=3, warmup=1)
    assert "".join(calls) == "ab" + "ba" + "ab" + "ba"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "long": 3}
    assert all(value >= 0.03 for value in seconds["long"])


def test_garbage_of_one_contender_is_gone_before_the_next(comparison):
    class Node:
        pass

    left = []

    def litter():
        node = Node()
        node.itself = node
        left.append(weakref.ref(node))
        return node

    def look():
        assert left[-1]() is None

    gc.disable()
    try:
        comparison.alternate({"litter": litter, "look": look}, repetitions=1, warmup=0)
    finally:
        gc.enable()
    assert left


def test_the_ratio_is_the_median_over_rounds_with_scipys_bootstrap(comparison):
    peer, ours = [1.0, 10.0, 100.0], [1.0, 1.0, 50.0]  # 1, 10, 2; the ratio of the medians would be 10
    found = comparison.ratio(peer, ours)
    assert found == (statistics.median([1.0, 10.0, 2.0]), 1.0, 10.0) == comparison.ratio(peer, ours)
    random = np.random.default_rng(1)
    peer, ours = random.uniform(2, 4, 17), random.uniform(1, 1.2, 17)
    expected = bootstrap(
        (peer / ours,), np.median, n_resamples=20000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert comparison.ratio(peer, ours)[1:] == pytest.approx(tuple(expected))  # ratios that were measured


def test_operations_are_those_that_torch_counts(comparison):
    config = BertConfig(
        vocab_size=10, hidden_size=24, num_hidden_layers=3, num_attention_heads=4, intermediate_size=40
    )
    config._attn_implementation = "eager"
    model = BertModel(config, add_pooling_layer=False)
    lengths = [3, 11, 7]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for length in lengths:
            model(torch.ones(1, length, dtype=torch.long))
    assert comparison.forward_flops(config, lengths) == counter.get_total_flops()


def test_the_peak_counts_two_operations_for_each_product(comparison, monkeypatch):
    ticks = count()
    monkeypatch.setattr(comparison.time, "perf_counter", lambda: float(next(ticks)))
    peak = comparison.matrix_peak.__wrapped__(torch.float32)
    assert peak == 2 * comparison.MATRIX**3 / 1e9


def test_texts_come_from_each_set_in_turn_and_start_over(comparison, tmp_path):
    def column(name: str, *columns: str) -> list[str]:
        with open(tmp_path / f"{name}-train.csv", encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t")
            return [row[column].strip() for row in rows for column in columns]

    write_sample(tmp_path)
    reviews = comparison.real_texts("long", 1300, tmp_path)
    assert len(reviews) == 1300 and sorted(reviews[:600]) == sorted(column("ids-cfimdb", "sentence"))
    assert reviews[600:1200] == reviews[:600] != column("ids-cfimdb", "sentence")
    mixed = comparison.real_texts("mix", 100, "sample")  # the same corpus
    pair = ("sentence1", "sentence2")
    for start, (file, names) in enumerate({"ids-sst": ("sentence",), "sts": pair, "quora": pair}.items()):
        assert set(mixed[start::3]) <= set(column(file, *names)) and len(mixed) == 100
    (tmp_path / "ids-cfimdb-train.csv").unlink()
    with pytest.raises(InputError, match=r"ids-cfimdb-train\.csv"):
        comparison.real_texts("long", 3, tmp_path)


def test_a_process_reads_its_own_peak_and_has_as_many_threads(comparison):
    program = """
import mmap, os, sys
held, untouched = b"1" * (64 * 2**20), mmap.mmap(-1, 2**29)
result = [*sys.argv[1:], os.environ["OMP_NUM_THREADS"]]
"""
    found = comparison.run_process(program, "a", "b")
    assert found.result == ["a", "b", str(torch.get_num_threads())] and found.seconds > 0
    assert 64 < found.peak_mb < 110  # torch alone, which this process holds, takes more
    with pytest.raises(RuntimeError, match="no such weights"):
        comparison.run_process("raise ValueError('no such weights')")


def test_set_up_sets_the_threads_and_names_the_peers(comparison):
    parser, before = comparison.command_parser("about"), torch.get_num_threads()
    assert parser.parse_args([]).repetitions == 5
    try:
        machine = comparison.set_up(parser.parse_args(["--threads", "2"]), "numpy")
        assert machine["threads"] == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert machine["torch"] == torch.__version__ and machine["numpy"] == np.__version__
    assert machine["cpu"] and machine["date"]
    with pytest.raises(InputError, match=r"no-such-peer is not installed.*dev"):
        comparison.set_up(parser.parse_args([]), "torch", "no-such-peer")
    for name in ("repetitions", "batch_size"):
        with pytest.raises(InputError, match=f"--{name.replace('_', '-')} is 0; give at least 1"):
            comparison.set_up(argparse.Namespace(threads=None, json=False, **{name: 0}))


def test_tables_are_aligned_and_json_is_one_object(comparison, capsys):
    row = comparison.Row(
        "encode", "a peer", comparison.Ratio(1.5, 1.25, 1.75), 1.4, None, 12345.6, 90.0, 180.0, "none"
    )
    figures = [{"contender": "ours", "seconds": 0.123456}, {"contender": "a peer", "seconds": 12345.6}]
    measured = [comparison.Measured([row], figures[:1]), comparison.Measured([], figures[1:])]
    comparison.show("Title", {"torch": "2"}, False, *measured)
    title, machine, first, second = capsys.readouterr().out.strip().split("\n\n")
    assert (title, machine) == ("Title", "torch 2")
    for table in (first, second):
        assert len({len(line) for line in table.splitlines()}) == 1
    cells = [cell.strip() for cell in first.splitlines()[2].strip("|").split("|")]
    assert cells == [
        *("encode", "a peer", "1.50", "1.25 - 1.75", "1.4", "", "12,346", "90", "50% of 180", "none")
    ]
    assert len(cells) == first.splitlines()[0].count("|") - 1
    assert [line.split("|")[2].strip() for line in second.splitlines()[2:]] == ["0.1235", "12,346"]
    comparison.show("Title", {"torch": "2"}, True, *measured)
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][0]["ratio"] == {"median": 1.5, "low": 1.25, "high": 1.75}
    assert found["rows"][0]["aim"] is None and found["measured"] == figures
    assert found["title"] == "Title" and found["machine"] == {"torch": "2"}
