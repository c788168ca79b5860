"""Whether ten times the sentences take more than ten times as long: ours against itself.

python benchmarks/scaling.py WEIGHTS [DATA] [--sentences 1200] [--json] [--repetitions 5] [--threads N]

The same 10 N mixed sentences (SST, STS, Quora; they start over where the data do not hold enough) are
encoded in fp32, N at a time in ten calls, and all at once in one call; the two take turns. Both must give the
same vectors.

Goal: all at once, at least 0.95 times the tokens per second of N at a time.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from comparison import (
    Row,
    add_options,
    alternate,
    forward_flops,
    matrix_peak,
    ratio,
    real_texts,
    set_up,
    show,
)

from minbert import CommandParser, SentenceEncoder, run_command

TIMES = 10
FLOOR = 0.95


def main(arguments: Sequence[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("data", metavar="DATA", type=Path, nargs="?")
    parser.add_argument("--sentences", type=int, default=1200, help="N")
    add_options(parser)
    options = parser.parse_args(arguments)
    machine = set_up(options)
    encoder = SentenceEncoder.from_pretrained(options.weights)
    count = options.sentences
    texts, source = real_texts("mix", TIMES * count, options.data)

    def in_calls() -> np.ndarray:
        return np.concatenate(
            [encoder.encode(texts[start : start + count]) for start in range(0, len(texts), count)]
        )

    def at_once() -> np.ndarray:
        return encoder.encode(texts)

    largest = float(np.abs(in_calls() - at_once()).max())
    seconds = alternate({"in calls": in_calls, "at once": at_once}, options.repetitions)
    sequences = encoder.tokenizer.encode(texts, max_length=encoder.max_length)
    lengths = [len(sequence.ids) for sequence in sequences]
    gflop = forward_flops(encoder.model.config, lengths) / 1e9
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    row = Row(
        f"encode {len(texts):,} sentences at once, fp32",
        f"ours, {count:,} at a time",
        ratio(seconds["in calls"], seconds["at once"]),
        FLOOR,
        None,
        sum(lengths) / medians["at once"],
        gflop / medians["at once"],
        matrix_peak(torch.float32),
        f"largest difference of vectors {largest:.1e}",
    )
    measured = [
        {"sentences a call": size, "seconds, median": medians[name], "tokens/s": sum(lengths) / medians[name]}
        for name, size in (("in calls", count), ("at once", len(texts)))
    ]
    show(f"Ten times the sentences ({source})", [row], machine, options.json, measured)


if __name__ == "__main__":
    run_command(main)
