"""How fast is LoRA on SST, beside peft, and how much is saved by adapting the last layers only?

python benchmarks/lora.py WEIGHTS [DATA] [--batches 10] [--sentences 160] [--only TEXT ...]
    [--repetitions 5] [--json]

Rank 8, alpha 16, query and value, batches of 32, dropout 0.1, gradients clipped at 1; the head learns too.
What a run of ours freezes below its first adapter runs without dropout, peft drops everywhere; that is the
default of each. A round is --batches batches. Where only the last two layers are adapted, it is an epoch over
so many sentences: ours with what the frozen layers give computed (first epoch) and kept (later epochs). Last,
ours against ours: a bert-base of random weights, epochs of --sentences sentences, four of its twelve layers
adapted. padded.py says how peft is used. Seconds are divided by real tokens. GFLOP/s count what a step cannot
do without: one forward pass of each layer that is not kept, one more for the way back through each layer from
the first adapted one on; adapters and the embeddings are left out.

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
from typing import NamedTuple

import torch
from comparison import need, set_up
from own_training import OwnSteps, OwnTraining, settings
from padded import BATCH, SEED, Peer, padded_steps
from same_losses import STEPS, differences, exact
from training_rows import (
    HEADS,
    WARMUP,
    Measured,
    Question,
    at_least_one,
    choose,
    compare_batches,
    measure,
    report,
    source,
    training_parser,
)

from minbert import BertConfig, BertModel, Tokenizer, find_folder, run_command
from multitask.tasks.splits import open_data

RATE = 1e-3  # of the steps whose losses are compared
FEW = 2 * BATCH  # sentences of these steps where epochs are compared: the steps reach the third epoch
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
    """The rows, for weights of so many layers."""
    groups = {}
    for pooling, head in HEADS.items():
        groups[Group(ALL, pooling)] = [
            Question(f"LoRA, {precision}, {head}", f"ours {precision}", peer, *goals, 2.0, precision)
            for (precision, peer), goals in GOALS.items()
        ]
        groups[Group(LAST_TWO, pooling)] = [
            Question(
                f"LoRA, last two layers, fp32, {head}, {epoch}",
                f"ours, {epoch}",
                AS_USED,
                *goals,
                passes(2, layers, epoch),
            )
            for epoch, goals in LAST_TWO_GOALS.items()
        ]
    groups[Group(BASE, "mean")] = [
        Question(
            f"{BASE}, LoRA, last four layers, fp32, {epoch}",
            f"last four, {epoch}",
            f"ours, first four, {epoch}",
            *goals,
            passes(4, 12, epoch),
        )
        for epoch, goals in BASE_GOALS.items()
    ]
    return groups


def passes(adapted: int, layers: int, epoch: str) -> float:
    """Forward passes' worth of operations where the last `adapted` layers have adapters."""
    share = min(1.0, adapted / layers)
    return share + (1.0 if epoch == FIRST else share)


def lora(layers: str) -> dict:
    return {"lora": {"rank": 8, "alpha": 16.0, "layers": layers}}


def compare_all_layers(
    group: Group, chosen: Sequence[Question], data: Path, options: argparse.Namespace
) -> Measured:
    def values(precision: str, steps: int, **changed) -> dict:
        return settings(options.weights, data, group.pooling, steps, precision, **lora("all"), **changed)

    return compare_batches(str(group), chosen, values, RATE, options)


def compare_last_two(
    group: Group, chosen: Sequence[Question], data: Path, options: argparse.Namespace
) -> Measured:
    """Epochs over the first sentences of the data."""
    calls = WARMUP + options.repetitions

    def values(precision: str, steps: int, **changed) -> dict:
        return settings(options.weights, data, group.pooling, steps, precision, **lora("last:2"), **changed)

    apart = differences(
        chosen, lambda precision: values(precision, STEPS, limit=FEW, dropout=0.0, **exact(RATE))
    )
    steps = 2 * calls * options.batches
    training = OwnTraining(values("fp32", steps, limit=BATCH * options.batches))
    peer = padded_steps(AS_USED, training, training.steps_an_epoch, calls)
    contenders = epochs(training, "ours") | {str(AS_USED): peer}
    return measure(str(group), chosen, contenders, apart, training.bert, options.repetitions)


def compare_base(
    group: Group, chosen: Sequence[Question], data: Path, options: argparse.Namespace
) -> Measured:
    """Ours against ours, so that there are no losses of a peer."""
    steps = 2 * (WARMUP + options.repetitions) * math.ceil(options.sentences / BATCH)
    contenders: dict[str, OwnSteps] = {}
    with bert_base(options.weights) as folder:
        for layers, name in (("last:4", "last four"), ("first:4", "ours, first four")):
            values = settings(folder, data, group.pooling, steps, limit=options.sentences, **lora(layers))
            training = OwnTraining(values)
            contenders |= epochs(training, name)
        none = dict.fromkeys(chosen, "both are ours")
        return measure(BASE, chosen, contenders, none, training.bert, options.repetitions)


def epochs(training: OwnTraining, name: str) -> dict[str, OwnSteps]:
    """Contenders that train an epoch a call, with nothing kept of the frozen layers, or with all of them."""
    return {
        f"{name}, {epoch}": OwnSteps(training, training.steps_an_epoch, cold=epoch == FIRST)
        for epoch in (FIRST, LATER)
    }


@contextmanager
def bert_base(weights: str) -> Iterator[str]:
    """A folder with a bert-base of random weights, and the tokenizer of other weights."""
    tokenizer = Tokenizer.from_pretrained(weights)
    torch.manual_seed(SEED)
    with TemporaryDirectory(prefix="minbert-base-") as folder:
        tokenizer.save(folder)
        BertModel(BertConfig(vocab_size=tokenizer.vocab_size)).save_pretrained(folder)
        yield folder


COMPARE = {ALL: compare_all_layers, LAST_TWO: compare_last_two, BASE: compare_base}


def run(arguments: Sequence[str]) -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--batches", type=int, default=10, help="batches of 32 in a round")
    parser.add_argument("--sentences", type=int, default=160, help=f"sentences of an epoch of {BASE}")
    options = parser.parse_args(arguments)
    at_least_one(options, "batches", "sentences")
    machine = set_up(options) | need("transformers", "peft")
    layers = BertConfig.from_folder(find_folder(options.weights)).num_hidden_layers
    chosen = choose(questions(layers), options.only)
    with open_data(options.data) as data:
        measured = [COMPARE[group.adapted](group, some, data, options) for group, some in chosen.items()]
    title = f"LoRA on SST of {source(options.data)}, {options.batches} batches of 32 a round"
    report(title, measured, machine, options.json)


if __name__ == "__main__":
    run_command(run)
