"""The starter's classifier.py, trained by this package: SST, then CFIMDB, each with a head of its own.

    python -m multitask.course.classifier --option finetune --lr 1e-5

The flags and the prediction files are those of the starter; the runs are folders, not pickles. With --train
it is the classifier of Carnegie Mellon's edition: one data set, of lines `label ||| sentence`.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from minbert import CommandParser, InputError, atomic_write, run_command
from multitask.config.option_types import comma_list
from multitask.config.options import RunOptions
from multitask.config.run_config import RunConfig
from multitask.course.flags import SPLITS, add_flag, check_training_files, configure, make_parser, read_flags
from multitask.data.records import open_table
from multitask.tasks.predictions import prediction_path

if TYPE_CHECKING:
    from multitask.inference.run import Run

TASKS = {"sst": "SST", "cfimdb": "CFIMDB"}
CFIMDB_BATCH_SIZE = 8


def run(arguments: Sequence[str]) -> None:
    """Trains and predicts as the words of the command line say, in the current folder."""
    given, more = read_flags(build_parser(), arguments)
    configs = read_configs(given, more)
    if (given.dev_out or given.test_out) and not given.train:
        print("--dev_out and --test_out have no effect, as in the starter; the files' names are fixed")
    from multitask.course.training import begun_before

    for config in configs.values():  # before hours of training on the first
        check_training_files(config)
        begun_before(config)
    for name, config in configs.items():
        train_and_predict(name, config, given)


def build_parser() -> CommandParser:
    parser = make_parser(
        "classifier",
        "Trains a sentiment classifier on SST, then one on CFIMDB, and writes predictions for dev and test.",
        batch_size=64,
        out="{option}-{epochs}-{lr}-classifier, with a folder for each data set",
    )
    for name in SPLITS:
        add_flag(
            parser, name, metavar="FILE", help="CMU's edition: lines `label ||| sentence`, in place of SST"
        )
    for split in ("dev", "test"):
        text = f"with --train: default TASK-{split}-output.txt; else without effect, as in the starter"
        add_flag(parser, f"{split}_out", metavar="FILE", help=text)
    parser.add_argument(
        "--tasks", type=comma_list, default=list(TASKS), help="one of the two; default sst,cfimdb"
    )
    return parser


def read_configs(given: Namespace, more: RunOptions) -> dict[str, RunConfig]:
    """Returns the run of each task."""
    for name in [*given.tasks, *more.tasks]:
        if name not in TASKS:
            raise InputError(f"there is no task {name!r} here; the classifier's tasks are sst and cfimdb")
    files = _given_files(given)
    configs = {}
    for name in given.tasks:
        size = CFIMDB_BATCH_SIZE if name == "cfimdb" and not given.train else given.batch_size
        config = configure(given, more, {name: {"pooling": "pooler", **files}}, size, strict=False)
        folder = given.out or f"{given.option}-{given.epochs}-{config.optim.lr:g}-classifier"
        configs[name] = replace(config, out=str(Path(folder) / name))
    return configs


def _given_files(given: Namespace) -> dict[str, str | None]:
    """Returns the files of CMU's edition, none without --train; sets the task by their labels, and --data."""
    if not given.train:
        if given.dev or given.test:
            raise InputError(
                "--dev and --test go with --train, the training file of CMU's edition; give it too"
            )
        return {}
    files = {
        split: str(Path(path).absolute()) if (path := getattr(given, split)) else None for split in SPLITS
    }
    labels = {record.values.get("sentiment") for record in open_table(Path(files["train"])).records()}
    given.tasks = ["cfimdb" if labels <= {"0", "1"} else "sst"]
    if not Path(given.data).exists() and given.data == "data":
        given.data = str(Path(files["train"]).parent)
    return files


def train_and_predict(name: str, config: RunConfig, given: Namespace) -> None:
    """Trains one classifier, prints its accuracy, writes its predictions for dev and test."""
    from multitask.course.training import train_or_continue, write_split

    print(f"Training Sentiment Classifier on {TASKS[name]}...")
    trained = train_or_continue(config)
    print(f"Evaluating on {TASKS[name]}...")
    if given.train:
        write_lines(trained, name, given)
        return
    format = trained.model.tasks[name].format
    for split in ("dev", "test"):
        path = prediction_path("predictions", format, split, given.dialect, given.option)
        write_split(trained, name, split, path, given.dialect)
    if name in trained.scores["scores"]:
        print(f"dev acc :: {trained.scores['scores'][name]['accuracy']:.3f}")


def write_lines(trained: "Run", name: str, given: Namespace) -> None:
    """Writes predictions as CMU's edition has them, lines `label ||| sentence`, and prints the accuracies."""
    from multitask.metrics.scores import accuracy
    from multitask.tasks.splits import load_split

    for split in ("dev", "test"):
        if not getattr(given, split):
            continue
        rows = load_split(trained.model.tasks[name], Path(given.data), split)[0].rows
        sentences = [row.texts[0].lower() for row in rows]
        predicted = trained.predict(name, [row.texts[0] for row in rows])
        path = getattr(given, f"{split}_out") or f"{name}-{split}-output.txt"
        with atomic_write(path) as file:
            file.writelines(f"{label} ||| {text}\n" for label, text in zip(predicted, sentences, strict=True))
        print(f"{split} acc :: {accuracy(predicted, [row.label for row in rows]):.3f}")
        print(f"wrote {path}")


if __name__ == "__main__":
    run_command(run)
