"""Measures `minbert encode` on files: memory and speed as they grow, processes and Ray beside one process.

python benchmarks/encode_scale.py WEIGHTS [DATA] [--lines 10000 100000] [--shared 200000] [--json]
                                  [--repetitions 1] [--threads N]

Memory: each number of lines of mixed sentences (SST, STS, Quora; they start over where the data do not hold
enough, so that lengths do not depend on the number) is encoded into a folder of parts by one process of N
threads. Goals: at most 60 MB more at the largest than at the smallest, and at least 0.95 of its tokens per
second. Sharing: the first --shared lines by one process of N threads, by N workers of one thread each, and
by a Ray cluster of N such workers. Goals: 0.95 and 0.8 of one process.

Each command runs in a process of its own, whose start counts; of repetitions the fastest is shown. CPU
seconds and the peak are those of the process and its workers; those of Ray's processes are not known.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from comparison import Measured, command_parser, real_texts, set_up, show, source

from minbert import SentenceEncoder, run_command

MEMORY, SPEED = 60, 0.95  # MB, times
SHARED = {"workers": 0.95, "ray": 0.8}


# A small process starts the command: the peak that the system tells of a child is at least its parent's.
RUN = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run([sys.executable, "-m", "minbert", "encode", *sys.argv[1:]], check=True)
usage, unit = resource.getrusage(resource.RUSAGE_CHILDREN), 2**20 if sys.platform == "darwin" else 2**10
cpu = usage.ru_utime + usage.ru_stime
peak = usage.ru_maxrss / unit
print(json.dumps({"seconds": time.perf_counter() - start, "CPU seconds": cpu, "peak MB": peak}))
"""


def encode(weights: str, file: Path, out: Path, *options: str) -> dict[str, float]:
    """Returns wall and CPU seconds and the peak memory in MB of one command."""
    words = ["--weights", weights, str(file), str(out), "--format", "npy", *options]
    done = subprocess.run([sys.executable, "-c", RUN, *words], stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str]) -> None:
    parser = command_parser(__doc__, "WEIGHTS", "DATA", repetitions=1)
    parser.add_argument(
        "--lines", type=int, nargs="+", default=[10_000, 100_000], help="for memory and speed"
    )
    parser.add_argument("--shared", type=int, help="lines for workers and Ray; default: none")
    options = parser.parse_args(arguments)
    machine = set_up(options)
    threads = machine["threads"]
    encoder = SentenceEncoder.from_pretrained(options.weights)
    texts = real_texts("mix", 10_000, options.data)
    sequences = encoder.tokenizer.encode(texts, max_length=encoder.max_length)
    lengths = [len(sequence.ids) for sequence in sequences]
    figures: list[dict[str, Any]] = []

    def measure(name: str, count: int, *words: str) -> dict[str, Any]:
        file = Path(scratch) / "texts.txt"
        with open(file, "w", encoding="utf-8") as lines:
            for start in range(0, count, len(texts)):
                lines.writelines(" ".join(text.split()) + "\n" for text in islice(texts, count - start))
        size, runs = str(min(10_000, -(-count // 20))), []  # parts enough to share evenly
        for _ in range(options.repetitions):
            with TemporaryDirectory(dir=scratch) as out:
                runs.append(encode(options.weights, file, Path(out) / "parts", "--part-size", size, *words))
        best = min(runs, key=lambda run: run["seconds"])
        tokens = sum(lengths) * (count // len(texts)) + sum(lengths[: count % len(texts)])
        rounded = {key: round(value, 1) for key, value in best.items()}
        figures.append(
            {"encode": name, "lines": f"{count:,}", **rounded, "tokens/s": round(tokens / best["seconds"])}
        )
        return figures[-1]

    with TemporaryDirectory(prefix="minbert-encode-") as scratch:
        one = ("--threads", str(threads))
        found = [measure(f"one process, {threads} threads", count, *one) for count in sorted(options.lines)]
        more, speed = found[-1]["peak MB"] - found[0]["peak MB"], found[-1]["tokens/s"] / found[0]["tokens/s"]
        said = f"{more:+.0f} MB (at most +{MEMORY}), {speed:.2f} times the tokens/s (at least {SPEED})"
        found[-1]["found"] = f"{said}, {verdict(more <= MEMORY and speed >= SPEED)}"
        if options.shared:
            alone = measure(f"one process, {threads} threads", options.shared, *one)
            each = ("--threads", "1", "--workers", str(threads))
            for name, words in (("workers", each), ("ray", (*each, "--engine", "ray"))):
                entry = measure(f"{threads} {name}, 1 thread each", options.shared, *words)
                ratio = alone["seconds"] / entry["seconds"]
                goal = SHARED[name]
                entry["found"] = f"{ratio:.2f} times one process (at least {goal}), {verdict(ratio >= goal)}"
    for entry in figures:
        entry.setdefault("found", "")
    show(f"Encoding files (texts of {source(options.data)})", machine, options.json, Measured([], figures))


def verdict(held: bool) -> str:
    return "goal held" if held else "GOAL MISSED"


if __name__ == "__main__":
    run_command(main)
