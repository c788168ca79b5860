"""How long a fresh process takes to load weights and embed one sentence, beside sentence-transformers.

python benchmarks/start.py WEIGHTS [--json] [--repetitions 5] [--threads N]

Each measurement is a process from its start to its end; ours, the peer's and one that only imports torch take
turns, after one round that warms the disk's cache. Peak memory is the resident memory that each process reads
of itself at its end, the largest of its runs. Both vectors are compared by their cosine.

Goal: 3 times as fast, peak memory no higher than the peer's.
"""

import argparse
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from comparison import (
    Process,
    Row,
    add_options,
    alternate,
    need,
    ratio,
    run_process,
    set_up,
    show,
)

from minbert import CommandParser, find_folder, run_command

PEER = "sentence-transformers"
SENTENCE = "The quick brown fox jumps over the lazy dog."
FLOOR = 3.0
OURS = """
import sys
from minbert import SentenceEncoder
result = SentenceEncoder.from_pretrained(sys.argv[1]).encode([sys.argv[2]])[0].tolist()
"""
THEIRS = """
import sys
from sentence_transformers import SentenceTransformer
result = SentenceTransformer(sys.argv[1], device="cpu").encode([sys.argv[2]])[0].tolist()
"""
TORCH = "import torch; result = None"


def main(arguments: Sequence[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS")
    add_options(parser)
    options = parser.parse_args(arguments)
    machine = set_up(options) | need(PEER)
    folder = str(find_folder(options.weights))
    programs = {
        "ours": (OURS, folder, SENTENCE),
        PEER: (THEIRS, folder, SENTENCE),
        "import torch alone": (TORCH,),
    }
    runs: dict[str, list[Process]] = {name: [] for name in programs}

    def contender(name: str) -> Callable[[], None]:
        return lambda: runs[name].append(run_process(*programs[name]))

    seconds = alternate({name: contender(name) for name in programs}, options.repetitions)
    peaks = {name: max(process.peak_mb for process in found) for name, found in runs.items()}
    row = Row(
        "load weights and embed one sentence, cold process",
        PEER,
        ratio(seconds[PEER], seconds["ours"]),
        FLOOR,
        None,
        None,
        None,
        None,
        f"cosine of both vectors {cosine(runs['ours'][0].result, runs[PEER][0].result):.7f}; peak memory "
        + ("no higher" if peaks["ours"] <= peaks[PEER] else "HIGHER"),
    )
    measured = [
        {"process": name, "seconds, median": statistics.median(seconds[name]), "peak MB": peaks[name]}
        for name in runs
    ]
    show("Cold start", [row], machine, options.json, measured)


def cosine(first: Sequence[float], second: Sequence[float]) -> float:
    return float(np.dot(first, second) / (np.linalg.norm(first) * np.linalg.norm(second)))


if __name__ == "__main__":
    run_command(main)
