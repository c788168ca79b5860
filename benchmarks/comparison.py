"""Comparison with the peers: contenders in turn, ratios with intervals, one table or JSON.

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
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import cycle, islice
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from minbert import BertConfig, CommandParser, InputError
from minbert.kernels.onednn import OneDNNLinear, onednn_takes
from multitask.data.readers import read_table
from multitask.tasks.splits import SAMPLE, open_data

WARMUP = 1  # rounds that do not count
RESAMPLES = 2000  # of the bootstrap
MATRIX = 2048  # side of the matrices whose product measures the machine's peak
SEED = 11711
MINILM = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SENTENCE, PAIR = ("sentence",), ("sentence1", "sentence2")
SETS = {"mix": {"ids-sst": SENTENCE, "sts": PAIR, "quora": PAIR}, "long": {"ids-cfimdb": SENTENCE}}
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
    """Speed as a multiple of the peer's: the median over the rounds and its 95 % interval."""

    median: float
    low: float
    high: float


class Question(NamedTuple):
    """A row to measure: two contenders by name, and the goals for their ratio.

    `passes` says how many times the operations of a forward pass a token of ours counts.
    """

    work: str
    ours: str
    peer: Any  # str(peer) is its name
    floor: float | None
    aim: float | None
    passes: float = 1.0
    precision: str = "fp32"


class Row(NamedTuple):
    """One comparison: `floor` and `aim` are for the ratio, `tokens_per_second` and `gflops` ours.

    Both count real tokens only; `peak` is `matrix_peak` in the same precision. `difference` says what was
    compared numerically with the peer, and the figure.
    """

    work: str
    peer: str
    ratio: Ratio
    floor: float | None = None
    aim: float | None = None
    tokens_per_second: float | None = None
    gflops: float | None = None
    peak: float | None = None
    difference: str = ""


class Measured(NamedTuple):
    """The rows of a comparison, and the figures behind them, all with the same keys."""

    rows: list[Row]
    figures: list[dict[str, Any]]


class Process(NamedTuple):
    """A process from start to end: wall seconds, peak resident memory in MB (2^20 bytes), its answer."""

    seconds: float
    peak_mb: float
    result: Any


Contender = Callable[[], list[int]]  # computes; returns the tokens of each sequence that it computed


# Command lines ----------------------------------------------------------------------------------------------


def command_parser(doc: str, *positionals: str, repetitions: int = 5) -> CommandParser:
    """Returns a command's parser, with what all of them take; `positionals` are of WEIGHTS and DATA."""
    parser = CommandParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if "WEIGHTS" in positionals:
        parser.add_argument("weights", metavar="WEIGHTS", help="folder such as all-MiniLM-L6-v2")
    if "DATA" in positionals:
        about = "folder with the course's files; default: the bundled sample"
        parser.add_argument("data", metavar="DATA", nargs="?", default=SAMPLE, help=about)
    parser.add_argument(
        "--repetitions", type=int, default=repetitions, help="rounds that count; one more warms up"
    )
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def set_up(options: argparse.Namespace, *peers: str) -> dict[str, Any]:
    """Sets the threads; returns what a reader has to know of the machine, and the peers' versions.

    Raises InputError for a number below 1, and for a peer that is not installed.
    """
    for name, value in vars(options).items():
        if type(value) is int and value < 1:
            raise InputError(f"--{name.replace('_', '-')} is {value}; give at least 1")
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        versions = {package: version(package) for package in peers}
    except PackageNotFoundError as error:
        raise InputError(f"{error.name} is not installed; pip install -e '.[dev]' brings all peers") from None
    return {
        "date": date.today().isoformat(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **versions,
    }


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def add_only(parser: argparse.ArgumentParser) -> None:
    about = "rows in whose work or peer one of these occurs"
    parser.add_argument("--only", nargs="+", metavar="TEXT", help=about)


def choose(
    groups: Mapping[Any, Sequence[Question]], texts: Sequence[str] | None
) -> dict[Any, list[Question]]:
    """Returns the questions that --only leaves, by group. Raises InputError if none is left."""
    names = {q: f"{q.work}; {q.peer}" for questions in groups.values() for q in questions}
    chosen = {
        group: [q for q in questions if texts is None or any(text in names[q] for text in texts)]
        for group, questions in groups.items()
    }
    if not any(chosen.values()):
        raise InputError(f"--only {' '.join(texts)} leaves no row; the rows are {' | '.join(names.values())}")
    return {group: questions for group, questions in chosen.items() if questions}


def source(data: str | Path) -> str:
    """Returns the name of the data for a title."""
    return "the bundled sample" if str(data) == SAMPLE else str(data)


def real_texts(name: str, count: int, data: str | Path) -> list[str]:
    """Returns `count` texts; they start over where the data do not hold enough.

    "mix" has sentences of SST, STS and Quora in turn, "long" the reviews of CFIMDB, all of the training
    files, shuffled with a fixed seed. Raises InputError for data without these files.
    """
    columns = []
    with open_data(data) as folder:
        for file, names in SETS[name].items():
            table = read_table(folder / f"{file}-train.csv", texts=names, label=None, parse_label=None)
            texts = [text for row in table.rows for text in row.texts]
            Random(SEED).shuffle(texts)
            columns.append(cycle(texts))
    in_turn = (text for texts in zip(*columns, strict=True) for text in texts)
    return list(islice(in_turn, count))


# Measuring --------------------------------------------------------------------------------------------------


def alternate(
    contenders: Mapping[str, Callable[[], object]], repetitions: int, warmup: int = WARMUP
) -> dict[str, list[float]]:
    """Returns the seconds of each contender's calls, one list entry a round.

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


def measure(
    group: str,
    questions: Sequence[Question],
    contenders: Mapping[str, Contender],
    differences: Mapping[Question, str],
    sizes: BertConfig,
    repetitions: int,
) -> Measured:
    """Lets the contenders take turns; returns a row for each question, and what is behind it by contender.

    Seconds are divided by real tokens, which may differ between contenders and rounds.
    """
    named = {question.ours for question in questions} | {str(question.peer) for question in questions}
    contenders = {name: contender for name, contender in contenders.items() if name in named}
    print(f"timing {group}: {' | '.join(contenders)}", file=sys.stderr, flush=True)
    lengths: dict[str, list[list[int]]] = {name: [] for name in contenders}
    calls = {name: lambda name=name: lengths[name].append(contenders[name]()) for name in contenders}
    seconds = alternate(calls, repetitions)
    lengths = {name: calls[WARMUP:] for name, calls in lengths.items()}
    tokens = {name: [sum(call) for call in calls] for name, calls in lengths.items()}
    by_token = {
        name: [s / t for s, t in zip(seconds[name], tokens[name], strict=True)] for name in contenders
    }
    rows = []
    for question in questions:
        work, ours, peer, floor, aim, passes, precision = question
        operations = [passes * forward_flops(sizes, call) for call in lengths[ours]]
        pace = median(flops / s / 1e9 for flops, s in zip(operations, seconds[ours], strict=True))
        found = ratio(by_token[str(peer)], by_token[ours])
        rate, peak = 1 / median(by_token[ours]), matrix_peak(TYPES[precision])
        rows.append(Row(work, str(peer), found, floor, aim, rate, pace, peak, differences[question]))
    figures = [
        {
            "contender": f"{group}: {name}",
            "seconds a round": median(seconds[name]),
            "tokens a round": median(tokens[name]),
            "tokens/s": 1 / median(by_token[name]),
        }
        for name in contenders
    ]
    return Measured(rows, figures)


@cache
def matrix_peak(dtype: torch.dtype, seconds: float = 1.0) -> float:
    """Returns the GFLOP/s of a large square matrix product, the best that repeating it for `seconds` shows.

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


def forward_flops(config: BertConfig, lengths: Iterable[int]) -> float:
    """Returns the floating-point operations of one forward pass: linear layers and attention of all layers.

    `lengths` are real tokens of each sequence, [CLS] and [SEP] too.
    """
    width, inner = config.hidden_size, config.intermediate_size
    linear = 2 * (4 * width * width + 2 * width * inner)  # a token: query, key, value, output; feed-forward
    attention = 2 * 2 * width  # a pair of tokens: scores, then the weighted sum of values
    return config.num_hidden_layers * sum(
        linear * length + attention * length * length for length in map(float, lengths)
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """(N, D) -> rows of length 1, in double precision."""
    vectors = np.asarray(vectors, dtype=np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


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


# Tables -----------------------------------------------------------------------------------------------------


def show(title: str, machine: Mapping[str, Any], as_json: bool, *measured: Measured) -> None:
    """Prints rows, then figures, as two aligned tables, also valid Markdown, or all as one JSON object."""
    rows = [row for part in measured for row in part.rows]
    figures = [entry for part in measured for entry in part.figures]
    if as_json:
        listed = [row._asdict() | {"ratio": row.ratio._asdict()} for row in rows]
        print(json.dumps({"title": title, "machine": machine, "rows": listed, "measured": figures}))
        return
    print(f"{title}\n\n{', '.join(f'{name} {value}' for name, value in machine.items())}")
    for table in ([named(row) for row in rows], figures):
        if table:
            print("\n" + markdown(table))


def show_share(calls: Mapping[str, Callable[[], object]], each: int, goal: float, options) -> None:
    """Times two calls in turn; prints the milliseconds of an `each`-th part and the ratio of medians."""
    machine = set_up(options)
    seconds = alternate(calls, options.repetitions)
    found = {f"{name}_ms": 1e3 * median(values) / each for name, values in seconds.items()}
    first, second = found.values()
    found |= {"ratio": first / second, "goal": goal}
    if options.json:
        print(json.dumps(found | machine))
    else:
        print(", ".join(f"{name.removesuffix('_ms')} {found[name]:.1f} ms" for name in list(found)[:2]))
        print(f"ratio {found['ratio']:.2f} (goal: at most {goal:g})")


def named(row: Row) -> dict[str, Any]:
    """Returns a row's cells by column."""
    share = f"{row.gflops / row.peak:.0%} of {row.peak:.0f}" if row.gflops and row.peak else ""
    rates = ["" if rate is None else f"{rate:,.0f}" for rate in (row.tokens_per_second, row.gflops)]
    return {
        "work": row.work,
        "peer": row.peer,
        "times as fast": f"{row.ratio.median:.2f}",
        "95 % interval": f"{row.ratio.low:.2f} - {row.ratio.high:.2f}",
        "at least": row.floor,
        "aim": row.aim,
        **dict(zip(("tokens/s", "GFLOP/s"), rates, strict=True)),
        "of the peak": share,
        "difference to the peer": row.difference,
    }


def number(value: object) -> str:
    """Four digits of a float, more before the point where it has more; all else as it is."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def markdown(entries: Sequence[Mapping[str, Any]]) -> str:
    """Returns a table of entries with the same keys, whose columns are as wide as their longest cell."""
    lines = [list(entries[0]), *([number(value) for value in entry.values()] for entry in entries)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
