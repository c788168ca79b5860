"""The starter's multitask_classifier.py, trained by this package: SST, paraphrase and STS on one encoder.

    python -m multitask.course.multitask_classifier --option finetune --lr 1e-5

The starter leaves the three heads to the student; here they are those of `multitask train`.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from minbert import CommandParser, run_command
from multitask.config.options import RunOptions
from multitask.config.run_config import RunConfig
from multitask.course.flags import SPLITS, add_flag, check_training_files, configure, make_parser, read_flags
from multitask.tasks.predictions import prediction_path

DATA = {"sst": "ids-sst", "paraphrase": "quora", "sts": "sts"}  # task -> how its files begin
FLAGS = {"sst": "sst", "paraphrase": "para", "sts": "sts"}  # task -> how its flags begin
SHOWN = {  # task -> what the starter calls its score, and which it is
    "sst": ("dev sentiment acc", "accuracy"),
    "paraphrase": ("dev paraphrase acc", "accuracy"),
    "sts": ("dev sts corr", "pearson"),
}


def run(arguments: Sequence[str]) -> None:
    """Trains and predicts as the words of the command line say, in the current folder."""
    given, more = read_flags(build_parser(), arguments)
    config = read_config(given, more)
    check_training_files(config)
    train_and_predict(config, given)


def build_parser() -> CommandParser:
    parser = make_parser(
        "multitask_classifier",
        "Trains on SST, Quora and STS together, and writes predictions for dev and test.",
        batch_size=8,
        out="{option}-{epochs}-{lr}-multitask",
    )
    for task, flag in FLAGS.items():
        for split in SPLITS:
            name = f"{DATA[task]}-{split}{'-student' if split == 'test' else ''}.csv"
            add_flag(parser, f"{flag}_{split}", metavar="FILE", help=f"default DATA/{name}")
        for split in ("dev", "test"):
            name = f"predictions/{flag}-{split}-output.csv"
            add_flag(parser, f"{flag}_{split}_out", metavar="FILE", help=f"default {name}")
    return parser


def read_config(given: Namespace, more: RunOptions) -> RunConfig:
    """Returns the run of all three tasks. A file that a flag names is found from any other folder later."""
    files = {
        task: {
            split: str(Path(path).absolute())
            for split in SPLITS
            if (path := getattr(given, f"{flag}_{split}")) is not None
        }
        for task, flag in FLAGS.items()
    }
    named = [path for paths in files.values() for path in paths.values()]
    if named and not Path(given.data).exists() and given.data == "data":
        given.data = str(Path(named[0]).parent)  # no such folder is needed where flags name the files
    config = configure(given, more, files, given.batch_size)
    out = given.out or f"{given.option}-{given.epochs}-{config.optim.lr:g}-multitask"
    return replace(config, out=out)


def train_and_predict(config: RunConfig, given: Namespace) -> None:
    """Trains the run, prints its scores, writes its predictions for dev and test."""
    from multitask.course.training import train_or_continue, write_split

    trained = train_or_continue(config)
    for task, flag in FLAGS.items():
        if task not in config.tasks:  # left out by --tasks
            continue
        format = trained.model.tasks[task].format
        for split in ("dev", "test"):
            path = getattr(given, f"{flag}_{split}_out")
            path = path or prediction_path("predictions", format, split, given.dialect)
            write_split(trained, task, split, Path(path), given.dialect)
    for task, (shown, metric) in SHOWN.items():
        if task in trained.scores["scores"]:
            print(f"{shown} :: {trained.scores['scores'][task][metric]:.3f}")
    for name, value in trained.scores["overall"].items():
        print(f"{name} :: {value:.3f}")


if __name__ == "__main__":
    run_command(run)
