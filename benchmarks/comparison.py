"""How the commands of this folder compare: contenders in turn, ratios with intervals, one table or JSON.

Each command is `python benchmarks/NAME.py WEIGHTS [DATA] [options]`: WEIGHTS is a folder such as
all-MiniLM-L6-v2, DATA a folder with the course's files; without DATA the bundled sample gives the texts.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
import torch

from minbert import InputError
from minbert.kernels.onednn import OneDNNLinear, onednn_takes
from multitask.data.readers import read_table
from multitask.tasks.splits import SAMPLE, open_data

RESAMPLES = 2000  # of the bootstrap
MATRIX = 2048  # side of the matrices whose product measures the machine's peak
SEED = 11711
SENTENCE, PAIR = ("sentence",), ("sentence1", "sentence2")
SETS = {
    "mix": {"ids-sst": SENTENCE, "sts": PAIR, "quora": PAIR},
    "long": {"ids-cfimdb": SENTENCE},
    "sst": {"ids-sst": SENTENCE},
}
PEAK = """
import json, sys
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
print(json.dumps([peak, result]))
"""


class Ratio(NamedTuple):
    """How many times as fast as the peer: the median over the rounds and its 95 % interval."""

    median: float
    low: float
    high: float


class Row(NamedTuple):
    """One comparison: `floor` and `aim` are for the ratio, `tokens_per_second` and `gflops` ours.

    Both count real tokens only; `peak` is `matrix_peak` in the same precision. `difference` says what was
    compared numerically with the peer, and the figure.
    """

    work: str
    peer: str
    ratio: Ratio
    floor: float | None
    aim: float | None
    tokens_per_second: float | None
    gflops: float | None
    peak: float | None
    difference: str


class Process(NamedTuple):
    """A process from start to end: wall seconds, peak resident memory in MB (2^20 bytes), its answer."""

    seconds: float
    peak_mb: float
    result: Any


def alternate(
    contenders: Mapping[str, Callable[[], object]], repetitions: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of each contender's calls, one list entry a round.

    The contenders take turns within a round, in reversed order in every second round, so that other work
    on the machine meets all of them; `warmup` rounds are thrown away.
    """
    seconds = {name: [] for name in contenders}
    for turn in range(warmup + repetitions):
        for name in reversed(contenders) if turn % 2 else contenders:
            gc.collect()
            start = time.perf_counter()
            result = contenders[name]()
            elapsed = time.perf_counter() - start
            del result
            if turn >= warmup:
                seconds[name].append(elapsed)
    return seconds


def ratio(peer: Sequence[float], ours: Sequence[float]) -> Ratio:
    """Seconds of the peer by ours, round by round; the interval by bootstrap over rounds, percentiles."""
    ratios = np.array(peer) / np.array(ours)
    draws = np.random.default_rng(SEED).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5])
    return Ratio(float(np.median(ratios)), float(low), float(high))


def matrix_peak(dtype: torch.dtype, seconds: float = 1.0) -> float:
    """GFLOP/s of a large square matrix product, the best that repeating it for `seconds` shows.

    The faster of torch's product and of oneDNN's, which for fp32 is not the one that torch takes.
    """
    left, right = (torch.randn(MATRIX, MATRIX).to(dtype) for _ in range(2))
    products = [lambda: left @ right]
    if onednn_takes(left, right):
        products.append(lambda: OneDNNLinear.apply(left, right, None))
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        for product in products:
            start = time.perf_counter()
            product()
            best = min(best, time.perf_counter() - start)
    return 2 * MATRIX**3 / best / 1e9


def forward_flops(config, lengths: Iterable[int]) -> float:
    """Floating-point operations of one forward pass: linear layers and attention of all layers.

    `config` has the names of BertConfig; `lengths` are real tokens of each sequence, [CLS] and [SEP] too.
    """
    width, inner = config.hidden_size, config.intermediate_size
    linear = 2 * (4 * width * width + 2 * width * inner)  # a token: query, key, value, output; feed-forward
    attention = 2 * 2 * width  # a pair of tokens: scores, then the weighted sum of values
    return config.num_hidden_layers * sum(
        linear * length + attention * length * length for length in map(float, lengths)
    )


def real_texts(name: str, count: int, data: Path | None) -> tuple[list[str], str]:
    """`count` texts and a name of their source; they start over where the data do not hold enough.

    "mix" has sentences of SST, STS and Quora in turn, "sst" those of SST, "long" the reviews of CFIMDB,
    all of the training files, shuffled with a fixed seed. Raises InputError for data without these files.
    """
    columns = []
    with open_data(SAMPLE if data is None else data) as folder:
        for file, names in SETS[name].items():
            table = read_table(folder / f"{file}-train.csv", texts=names, label=None, parse_label=None)
            texts = [text for row in table.rows for text in row.texts]
            Random(SEED).shuffle(texts)
            columns.append(cycle(texts))
    in_turn = (text for texts in zip(*columns, strict=True) for text in texts)
    files = ", ".join(file.removeprefix("ids-") for file in SETS[name])
    return list(islice(in_turn, count)), f"{files} of {'the bundled sample' if data is None else data}"


def need(*packages: str) -> dict[str, str]:
    """The versions of packages that play a peer. Raises InputError, status 2, where one is not installed."""
    try:
        return {package: version(package) for package in packages}
    except PackageNotFoundError as error:
        raise InputError(f"{error.name} is not installed; pip install -e '.[dev]' brings all peers") from None


def run_process(program: str, *arguments: str) -> Process:
    """Runs Python source that leaves its answer (JSON can hold it) in `result`, in a process of its own.

    The peak is read by the process itself: what `resource` tells on Linux starts from its parent's.
    It uses as many threads as this process. Raises RuntimeError with its messages where it fails.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program + PEAK, *arguments], capture_output=True, text=True, env=environment
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"the process ended with status {done.returncode}:\n{done.stderr}")
    peak, result = json.loads(done.stdout.splitlines()[-1])
    return Process(seconds, peak, result)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repetitions", type=int, default=5, help="rounds that count; one more warms up")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def set_up(options: argparse.Namespace) -> dict[str, Any]:
    """Sets the threads of this process; -> what a reader has to know of the machine."""
    for name in ("repetitions", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name} is {value}; give at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    return {
        "date": date.today().isoformat(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def show(
    title: str,
    rows: Sequence[Row],
    machine: Mapping[str, Any],
    as_json: bool,
    measured: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Prints the rows as an aligned table, also valid Markdown, or all as one JSON object.

    `measured` are further figures, all with the same keys: a second table, such as the seconds behind the
    ratios.
    """
    if as_json:
        listed = [row._asdict() | {"ratio": row.ratio._asdict()} for row in rows]
        print(json.dumps({"title": title, "machine": machine, "rows": listed, "measured": list(measured)}))
        return
    print(f"{title}\n\n{', '.join(f'{name} {value}' for name, value in machine.items())}")
    if rows:
        print("\n" + markdown(COLUMNS, [cells(row) for row in rows]))
    if measured:
        values = [[number(value) for value in entry.values()] for entry in measured]
        print("\n" + markdown(tuple(measured[0]), values))


COLUMNS = (
    *("work", "peer", "times as fast", "95 % interval", "at least", "aim"),
    *("tokens/s", "GFLOP/s", "of the peak", "difference to the peer"),
)


def cells(row: Row) -> list[str]:
    """A row as text, in the order of COLUMNS."""
    share = f"{row.gflops / row.peak:.0%} of {row.peak:.0f}" if row.gflops and row.peak else ""
    interval = f"{row.ratio.low:.2f} - {row.ratio.high:.2f}"
    goals = ["" if goal is None else f"{goal:g}" for goal in (row.floor, row.aim)]
    rates = ["" if rate is None else f"{rate:,.0f}" for rate in (row.tokens_per_second, row.gflops)]
    return [row.work, row.peer, f"{row.ratio.median:.2f}", interval, *goals, *rates, share, row.difference]


def number(value: object) -> str:
    """Four digits of a float, more before the point where it has more; all else as it is."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose columns are as wide as their longest cell."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in (columns, rule, *rows)
    )
