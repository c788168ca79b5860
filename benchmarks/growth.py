"""Measures how a run grows with its data: time and memory before the first step, and the time of a step.

python benchmarks/growth.py WEIGHTS [--rows 10000,100000,1000000] [--steps 20] [--keep DIR] [--json]
                            [--threads N]

Generated tables of one text of 25 tokens and one of five labels a row. Each size is trained twice by
processes that do nothing else: the first has to tokenize the table, the second finds the tokens in the cache.
Memory is the largest anonymous memory (what no file holds) up to the first step, read every few milliseconds.
Beside it the Rust tokenizer alone, in its CPU seconds, over the same texts. Goals: at most 300 MB more than
the smallest size at 10^6 rows and at most 60 bytes a row; the first time at most 1.35 times the tokenizer's
CPU time above what the smallest size takes; the second time at most 1.5 s more than the smallest size.
"""

import math
import random
import resource
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from comparison import Measured, command_parser, run_process, set_up, show

from minbert import InputError, Tokenizer, find_folder, run_command

TOKENS = 25
SMALLEST = 1000  # rows of the run that the others are compared with
TRAIN = """
import sys, tempfile, threading, time
began = time.perf_counter()
from pathlib import Path
from multitask import RunConfig, train
from multitask.runtime.callbacks import Callback

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))

class Watch(Callback):
    peak, started, steps = 0.0, None, []
    def watch(self):
        while self.started is None:
            self.peak = max(self.peak, anonymous())
            time.sleep(0.003)
    def on_start(self, step, total):
        self.started = time.perf_counter()
    def on_step_end(self, step):
        self.steps.append(time.perf_counter())

weights, data, cache, steps = sys.argv[1:]
watch = Watch()
thread = threading.Thread(target=watch.watch)
thread.start()
with tempfile.TemporaryDirectory() as out:
    train(RunConfig.from_dict({
        "weights": weights, "data": data, "data_cache": cache, "out": out + "/run", "device": "cpu",
        "tasks": {"sst": {"train": "train.csv", "dev": None, "text": "text", "label": "label"}},
        "train": {"epochs": 3, "max_steps": int(steps), "batch_size": 32},
    }), [watch])
thread.join()
half = watch.steps[len(watch.steps) // 2 :]
each = (half[-1] - half[0]) / max(len(half) - 1, 1)
result = [watch.started - began, watch.peak, each]
"""


def main(arguments: Sequence[str]) -> None:
    parser = command_parser(__doc__, "WEIGHTS", repetitions=1)
    parser.add_argument("--rows", default="10000,100000,1000000", help="sizes, with commas between")
    parser.add_argument("--steps", type=int, default=20, help="of each run")
    parser.add_argument("--keep", help="folder for tables and cache; default: a temporary one")
    options = parser.parse_args(arguments)
    machine = set_up(options)
    try:
        sizes = [int(part) for part in options.rows.split(",")]
    except ValueError:
        raise InputError(f"--rows is {options.rows!r}; give whole numbers with commas between") from None
    weights = find_folder(options.weights)
    with TemporaryDirectory(prefix="minbert-growth-") as scratch:
        folder = Path(options.keep or scratch)
        base = _measure(weights, folder, min(SMALLEST, *sizes), options.steps)
        measured = [_measure(weights, folder, rows, options.steps) for rows in sizes if rows > base["rows"]]
    figures = [_figures(found, base) for found in (base, *measured)]
    if len(measured) > 1:
        figures.append(_exponents(figures[1], figures[-1]))
    show(
        f"Growth with the rows of a table ({TOKENS} tokens each)",
        machine,
        options.json,
        Measured([], figures),
    )


def _measure(weights: Path, folder: Path, rows: int, steps: int) -> dict[str, float]:
    """Trains twice on a table of so many rows, and tokenizes it."""
    data = folder / str(rows)
    cpu = _write_table(data / "train.csv", rows, Tokenizer.from_pretrained(weights))
    found: dict[str, float] = {"rows": rows, "tokenizer": cpu}
    for time_ in ("first", "second"):
        seconds, memory, step = run_process(
            TRAIN, str(weights), str(data), str(folder / "cache"), str(steps)
        ).result
        found |= {f"{time_} s": seconds, f"{time_} MB": memory, f"{time_} step": step}
    return found


def _write_table(path: Path, rows: int, tokenizer: Tokenizer) -> float:
    """Writes a table; returns the CPU seconds of the tokenizers library alone for its texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    vocabulary = tokenizer.backend.get_vocab()
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 2)
    draw, seconds = random.Random(0), 0.0
    tokenizer.backend.enable_truncation(512)
    with open(path, "w", encoding="utf-8") as file:
        file.write("id\ttext\tlabel\n")
        for start in range(0, rows, 4096):
            count = min(4096, rows - start)
            texts = [" ".join(draw.choices(words, k=TOKENS - 2)) for _ in range(count)]
            lines = (f"row{start + i}\t{text}\t{draw.randrange(5)}\n" for i, text in enumerate(texts))
            file.writelines(lines)
            before = _cpu_seconds()
            tokenizer.backend.encode_batch_fast(texts)
            seconds += _cpu_seconds() - before
    return seconds


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _figures(found: dict[str, float], base: dict[str, float]) -> dict[str, Any]:
    more = found["rows"] - base["rows"]
    first, cpu = found["first s"] - base["first s"], found["tokenizer"] - base["tokenizer"]
    bytes_a_row = 1e6 * max(found[f"{time_} MB"] - base[f"{time_} MB"] for time_ in ("first", "second"))
    return {
        "rows": f"{int(found['rows']):,}",
        "first s": round(found["first s"], 2),
        "tokenizer CPU s": round(found["tokenizer"], 2),
        "ratio": round(first / cpu, 2) if more else "",
        "second s": round(found["second s"], 2),
        "second: more s": round(found["second s"] - base["second s"], 2),
        "MB first": round(found["first MB"], 1),
        "MB second": round(found["second MB"], 1),
        "bytes a row": round(bytes_a_row / more, 1) if more else "",
        "ms a step": round(1e3 * found["second step"], 1),
    }


def _exponents(first: dict[str, Any], last: dict[str, Any]) -> dict[str, Any]:
    """Returns the exponents of growth from the first to the last size."""
    span = math.log(int(last["rows"].replace(",", "")) / int(first["rows"].replace(",", "")))
    names = ("first s", "second s", "MB first", "MB second", "ms a step")
    found = {name: round(math.log(last[name] / first[name]) / span, 2) for name in names}
    return dict.fromkeys(first, "") | {"rows": "exponent"} | found


if __name__ == "__main__":
    run_command(main)
