"""A corpus of generated sentences, and parts read without our code."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

WORDS = "the cat reads a great book , what good film is not dull ! under green river".split()


def write_corpus(path: Path, count: int, seed: int = 0) -> Path:
    """Writes `count` lines of 1 to 12 words."""
    draw = Random(seed)
    lines = (" ".join(draw.choices(WORDS, k=draw.randint(1, 12))) + "\n" for _ in range(count))
    path.write_text("".join(lines), encoding="utf-8")
    return path


def read_parts(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids (N,) and vectors (N, D) of all parts, in the order of their names."""
    paths = [path for path in sorted(folder.glob("part-*")) if ".ids" not in path.name]
    if all(path.suffix == ".npy" for path in paths):
        ids = [np.load(path.with_suffix(".ids.npy")) for path in paths]
        return np.concatenate(ids), np.concatenate([np.load(path) for path in paths])
    parquet = pytest.importorskip("pyarrow.parquet")
    tables = [parquet.read_table(path) for path in paths]
    ids = [table["id"].to_numpy() for table in tables]
    return np.concatenate(ids), np.concatenate([np.stack(table["vector"].to_numpy()) for table in tables])
