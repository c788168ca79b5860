"""How fast is training a head on a frozen encoder, beside transformers?

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

from comparison import need, set_up
from own_training import OwnSteps, OwnTraining, settings
from padded import (
    BATCH,
    Peer,
    VectorEpochs,
    adamw,
    batches_in_order,
    padded_steps,
    peer_of,
    planned_batches,
)
from same_losses import STEPS, Curves, curves, difference, exact, losses
from training_rows import (
    HEADS,
    WARMUP,
    Measured,
    Question,
    at_least_one,
    choose,
    measure,
    report,
    source,
    training_parser,
)

from minbert import run_command
from multitask.tasks.splits import open_data

RATE = 1e-3  # of the steps whose losses are compared
FEW = 2 * BATCH  # sentences of these steps, which reach the third epoch
OURS = "ours"
FROZEN = "transformers, frozen encoder"
VECTORS = "transformers, vectors computed once"
GOALS = {FROZEN: (19.0, 25.0), VECTORS: (2.0, 2.5)}


def questions(pooling: str, epochs: int) -> list[Question]:
    """The rows of one head."""
    work = f"head only, {epochs} epochs, fp32, {HEADS[pooling]}"
    return [Question(work, OURS, peer, *goals, 1 / epochs) for peer, goals in GOALS.items()]


def compare(pooling: str, chosen: Sequence[Question], data: Path, options: argparse.Namespace) -> Measured:
    def values(steps: int, **changed) -> dict:
        return settings(options.weights, data, pooling, steps, freeze="backbone", **changed)

    calls = WARMUP + options.repetitions
    few = values(STEPS, limit=FEW, dropout=0.0, **exact(RATE))
    apart = {
        question: difference(*(curves(few) if question.peer == FROZEN else vector_curves(few)))
        for question in chosen
    }
    steps = calls * options.epochs * math.ceil(options.sentences / BATCH)
    training = OwnTraining(values(steps, limit=options.sentences))
    steps = options.epochs * training.steps_an_epoch
    contenders = {
        OURS: OwnSteps(training, steps, cold=True),
        FROZEN: padded_steps(Peer("transformers", "fp32", best=False), training, steps, calls),
        VECTORS: vector_epochs(training, options.epochs),
    }
    return measure(HEADS[pooling], chosen, contenders, apart, training.bert, options.repetitions)


def vector_epochs(training: OwnTraining, epochs: int, **changed) -> VectorEpochs:
    """The peer that computes vectors once, of a training that has not begun; `changed` of its AdamW."""
    model = peer_of(training)
    batches = list(batches_in_order(training, range(len(training.examples))))
    return VectorEpochs(model, batches, epochs, adamw(model, **changed))


def vector_curves(values: dict) -> Curves:
    """Losses of the first steps of a run with `exact` settings, and of a head on vectors computed once."""
    training = OwnTraining(values)
    peer = vector_epochs(training, 1, rate=RATE, weight_decay=0.0)
    vectors = peer.vectors()
    places = {name: place for place, name in enumerate(name for batch in peer.batches for name in batch.ids)}
    rows = [[places[name] for name in batch.ids] for batch in islice(planned_batches(training), STEPS)]
    found = losses(lambda chosen: peer.step(vectors[chosen], peer.labels[chosen]), peer.optimizer, rows)
    return Curves(training.take(STEPS).losses, found)


def run(arguments: Sequence[str]) -> None:
    parser = training_parser(__doc__)
    parser.add_argument("--sentences", type=int, default=800, help="sentences of an epoch")
    parser.add_argument("--epochs", type=int, default=10, help="epochs of a round")
    options = parser.parse_args(arguments)
    at_least_one(options, "sentences", "epochs")
    machine = set_up(options) | need("transformers")
    chosen = choose({pooling: questions(pooling, options.epochs) for pooling in HEADS}, options.only)
    with open_data(options.data) as data:
        measured = [compare(pooling, some, data, options) for pooling, some in chosen.items()]
    title = (
        f"Heads on SST of {source(options.data)}, {options.epochs} epochs of {options.sentences} sentences"
    )
    report(title, measured, machine, options.json)


if __name__ == "__main__":
    run_command(run)
