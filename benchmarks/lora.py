"""Times LoRA on SST, beside peft, and what adapting the last layers only saves.

python benchmarks/lora.py WEIGHTS [DATA] [--batches 10] [--sentences 160] [--only TEXT ...]
    [--repetitions 5] [--json]

Rank 8, alpha 16, query and value, batches of 32, dropout 0.1, gradients clipped at 1; the head learns too.
What a run of ours freezes below its first adapter runs without dropout, peft drops everywhere; that is the
default of each. A round is --batches batches. Where only the last two layers are adapted, it is an epoch over
so many sentences: ours with what the frozen layers give computed (first epoch) and kept (later epochs). Last,
ours against ours: a bert-base of random weights, epochs of --sentences sentences, four of its twelve layers
adapted. contenders.py says how peft is used. Seconds are divided by real tokens. GFLOP/s count what a step
cannot do without: one forward pass of each layer that is not kept, one more for the way back through each
layer from the first adapted one on; adapters and the embeddings are left out.

Goals: on all layers 2 times peft as users have it and 1.4 times its best in fp32, 1.9 and 1.25 times in bf16;
on the last two layers 2.2 times (first epoch) and 3.7 times (later) peft as users have it; bert-base's last
four layers against its first four: 1.4 times and 2.7 times.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from comparison import (
    SEED,
    WARMUP,
    Contender,
    Measured,
    Question,
    add_only,
    choose,
    command_parser,
    measure,
    set_up,
    show,
    source,
)
from contenders import (
    BATCH,
    FEW,
    HEADS,
    STEPS,
    OwnTraining,
    Peer,
    compare_batches,
    differences,
    exact,
    own_steps,
    padded_steps,
    settings,
)

from minbert import BertConfig, BertModel, Tokenizer, find_folder, run_command
from multitask.tasks.splits import open_data

RATE = 1e-3  # of the steps whose losses are compared
FIRST, LATER = "first epoch", "later epochs"
ALL, LAST_TWO, BASE = "all layers", "last two layers", "bert-base"
AS_USED = Peer("peft", "fp32", best=False)
GOALS = {  # precision of ours, peer -> at least, aim
    ("fp32", AS_USED): (2.0, 2.5),
    ("fp32", Peer("peft", "fp32", best=True)): (1.4, 1.7),
    ("bf16", Peer("peft", "bf16", best=False)): (1.9, 2.5),
    ("bf16", Peer("peft", "bf16", best=True)): (1.25, 1.7),
}
LAST_TWO_GOALS = {FIRST: (2.2, 3.0), LATER: (3.7, 5.0)}
BASE_GOALS = {FIRST: (1.4, 1.5), LATER: (2.7, 3.0)}


class Group(NamedTuple):
    """Rows whose contenders take turns: what is adapted, and the head's pooling."""

    adapted: str
    pooling: str

    def __str__(self) -> str:
        return f"{self.adapted}, {HEADS[self.pooling]}"


def questions(layers: int) -> dict[Group, list[Question]]:
    """Returns the rows, for weights of so many layers."""
    groups = {}
    for pooling, head in HEADS.items():
        groups[Group(ALL, pooling)] = [
            Question(f"LoRA, {precision}, {head}", f"ours {precision}", peer, *goals, 2.0, precision)
            for (precision, peer), goals in GOALS.items()
        ]
        work = f"LoRA, last two layers, fp32, {head}"
        groups[Group(LAST_TWO, pooling)] = [
            Question(f"{work}, {epoch}", f"ours, {epoch}", AS_USED, *goals, passes(2, layers, epoch))
            for epoch, goals in LAST_TWO_GOALS.items()
        ]
    ours, peer, work = "last four", "ours, first four", f"{BASE}, LoRA, last four layers, fp32"
    groups[Group(BASE, "mean")] = [
        Question(f"{work}, {epoch}", f"{ours}, {epoch}", f"{peer}, {epoch}", *goals, passes(4, 12, epoch))
        for epoch, goals in BASE_GOALS.items()
    ]
    return groups


def passes(adapted: int, layers: int, epoch: str) -> float:
    """Returns the forward passes' worth of operations where the last `adapted` layers have adapters."""
    share = min(1.0, adapted / layers)
    return share + (1.0 if epoch == FIRST else share)


def compare(group: Group, chosen: Sequence[Question], data: Path, options: argparse.Namespace) -> Measured:
    """Compares what takes batches of the data, or epochs over its first sentences."""
    layers = {ALL: "all", LAST_TWO: "last:2"}[group.adapted]

    def values(precision: str, steps: int, **changed: Any) -> dict:
        adapted = lora(layers) | changed
        return settings(options.weights, data, group.pooling, steps, precision, **adapted)

    if group.adapted == ALL:
        return compare_batches(str(group), chosen, values, RATE, options)
    calls = WARMUP + options.repetitions
    apart = differences(
        chosen, lambda precision: values(precision, STEPS, limit=FEW, dropout=0.0, **exact(RATE))
    )
    training = OwnTraining(values("fp32", 2 * calls * options.batches, limit=BATCH * options.batches))
    peer = padded_steps(AS_USED, training, training.steps_an_epoch, calls)
    contenders = epochs(training, "ours") | {str(AS_USED): peer}
    return measure(str(group), chosen, contenders, apart, training.bert, options.repetitions)


def compare_base(chosen: Sequence[Question], data: Path, options: argparse.Namespace) -> Measured:
    """Compares ours with ours, so that there are no losses of a peer."""
    steps = 2 * (WARMUP + options.repetitions) * math.ceil(options.sentences / BATCH)
    contenders: dict[str, Contender] = {}
    with bert_base(options.weights) as folder:
        for layers, name in (("last:4", "last four"), ("first:4", "ours, first four")):
            training = OwnTraining(
                settings(folder, data, "mean", steps, limit=options.sentences, **lora(layers))
            )
            contenders |= epochs(training, name)
        same = dict.fromkeys(chosen, "both are ours")
        return measure(BASE, chosen, contenders, same, training.bert, options.repetitions)


def lora(layers: str) -> dict[str, Any]:
    return {"lora": {"rank": 8, "alpha": 16.0, "layers": layers}}


def epochs(training: OwnTraining, name: str) -> dict[str, Contender]:
    """Contenders that train an epoch a call, with nothing kept of the frozen layers, or with all of them."""
    return {
        f"{name}, {epoch}": own_steps(training, training.steps_an_epoch, cold=epoch == FIRST)
        for epoch in (FIRST, LATER)
    }


@contextmanager
def bert_base(weights: str) -> Iterator[str]:
    """A folder with a bert-base of random weights, and the tokenizer of other weights."""
    tokenizer = Tokenizer.from_pretrained(weights)
    torch.manual_seed(SEED)
    with TemporaryDirectory(prefix="minbert-base-") as folder:
        tokenizer.save_pretrained(folder)
        BertModel(BertConfig(vocab_size=tokenizer.vocab_size)).save_pretrained(folder)
        yield folder


def main(arguments: Sequence[str]) -> None:
    parser = command_parser(__doc__, "WEIGHTS", "DATA")
    parser.add_argument("--batches", type=int, default=10, help="batches of 32 in a round")
    parser.add_argument("--sentences", type=int, default=160, help=f"sentences of an epoch of {BASE}")
    add_only(parser)
    options = parser.parse_args(arguments)
    machine = set_up(options, "transformers", "peft")
    layers = BertConfig.from_folder(find_folder(options.weights)).num_hidden_layers
    with open_data(options.data) as data:
        measured = [
            compare_base(some, data, options)
            if group.adapted == BASE
            else compare(group, some, data, options)
            for group, some in choose(questions(layers), options.only).items()
        ]
    title = f"LoRA on SST of {source(options.data)}, {options.batches} batches of 32 a round"
    show(title, machine, options.json, *measured)


if __name__ == "__main__":
    run_command(main)
