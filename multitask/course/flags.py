"""The flags that both of the starter's programs have, and the configuration that they ask for. No torch here.

What the flags do not say is done as the starter does it: AdamW at a constant rate, the same for encoder and
heads, no decay, no clipping. Every option of `multitask train` is understood too, and wins.
"""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minbert import CommandParser, InputError, did_you_mean
from multitask.config.options import COURSE_MODES, RunOptions, add_key_options
from multitask.config.run_config import RunConfig
from multitask.tasks.predictions import FILE_FORMATS

RATES = {"backbone": 1e-3, "none": 1e-5}  # by what is frozen
SAMPLE = "sample"
SPLITS = ("train", "dev", "test")
EPILOG = "Every option of `multitask train` works too: --limit 100, --sst.pooling cls, --optim.clip 1."


def make_parser(program: str, description: str, batch_size: int, out: str) -> CommandParser:
    """Returns a parser with the flags that both programs have; `out` describes the default folder."""
    parser = CommandParser(
        prog=f"python -m multitask.course.{program}", description=description, epilog=EPILOG
    )
    add_flag(parser, "seed", type=int, default=11711, help="decides heads, order and dropout; default 11711")
    add_flag(parser, "epochs", type=int, default=10, help="passes over the training data; default 10")
    parser.add_argument(
        *("--option", "--fine-tune-mode", "--fine_tune_mode"),
        dest="option",
        choices=list(COURSE_MODES),
        default="pretrain",
        help="pretrain or last-linear-layer: the encoder is frozen, the default; finetune or full-model: "
        "it is trained",
    )
    add_flag(parser, "use_gpu", action="store_true", help="train on CUDA; else on the CPU")
    add_flag(parser, "batch_size", type=int, default=batch_size, help=f"examples; default {batch_size}")
    add_flag(parser, "hidden_dropout_prob", type=float, default=0.3, help="before each head; default 0.3")
    add_flag(parser, "lr", type=float, help="rate; default 1e-3 with a frozen encoder, else 1e-5")
    more = parser.add_argument_group("not in the starter")
    more.add_argument("--weights", default="bert-base-uncased", help="default bert-base-uncased")
    more.add_argument("--data", default="data", help="folder of the files, or `sample`; default data")
    more.add_argument("--out", metavar="RUN", help=f"folder of what is trained; default {out}")
    more.add_argument("--dialect", choices=FILE_FORMATS, default="code", help="of the files; default code")
    return parser


def add_flag(parser: CommandParser, name: str, **settings: Any) -> None:
    """Adds --some_name, and the same spelt --some-name."""
    parser.add_argument(*dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")), dest=name, **settings)


def read_flags(parser: CommandParser, arguments: Sequence[str]) -> tuple[Namespace, RunOptions]:
    """Reads the course's flags, and the other options, which are those of `multitask train`.

    Raises InputError for an option that is neither, with the nearest of both.
    """
    given, rest = parser.parse_known_args(arguments)
    more = CommandParser(prog=parser.prog)
    add_key_options(more)
    known = [
        option for each in (parser, more) for action in each._actions for option in action.option_strings
    ]
    for word in rest:
        name = word.split("=")[0]
        if name.startswith("--") and name not in known and "." not in name:
            raise InputError(
                f"there is no option {name}{did_you_mean(name, known)}; see {parser.prog} --help"
            )
    return given, RunOptions(more, rest)


def configure(
    given: Namespace,
    more: RunOptions,
    tasks: Mapping[str, Mapping[str, Any]],
    batch_size: int,
    strict: bool = True,
) -> RunConfig:
    """Returns the run that the flags ask for, with these tasks; `strict` refuses options of other tasks."""
    frozen = COURSE_MODES[given.option]
    rate = RATES[frozen] if given.lr is None else given.lr
    values = {
        "weights": given.weights,
        "data": given.data,
        "device": "cuda" if given.use_gpu else "cpu",
        "freeze": frozen,
        "train": {"epochs": given.epochs, "batch_size": batch_size, "seed": given.seed},
        "optim": {
            "lr": rate,
            "head_lr": rate,
            "weight_decay": 0.0,
            "schedule": "constant",
            "warmup": 0.0,
            "clip": 0.0,
        },
        "tasks": {name: {"dropout": given.hidden_dropout_prob, **task} for name, task in tasks.items()},
    }
    return more.configure(values, strict)


def check_training_files(config: RunConfig) -> None:
    """Raises InputError where a training file is missing, with the command that fetches it."""
    if config.data == SAMPLE:
        return
    for name in config.trained_tasks:
        path = Path(config.data) / config.tasks[name].train
        if not path.is_file():
            raise InputError(
                f"{name} has nothing to train on: there is no file {path}; fetch the course's files with "
                f"`multitask download --data {config.data}`, or give --data the folder that has them"
            )
