"""Scores word counts on a folder of labelled data: the floor that a trained model has to beat.

    python benchmarks/bag_of_words.py DATA_DIR [--run RUN] [--json]

With --run, the scores of a run on the same split stand beside.

Logistic regression for classes, ridge regression for similarity. A pair's features are the word counts
of each side, of what they share, and of what they differ in. Scored on the labelled test split where
there is one, else on dev.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from comparison import PAIR, SENTENCE
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from minbert import CommandParser, InputError, run_command
from multitask import load_run
from multitask.data.readers import integer_label, number_label, read_table
from multitask.text_table import aligned_lines


class Benchmark(NamedTuple):
    """A task's files, their columns, and how it is scored."""

    files: str
    texts: tuple[str, ...]
    label: str
    parse_label: Callable[[str], float]
    metric: str = "accuracy"


BENCHMARKS = {
    "sst": Benchmark("ids-sst", SENTENCE, "sentiment", integer_label(0, 4)),
    "cfimdb": Benchmark("ids-cfimdb", SENTENCE, "sentiment", integer_label(0, 1)),
    "paraphrase": Benchmark("quora", PAIR, "is_duplicate", integer_label(0, 1)),
    "sts": Benchmark("sts", PAIR, "similarity", number_label(0, 5), "Pearson"),
}


def score(folder: Path, task: str, split: str) -> float:
    """Returns a task's accuracy, for sts Pearson's r; the vocabulary comes from the training texts."""
    files, texts, label, parse_label, metric = BENCHMARKS[task]
    train, test = (
        read_table(folder / f"{files}-{part}.csv", texts=texts, label=label, parse_label=parse_label).rows
        for part in ("train", split)
    )
    vectorizer = CountVectorizer(token_pattern=r"\S+").fit(text for row in train for text in row.texts)
    labels, gold = (np.array([row.label for row in rows], dtype=float) for rows in (train, test))
    model = LogisticRegression(max_iter=2000) if metric == "accuracy" else Ridge(alpha=1.0)
    found = model.fit(features(vectorizer, train), labels).predict(features(vectorizer, test))
    return float(np.mean(found == gold) if metric == "accuracy" else np.corrcoef(found, gold)[0, 1])


def features(vectorizer: CountVectorizer, rows: Sequence) -> csr_matrix:
    """Word counts; for a pair those of each side, their minimum and their absolute difference."""
    sides = [vectorizer.transform(texts) for texts in zip(*(row.texts for row in rows), strict=True)]
    if len(sides) == 1:
        return sides[0]
    first, second = sides
    return hstack([first, second, first.minimum(second), abs(first - second)]).tocsr()


def main(arguments: Sequence[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DATA_DIR")
    parser.add_argument("--run", type=Path, help="a run's folder, to be scored beside")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    splits = {
        task: "test" if (options.folder / f"{known.files}-test.csv").is_file() else "dev"
        for task, known in BENCHMARKS.items()
        if (options.folder / f"{known.files}-train.csv").is_file()
    }
    if not splits:
        raise InputError(
            f"{options.folder} has none of the course's training files, such as ids-sst-train.csv"
        )
    words = {task: score(options.folder, task, split) for task, split in splits.items()}
    run: dict[str, float] = {}
    if options.run is not None:
        trained = load_run(options.run)
        for task in [task for task in words if task in trained.model.tasks]:
            found = trained.evaluate(options.folder, splits[task], [task]).scores[task]
            run[task] = found[BENCHMARKS[task].metric.lower()]
    if options.json:
        print(json.dumps({"bag_of_words": words} | ({"run": run} if run else {})))
        return
    lines = [["task", "split", "metric", "bag of words", *(["run", "gain"] if run else [])]]
    for task, value in words.items():
        line = [task, splits[task], BENCHMARKS[task].metric, f"{value:.3f}"]
        if run:
            line += [f"{run[task]:.3f}", f"{run[task] - value:+.3f}"] if task in run else ["", ""]
        lines.append(line)
    print("\n".join(aligned_lines(lines, left=3)))


if __name__ == "__main__":
    run_command(main)
