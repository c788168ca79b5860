"""What the training benchmarks share: their options, the rows to choose from, losses, seconds by token.

The contenders of a row train on different sentences, since random and length-sorted batches are different
ones. Their seconds are divided by the real tokens of these sentences, each counted in every epoch.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from statistics import median
from typing import Any, NamedTuple, Protocol

import torch
from comparison import Row, add_options, alternate, forward_flops, matrix_peak, ratio, show
from own_training import OwnSteps, OwnTraining
from padded import padded_steps
from same_losses import STEPS, differences, exact

from minbert import BertConfig, CommandParser, InputError
from multitask.tasks.splits import SAMPLE

WARMUP = 1  # rounds
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
HEADS = {"pooler": "[CLS] head", "mean": "mean head"}  # by the name of the pooling


class Contender(Protocol):
    """What takes turns. `lengths` holds the tokens of each sentence that a call trained on, call by call."""

    lengths: list[list[int]]

    def __call__(self) -> None: ...


class Question(NamedTuple):
    """A row to measure: two contenders by name, and the goals for their ratio.

    `passes` says how many times the operations of a forward pass a token of ours counts.
    """

    work: str
    ours: str
    peer: Any  # str(peer) is its name
    floor: float | None
    aim: float | None
    passes: float
    precision: str = "fp32"


class Measured(NamedTuple):
    """The rows of a comparison, and the figures of each contender behind them."""

    rows: list[Row]
    contenders: list[dict[str, Any]]


def training_parser(doc: str) -> CommandParser:
    """A command's parser: WEIGHTS, DATA, --only and what all benchmarks take."""
    parser = CommandParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS", help="folder such as all-MiniLM-L6-v2")
    parser.add_argument(
        "data", metavar="DATA", nargs="?", default=SAMPLE, help="folder with SST; default: the bundled sample"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="TEXT", help="rows in whose work or peer one of these occurs"
    )
    add_options(parser)
    return parser


def source(data: str) -> str:
    """The name of the data for a title."""
    return "the bundled sample" if data == SAMPLE else data


def at_least_one(options: argparse.Namespace, *names: str) -> None:
    """Raises InputError for a count below 1."""
    for name in names:
        if getattr(options, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} is {getattr(options, name)}; give at least 1")


def choose(
    groups: Mapping[Any, Sequence[Question]], texts: Sequence[str] | None
) -> dict[Any, list[Question]]:
    """The questions that --only leaves, by group. Raises InputError, with the rows, where none is left."""
    chosen = {
        name: [
            question
            for question in questions
            if texts is None or any(text in f"{question.work}; {question.peer}" for text in texts)
        ]
        for name, questions in groups.items()
    }
    if not any(chosen.values()):
        rows = (
            f"{question.work}; {question.peer}" for questions in groups.values() for question in questions
        )
        raise InputError(f"--only {' '.join(texts)} leaves no row; the rows are {' | '.join(rows)}")
    return {name: questions for name, questions in chosen.items() if questions}


def compare_batches(
    group: str,
    questions: Sequence[Question],
    values: Callable[..., dict[str, Any]],
    rate: float,
    options: argparse.Namespace,
) -> Measured:
    """Ours and peers that pad, --batches batches a round, in the precisions that the questions name.

    `values(precision, steps, **changed)` are those of a run; `rate` is for the losses that are compared.
    """
    calls = WARMUP + options.repetitions
    apart = differences(questions, lambda precision: values(precision, STEPS, dropout=0.0, **exact(rate)))
    precisions = {question.ours: question.precision for question in questions}
    trainings = {
        name: OwnTraining(values(precision, options.batches * calls))
        for name, precision in precisions.items()
    }
    contenders: dict[str, Contender] = {
        name: OwnSteps(training, options.batches) for name, training in trainings.items()
    }
    first = trainings[questions[0].ours]
    for peer in dict.fromkeys(question.peer for question in questions):
        contenders[str(peer)] = padded_steps(peer, first, options.batches, calls)
    return measure(group, questions, contenders, apart, first.bert, options.repetitions)


def measure(
    group: str,
    questions: Sequence[Question],
    contenders: Mapping[str, Contender],
    differences: Mapping[Question, str],
    sizes: BertConfig,
    repetitions: int,
) -> Measured:
    """Lets the contenders take turns; -> a row for each question, and what is behind it by contender."""
    named = {question.ours for question in questions} | {str(question.peer) for question in questions}
    contenders = {name: contender for name, contender in contenders.items() if name in named}
    print(f"timing {group}: {' | '.join(contenders)}", file=sys.stderr, flush=True)
    seconds = alternate(contenders, repetitions, WARMUP)
    lengths = {name: contender.lengths[-repetitions:] for name, contender in contenders.items()}
    tokens = {name: [sum(call) for call in calls] for name, calls in lengths.items()}
    by_token = {
        name: [s / t for s, t in zip(seconds[name], tokens[name], strict=True)] for name in contenders
    }
    rows = []
    for question in questions:
        ours = question.ours
        operations = [question.passes * forward_flops(sizes, call) for call in lengths[ours]]
        pace = [work / s / 1e9 for work, s in zip(operations, seconds[ours], strict=True)]
        rows.append(
            Row(
                question.work,
                str(question.peer),
                ratio(by_token[str(question.peer)], by_token[ours]),
                question.floor,
                question.aim,
                1 / median(by_token[ours]),
                median(pace),
                peak(question.precision),
                differences[question],
            )
        )
    figures = [
        {
            "contender": f"{group}: {name}",
            "seconds a round": median(seconds[name]),
            "tokens a round": median(tokens[name]),
            "tokens/s": 1 / median(by_token[name]),
        }
        for name in contenders
    ]
    return Measured(rows, figures)


@cache
def peak(precision: str) -> float:
    return matrix_peak(TYPES[precision])


def report(title: str, measured: Sequence[Measured], machine: Mapping[str, Any], as_json: bool) -> None:
    """Prints the rows of all comparisons, then their contenders."""
    rows = [row for part in measured for row in part.rows]
    show(title, rows, machine, as_json, [figures for part in measured for figures in part.contenders])
