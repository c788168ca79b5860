"""The starter's classifier.py, trained by this package: SST, then CFIMDB, each with a head of its own.

    python -m multitask.course.classifier --option finetune --lr 1e-5

The flags and the prediction files are those of the starter; the runs are folders, not pickles.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minbert import CommandParser, InputError, run_command
from multitask.config.option_types import comma_list
from multitask.config.options import RunOptions
from multitask.config.run_config import RunConfig
from multitask.course.flags import add_flag, check_training_files, configure, make_parser, read_flags
from multitask.tasks.predictions import prediction_path

TASKS = {"sst": "SST", "cfimdb": "CFIMDB"}
CFIMDB_BATCH_SIZE = 8


def run(arguments: Sequence[str]) -> None:
    """Trains and predicts as the words of the command line say, in the current folder."""
    given, more = read_flags(build_parser(), arguments)
    configs = read_configs(given, more)
    if given.dev_out or given.test_out:
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
    for name in ("dev_out", "test_out"):
        add_flag(parser, name, metavar="FILE", help="without effect, as in the starter")
    parser.add_argument(
        "--tasks", type=comma_list, default=list(TASKS), help="one of the two; default sst,cfimdb"
    )
    return parser


def read_configs(given: Namespace, more: RunOptions) -> dict[str, RunConfig]:
    """Returns the run of each task."""
    for name in [*given.tasks, *more.tasks]:
        if name not in TASKS:
            raise InputError(f"there is no task {name!r} here; the classifier's tasks are sst and cfimdb")
    configs = {}
    for name in given.tasks:
        size = CFIMDB_BATCH_SIZE if name == "cfimdb" else given.batch_size
        config = configure(given, more, {name: {"pooling": "pooler"}}, size, strict=False)
        folder = given.out or f"{given.option}-{given.epochs}-{config.optim.lr:g}-classifier"
        configs[name] = replace(config, out=str(Path(folder) / name))
    return configs


def train_and_predict(name: str, config: RunConfig, given: Namespace) -> None:
    """Trains one classifier, prints its accuracy, writes its predictions for dev and test."""
    from multitask.course.training import train_or_continue, write_split

    print(f"Training Sentiment Classifier on {TASKS[name]}...")
    trained = train_or_continue(config)
    print(f"Evaluating on {TASKS[name]}...")
    format = trained.model.tasks[name].format
    for split in ("dev", "test"):
        path = prediction_path("predictions", format, split, given.dialect, given.option)
        write_split(trained, name, split, path, given.dialect)
    if name in trained.scores["scores"]:
        print(f"dev acc :: {trained.scores['scores'][name]['accuracy']:.3f}")


if __name__ == "__main__":
    run_command(run)
