"""Writes a random part of the course's files, for tables that a small machine can compute.

    python benchmarks/subset.py DATA OUT --train 1200 --dev 1500 --seed 0

The files have different sizes for train and dev, where `--limit` takes one size of both.
"""

import argparse
import csv
import random
from collections.abc import Sequence
from pathlib import Path

from minbert import CommandParser, InputError, atomic_write, make_folder, run_command

STEMS = ("ids-sst", "quora", "sts")


def main(arguments: Sequence[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with the course's files")
    parser.add_argument("out", type=Path, help="folder for the smaller ones; must not exist")
    parser.add_argument("--train", type=int, default=1200, help="rows of each training file; default 1200")
    parser.add_argument("--dev", type=int, default=1500, help="rows of each dev file at most; default 1500")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.out.exists():
        raise InputError(f"{options.out} exists already; name a new folder")
    make_folder(options.out)
    for split, rows in (("train", options.train), ("dev", options.dev)):
        for stem in STEMS:
            name = f"{stem}-{split}.csv"
            kept, all = sample(options.data / name, options.out / name, rows, options.seed)
            print(f"{name}: {kept:,} of {all:,} rows")


def sample(source: Path, target: Path, rows: int, seed: int) -> tuple[int, int]:
    """Writes the header and `rows` random rows, in the file's order; -> (rows written, rows there are)."""
    with open(source, encoding="utf-8", newline="") as file:
        header, *body = csv.reader(file, delimiter="\t")
    kept = sorted(random.Random(seed).sample(range(len(body)), min(rows, len(body))))
    with atomic_write(target) as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerows([header, *(body[place] for place in kept)])
    return len(kept), len(body)


if __name__ == "__main__":
    run_command(main)
