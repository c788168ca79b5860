"""What counting words achieves on a folder of labelled data: the floor that a trained model has to beat.

    python benchmarks/bag_of_words.py DATA_DIR [--run RUN] [--json]

With --run, the scores of a run on the same split stand beside.

Logistic regression for classes, ridge regression for similarity. A pair's features are the word counts
of each side, of what they share, and of what they differ in. Scored on the labelled test split where
there is one, else on dev.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge

from multitask import load_run
from multitask.data.readers import Examples, integer_label, number_label, read_table


class Benchmark(NamedTuple):
    """A task's files, their columns, and how it is scored."""

    files: str
    texts: tuple[str, ...]
    label: str
    parse_label: Callable[[str], float]
    metric: str


PAIR = ("sentence1", "sentence2")
BENCHMARKS = {
    "sst": Benchmark("ids-sst", ("sentence",), "sentiment", integer_label(0, 4), "accuracy"),
    "cfimdb": Benchmark("ids-cfimdb", ("sentence",), "sentiment", integer_label(0, 1), "accuracy"),
    "paraphrase": Benchmark("quora", PAIR, "is_duplicate", integer_label(0, 1), "accuracy"),
    "sts": Benchmark("sts", PAIR, "similarity", number_label(0, 5), "Pearson"),
}


def bag_of_words_scores(folder: str | Path) -> dict[str, float]:
    """Accuracy, for sts Pearson's r, of each task whose training file is in `folder`."""
    folder = Path(folder)
    return {
        task: score(folder, benchmark)
        for task, benchmark in BENCHMARKS.items()
        if (folder / f"{benchmark.files}-train.csv").is_file()
    }


def score(folder: Path, benchmark: Benchmark) -> float:
    """One task's score; the vocabulary comes from the training texts."""
    train, test = (read(folder, benchmark, split) for split in ("train", scored_split(folder, benchmark)))
    vectorizer = CountVectorizer(token_pattern=r"\S+").fit(text for row in train.rows for text in row.texts)
    train_features, test_features = features(vectorizer, train), features(vectorizer, test)
    train_labels, test_labels = labels(train), labels(test)
    if benchmark.metric == "accuracy":
        model = LogisticRegression(max_iter=2000).fit(train_features, train_labels)
        return float(np.mean(model.predict(test_features) == test_labels))
    model = Ridge(alpha=1.0).fit(train_features, train_labels)
    return float(np.corrcoef(model.predict(test_features), test_labels)[0, 1])


def scored_split(folder: Path, benchmark: Benchmark) -> str:
    return "test" if (folder / f"{benchmark.files}-test.csv").is_file() else "dev"


def read(folder: Path, benchmark: Benchmark, split: str) -> Examples:
    return read_table(
        folder / f"{benchmark.files}-{split}.csv",
        texts=benchmark.texts,
        label=benchmark.label,
        parse_label=benchmark.parse_label,
    )


def features(vectorizer: CountVectorizer, examples: Examples) -> csr_matrix:
    """Word counts; for a pair those of each side, their minimum and their absolute difference."""
    sides = [vectorizer.transform(texts) for texts in zip(*(row.texts for row in examples.rows), strict=True)]
    if len(sides) == 1:
        return sides[0]
    first, second = sides
    return hstack([first, second, first.minimum(second), abs(first - second)]).tocsr()


def labels(examples: Examples) -> np.ndarray:
    return np.array([row.label for row in examples.rows], dtype=float)


def run_scores(run: Path, folder: Path, tasks: Iterable[str]) -> dict[str, float]:
    """A run's scores by the same metrics on the same splits."""
    trained = load_run(run)
    evaluations = {
        task: trained.evaluate(folder, scored_split(folder, BENCHMARKS[task]), [task])
        for task in tasks
        if task in trained.model.tasks
    }
    return {task: found.scores[task][BENCHMARKS[task].metric.lower()] for task, found in evaluations.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Scores of bag-of-words models on a folder of labelled data."
    )
    parser.add_argument("folder", type=Path, metavar="DATA_DIR")
    parser.add_argument("--run", type=Path, help="a run's folder, to be scored beside")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    scores = bag_of_words_scores(arguments.folder)
    if not scores:
        parser.error(f"{arguments.folder} has none of the course's training files, such as ids-sst-train.csv")
    run = {} if arguments.run is None else run_scores(arguments.run, arguments.folder, scores)
    if arguments.json:
        print(json.dumps({"bag_of_words": scores} | ({"run": run} if run else {})))
        return
    print(
        f"{'task':<12}{'split':<8}{'metric':<10}{'bag of words':>13}"
        + (f"{'run':>8}{'gain':>8}" if run else "")
    )
    for task, value in scores.items():
        split, metric = scored_split(arguments.folder, BENCHMARKS[task]), BENCHMARKS[task].metric
        beside = f"{run[task]:>8.3f}{run[task] - value:>+8.3f}" if task in run else ""
        print(f"{task:<12}{split:<8}{metric:<10}{value:>13.3f}{beside}")


if __name__ == "__main__":
    main()
