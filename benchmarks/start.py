"""Times a fresh process that loads weights and embeds one sentence, beside sentence-transformers.

python benchmarks/start.py WEIGHTS [--json] [--repetitions 5] [--threads N]

Each measurement is a process from its start to its end; ours, the peer's and one that only imports torch take
turns, after one round that warms the disk's cache. Peak memory is the resident memory that each process reads
of itself at its end, the largest of its runs. Both vectors are compared by their cosine.

Goal: 3 times as fast, peak memory no higher than the peer's.
"""

from collections.abc import Sequence
from statistics import median

from comparison import (
    Measured,
    Process,
    Row,
    alternate,
    command_parser,
    ratio,
    run_process,
    set_up,
    show,
    unit,
)

from minbert import find_folder, run_command

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
    parser = command_parser(__doc__, "WEIGHTS")
    options = parser.parse_args(arguments)
    machine = set_up(options, PEER)
    folder = str(find_folder(options.weights))
    programs = {
        "ours": (OURS, folder, SENTENCE),
        PEER: (THEIRS, folder, SENTENCE),
        "import torch alone": (TORCH,),
    }
    runs: dict[str, list[Process]] = {name: [] for name in programs}

    calls = {name: lambda name=name: runs[name].append(run_process(*programs[name])) for name in programs}
    seconds = alternate(calls, options.repetitions)
    peaks = {name: max(process.peak_mb for process in found) for name, found in runs.items()}
    first, second = unit([runs["ours"][0].result, runs[PEER][0].result])
    memory = "no higher" if peaks["ours"] <= peaks[PEER] else "HIGHER"
    row = Row(
        "load weights and embed one sentence, cold process",
        PEER,
        ratio(seconds[PEER], seconds["ours"]),
        FLOOR,
        difference=f"cosine of both vectors {first @ second:.7f}; peak memory {memory}",
    )
    figures = [
        {"process": name, "seconds, median": median(seconds[name]), "peak MB": peaks[name]} for name in runs
    ]
    show("Cold start", machine, options.json, Measured([row], figures))


if __name__ == "__main__":
    run_command(main)
