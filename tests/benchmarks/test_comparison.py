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
from importlib.util import module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel

from minbert import InputError
from multitask.data.sample import write_sample

SPEC = spec_from_file_location("comparison", Path(__file__).parents[2] / "benchmarks" / "comparison.py")
comparison = module_from_spec(SPEC)
SPEC.loader.exec_module(comparison)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    return folder


def column(path: Path, *names: str) -> list[str]:
    with open(path, encoding="utf-8", newline="") as file:
        return [row[name].strip() for row in csv.DictReader(file, delimiter="\t") for name in names]


def test_contenders_take_turns_and_every_second_round_is_reversed():
    calls = []
    contenders = {name: lambda name=name: calls.append(name) for name in ("a", "b", "c")}
    seconds = comparison.alternate(contenders, repetitions=3, warmup=1)
    assert "".join(calls) == "abc" + "cba" + "abc" + "cba"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_seconds_are_those_of_the_call():
    seconds = comparison.alternate({"long": lambda: time.sleep(0.03), "none": int}, repetitions=2, warmup=0)
    assert all(value >= 0.03 for value in seconds["long"])


def test_garbage_of_one_contender_is_gone_before_the_next():
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


def test_the_ratio_is_the_median_over_rounds():
    peer, ours = [1.0, 10.0, 100.0], [1.0, 1.0, 50.0]  # 1, 10, 2; the ratio of the medians would be 10
    found = comparison.ratio(peer, ours)
    assert found.median == statistics.median([1.0, 10.0, 2.0])
    assert (found.low, found.high) == (1.0, 10.0)
    assert comparison.ratio(peer, ours) == found


def test_the_interval_is_scipys_bootstrap():
    random = np.random.default_rng(1)
    peer, ours = random.uniform(2, 4, 17), random.uniform(1, 1.2, 17)
    found = comparison.ratio(peer.tolist(), ours.tolist())
    expected = bootstrap(
        (peer / ours,), np.median, n_resamples=20000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found[1:] == pytest.approx(tuple(expected))  # medians of 17 are ratios that were measured


def test_contenders_of_unequal_rounds_have_no_ratio():
    with pytest.raises(ValueError):
        comparison.ratio([1.0, 2.0], [1.0, 2.0, 3.0])


def test_operations_are_those_that_torch_counts():
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


def test_the_peak_counts_two_operations_for_each_product(monkeypatch):
    ticks = count()
    monkeypatch.setattr(comparison.time, "perf_counter", lambda: float(next(ticks)))
    assert comparison.matrix_peak(torch.float32, seconds=1.0) == 2 * comparison.MATRIX**3 / 1e9


def test_texts_start_over(data):
    texts, source = comparison.real_texts("long", 1300, data)
    reviews = column(data / "ids-cfimdb-train.csv", "sentence")
    assert len(texts) == 1300 and sorted(texts[:600]) == sorted(reviews)
    assert texts[600:1200] == texts[:600] and texts[:600] != reviews
    assert source == f"cfimdb of {data}"


def test_mixed_texts_come_from_each_set_in_turn(data):
    texts, _ = comparison.real_texts("mix", 100, data)
    assert len(texts) == 100
    pair = ("sentence1", "sentence2")
    for start, (file, names) in enumerate({"ids-sst": ("sentence",), "sts": pair, "quora": pair}.items()):
        assert set(texts[start::3]) <= set(column(data / f"{file}-train.csv", *names))


def test_without_data_the_bundled_sample_is_read(data):
    texts, source = comparison.real_texts("sst", 50, None)
    assert texts == comparison.real_texts("sst", 50, data)[0]
    assert source == "sst of the bundled sample"


def test_data_that_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        comparison.real_texts("sst", 3, tmp_path / "none")
    with pytest.raises(InputError, match=r"ids-sst-train\.csv"):
        comparison.real_texts("sst", 3, tmp_path)


def test_a_process_reads_its_own_peak():
    program = """
import mmap, sys
held, untouched = b"1" * (64 * 2**20), mmap.mmap(-1, 2**29)
result = sys.argv[1:]
"""
    found = comparison.run_process(program, "a", "b")
    assert found.result == ["a", "b"] and found.seconds > 0
    assert 64 < found.peak_mb < 110  # torch alone, which this process holds, takes more


def test_a_process_has_as_many_threads_as_this_one():
    program = "import os; result = os.environ['OMP_NUM_THREADS']"
    assert comparison.run_process(program).result == str(torch.get_num_threads())


def test_a_process_that_fails_is_not_measured():
    with pytest.raises(RuntimeError, match="no such weights"):
        comparison.run_process("raise ValueError('no such weights')")


def test_a_peer_that_is_missing_is_named():
    assert comparison.need("torch") == {"torch": torch.__version__}
    with pytest.raises(InputError, match=r"no-such-peer is not installed.*dev"):
        comparison.need("torch", "no-such-peer")


@pytest.fixture
def options():
    def parse(*words: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        comparison.add_options(parser)
        return parser.parse_args(words)

    return parse


def test_set_up_sets_the_threads(options):
    before = torch.get_num_threads()
    try:
        machine = comparison.set_up(options("--threads", "2"))
        assert machine["threads"] == torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert machine["torch"] == torch.__version__ and machine["cpu"] and machine["date"]
    assert options().repetitions == 5


@pytest.mark.parametrize("name", ["repetitions", "threads"])
def test_set_up_refuses_less_than_one(options, name):
    with pytest.raises(InputError, match=f"--{name} is 0; give at least 1"):
        comparison.set_up(options(f"--{name}", "0"))


ROW = comparison.Row(
    "encode", "a peer", comparison.Ratio(1.5, 1.25, 1.75), 1.4, None, 12345.6, 90.0, 180.0, "none"
)
MEASURED = [{"contender": "ours", "seconds": 0.123456}, {"contender": "a peer", "seconds": 12345.6}]


def test_the_table_is_aligned_and_complete(capsys):
    comparison.show("Title", [ROW], {"torch": "2"}, False, MEASURED)
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


def test_json_is_one_object(capsys):
    comparison.show("Title", [ROW], {"torch": "2"}, True, MEASURED)
    found = json.loads(capsys.readouterr().out)
    assert found["rows"][0]["ratio"] == {"median": 1.5, "low": 1.25, "high": 1.75}
    assert found["rows"][0]["aim"] is None and found["measured"] == MEASURED
    assert found["title"] == "Title" and found["machine"] == {"torch": "2"}
