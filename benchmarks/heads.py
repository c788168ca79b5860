"""Times training a head on a frozen encoder, beside transformers.

python benchmarks/heads.py WEIGHTS [DATA] [--sentences 800] [--epochs 10] [--only TEXT ...]
    [--repetitions 5] [--json]

A round is --epochs epochs over the first --sentences sentences of SST in fp32, batches of 32, dropout 0.1
before the head and none in the frozen encoder, from nothing: ours (`freeze backbone`) with its cache computed
in the first epoch; transformers with a frozen encoder that runs in every step, on random padded batches; and
transformers with each sentence's vector computed once, in padded batches of 32 in file order, and the head
trained on these. The [CLS] head reads BERT's pooler, which is frozen too; the mean head reads the mean of the
tokens. Tokens count in every epoch; GFLOP/s count one forward pass of each sentence in a round.

Goals: 19 times the encoder in every step, 2 times the vectors computed once.
"""

import argparse
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from comparison import (
    WARMUP,
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
    adamw,
    batches_in_order,
    curves,
    descend,
    difference,
    exact,
    losses,
    own_steps,
    padded_steps,
    peer_of,
    planned_batches,
    sentence_vectors,
    settings,
)
from torch import Tensor

from minbert import run_command
from multitask.tasks.splits import open_data

RATE = 1e-3  # of the steps whose losses are compared
OURS = "ours"
FROZEN = "transformers, frozen encoder"
VECTORS = "transformers, vectors computed once"
GOALS = {FROZEN: (19.0, 25.0), VECTORS: (2.0, 2.5)}


class VectorEpochs:
    """A contender: a call computes each sentence's vector once, then trains the head for `epochs` epochs.

    `training` has not begun. The encoder takes the sentences in file order; the head takes random batches of
    32 vectors. `changed` are options of its AdamW.
    """

    def __init__(self, training: OwnTraining, epochs: int, **changed: float):
        self.model, self.epochs = peer_of(training), epochs
        self.batches = list(batches_in_order(training, range(len(training.examples))))
        self.optimizer = adamw(self.model, **changed)
        self.labels = torch.cat([batch.labels for batch in self.batches])

    def __call__(self) -> list[int]:
        vectors = self.vectors()
        for _ in range(self.epochs):
            for chosen in torch.randperm(len(vectors)).split(BATCH):
                self.step(vectors[chosen], self.labels[chosen])
        return [length for batch in self.batches for length in batch.lengths] * self.epochs

    def vectors(self) -> Tensor:
        """Returns the vectors (N, D) of all sentences, in the order of the batches."""
        with torch.no_grad():
            return torch.cat([sentence_vectors(self.model, batch.inputs) for batch in self.batches])

    def step(self, vectors: Tensor, labels: Tensor) -> Tensor:
        """vectors (B, D), labels (B,) -> the loss before the step"""
        logits = self.model.classifier(self.model.dropout(vectors))
        return descend(F.cross_entropy(logits, labels), self.optimizer)


def vector_curves(values: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Returns losses of the first steps with `exact` settings, of ours and of a head on vectors."""
    training = OwnTraining(values)
    peer = VectorEpochs(training, 1, rate=RATE, weight_decay=0.0)
    vectors = peer.vectors()
    places = {name: place for place, name in enumerate(name for batch in peer.batches for name in batch.ids)}
    rows = [[places[name] for name in batch.ids] for batch in islice(planned_batches(training), STEPS)]
    found = losses(lambda chosen: peer.step(vectors[chosen], peer.labels[chosen]), peer.optimizer, rows)
    return training.take(STEPS)[0], found


def questions(pooling: str, epochs: int) -> list[Question]:
    """Returns the rows of one head."""
    work = f"head only, {epochs} epochs, fp32, {HEADS[pooling]}"
    return [Question(work, OURS, peer, *goals, 1 / epochs) for peer, goals in GOALS.items()]


def compare(pooling: str, chosen: Sequence[Question], data: Path, options: argparse.Namespace) -> Measured:
    def values(steps: int, **changed: Any) -> dict:
        return settings(options.weights, data, pooling, steps, freeze="backbone", **changed)

    calls = WARMUP + options.repetitions
    few = values(STEPS, limit=FEW, dropout=0.0, **exact(RATE))
    apart = {q: difference(*(curves(few) if q.peer == FROZEN else vector_curves(few))) for q in chosen}
    steps = calls * options.epochs * math.ceil(options.sentences / BATCH)
    training = OwnTraining(values(steps, limit=options.sentences))
    steps = options.epochs * training.steps_an_epoch
    contenders = {
        OURS: own_steps(training, steps, cold=True),
        FROZEN: padded_steps(Peer("transformers", "fp32", best=False), training, steps, calls),
        VECTORS: VectorEpochs(training, options.epochs),
    }
    return measure(HEADS[pooling], chosen, contenders, apart, training.bert, options.repetitions)


def main(arguments: Sequence[str]) -> None:
    parser = command_parser(__doc__, "WEIGHTS", "DATA")
    parser.add_argument("--sentences", type=int, default=800, help="sentences of an epoch")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of a round")
    add_only(parser)
    options = parser.parse_args(arguments)
    machine = set_up(options, "transformers")
    chosen = choose({pooling: questions(pooling, options.epochs) for pooling in HEADS}, options.only)
    with open_data(options.data) as data:
        measured = [compare(pooling, some, data, options) for pooling, some in chosen.items()]
    about = f"{options.epochs} epochs of {options.sentences} sentences"
    show(f"Heads on SST of {source(options.data)}, {about}", machine, options.json, *measured)


if __name__ == "__main__":
    run_command(main)
