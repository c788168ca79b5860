"""Measures approximate search beside exact search: recall@10, seconds a query, and the cost of the index.

python benchmarks/search.py WEIGHTS [DATA] [--rows 100000] [--queries 100] [--json]
                            [--repetitions 1] [--threads N]

The vectors are those of 5,000 mixed sentences (SST, STS, Quora) encoded with WEIGHTS, each with random
neighbours until there are enough: a vector plus noise of half its length, normalised. The queries are drawn
in the same way. Real vectors of 10^6 different sentences would take hours to make; independent random ones
have no neighbours. Recall@10 is the part of the ten nearest rows of exact search that the index finds.
Goal: 0.95.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from comparison import SEED, Measured, command_parser, real_texts, set_up, show, source, unit

from minbert import SentenceEncoder, run_command
from minbert.corpus.hnsw import INDEX_FILE, approximate_nearest, open_index
from minbert.corpus.parts import DESCRIPTION, PartFolder
from minbert.corpus.search import nearest_in_parts

SENTENCES, TOP, GOAL = 5000, 10, 0.95
PART = 50_000


def main(arguments: Sequence[str]) -> None:
    parser = command_parser(__doc__, "WEIGHTS", "DATA", repetitions=1)
    parser.add_argument("--rows", type=int, default=100_000, help="vectors that are searched")
    parser.add_argument("--queries", type=int, default=100)
    options = parser.parse_args(arguments)
    machine = set_up(options)
    texts = real_texts("mix", SENTENCES, options.data)
    centres = unit(SentenceEncoder.from_pretrained(options.weights).encode(texts))
    draw = np.random.default_rng(SEED)
    noise = 0.5 / np.sqrt(centres.shape[1])

    def neighbours(count: int) -> np.ndarray:
        chosen = centres[draw.integers(0, len(centres), size=count)]
        return unit(chosen + noise * draw.normal(size=chosen.shape).astype(np.float32))

    with TemporaryDirectory(prefix="minbert-search-") as scratch:
        folder = write_parts(Path(scratch), neighbours, options.rows, centres.shape[1])
        queries = neighbours(options.queries)
        start = time.perf_counter()
        index = open_index(folder, threads=machine["threads"])
        built = time.perf_counter() - start
        times, rows = {"exact": [], "hnsw": []}, {}
        calls = {
            "exact": lambda: nearest_in_parts(folder, queries, TOP),
            "hnsw": lambda: approximate_nearest(index, queries, TOP),
        }
        for _ in range(options.repetitions):
            for name, call in calls.items():
                start = time.perf_counter()
                rows[name] = call()[1]
                times[name].append(time.perf_counter() - start)
        size = (folder.path / INDEX_FILE).stat().st_size
    pairs = zip(rows["exact"].tolist(), rows["hnsw"].tolist(), strict=True)
    recall = float(np.mean([len({*exact} & {*found}) / len(exact) for exact, found in pairs]))
    verdict = "goal held" if recall >= GOAL else "GOAL MISSED"
    figures = [
        {
            "search": name,
            "rows": f"{options.rows:,}",
            "ms a query": round(1e3 * min(seconds) / len(queries), 3),
        }
        for name, seconds in times.items()
    ]
    figures[0]["found"] = f"{len(queries):,} queries at once"
    figures[1]["found"] = (
        f"recall@{TOP} {recall:.3f} (at least {GOAL}), {verdict}; built in {built:.1f} s, "
        f"{size / 2**20:.0f} MB"
    )
    show(f"Search (texts of {source(options.data)})", machine, options.json, Measured([], figures))


def write_parts(path: Path, neighbours, rows: int, features: int) -> PartFolder:
    """Writes a folder of parts as minbert encode does, of vectors without texts."""
    starts = range(0, rows, PART)
    for number, start in enumerate(starts):
        np.save(path / f"part-{number:05d}.npy", neighbours(min(PART, rows - start)))
    settings = {"format": "npy", "part_size": PART}
    record = {"id": "", "settings": settings, "source": "", "rows": rows, "features": features}
    (path / DESCRIPTION).write_text(json.dumps(record | {"starts": [[0, 0, 1]] * len(starts)}))
    return PartFolder.open(path)


if __name__ == "__main__":
    run_command(main)
