"""How fast is a CUDA device, beside transformers and sentence-transformers, and what share of its peak is it?

python benchmarks/gpu.py [--batch-size 256] [--batches 30] [--sizes MiniLM bert-base]
                         [--repetitions 5] [--json]

Weights are random and words made up, so that none are needed: MiniLM and bert-base; lengths as in SST, as in
Quora, and 128 tokens each.

Training is whole steps with the default recipe's mean head, dropout 0.1, gradients clipped at 1. Ours is
RunConfig, Trainer.setup and train_loop, collating included. The peer is transformers' BertModel with SDPA
under bf16 autocast and torch's fused AdamW, its padded batches on the device before the clock runs: random
ones, and those of ours, of like lengths. Ours against ours shows bf16 autocast beside fp32 (TF32 off), and
train.compile beside none. Encoding is SentenceEncoder in bf16 beside `SentenceTransformer.encode` in batches
of 32, in fp32 and after `model.bfloat16()`. A call ends when the device is done. Seconds are divided by real
tokens; GFLOP/s count three forward passes a token in training, one in encoding.

Goals: twice as fast as transformers on lengths of SST and Quora, 1.2 times at 128 tokens; bf16 2.5 times as
fast as fp32; encoding 3 times as fast as sentence-transformers.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from comparison import Row, add_options, alternate, forward_flops, need, ratio, set_up, show
from made_up import SEED, SIZES, drawn_lengths, made_up, sentences
from own_training import TASK, OwnSteps, OwnTraining, settings
from padded import PaddedBatch, PaddedSteps, adamw, padded, peer_of, planned_batches
from same_losses import STEPS, difference, exact, losses
from torch import nn
from training_rows import WARMUP, Measured, Question, at_least_one, measure

from minbert import CommandParser, InputError, SentenceEncoder, run_command, to_device

GOALS = {"SST": 2.0, "Quora": 2.0, "full 128": 1.2}  # beside transformers
HALF_GOAL, ENCODING_GOAL = 2.5, 3.0
PASSES = 3.0  # forward, and backward twice as much
INPUTS = 8192  # sentences of an epoch, and to encode
ENCODED = "SST"  # whose lengths these have
ENCODING_BATCH = 32
RATE = 1e-4  # of the steps whose losses are compared
PEAK_SIDE = 8192  # of the square matrices whose product measures the device


class Place(NamedTuple):
    """A folder with weights, tokenizer and sentences, and the device to compute on."""

    folder: Path
    device: str


class Synchronized:
    """A contender whose call ends when the device is done."""

    def __init__(self, contender: Callable[[], object], device: str):
        self.contender = contender
        self.device = device

    @property
    def lengths(self) -> list[list[int]]:
        """In training, the tokens of each sentence, call by call."""
        return self.contender.lengths

    def __call__(self) -> None:
        self.contender()
        torch.get_device_module(self.device).synchronize()


class Autocast(nn.Module):
    """A peer whose forward computes in bf16."""

    def __init__(self, model: nn.Module, device: str):
        super().__init__()
        self.model, self.device = model, device

    def forward(self, **inputs: torch.Tensor) -> Any:
        with torch.autocast(self.device, torch.bfloat16):
            return self.model(**inputs)


def own(
    place: Place, size: int, steps: int, precision: str = "bf16", compiles: bool = False, **changed: Any
) -> OwnTraining:
    """A training of ours in batches of `size`; `changed` as `settings` takes them."""
    values = settings(
        str(place.folder), place.folder, "mean", steps, precision, device=place.device, **changed
    )
    values["train"] |= {"batch_size": size, "compile": compiles}
    return OwnTraining(values)


def random_batches(training: OwnTraining) -> Iterator[PaddedBatch]:
    """Batches of the training's size in random order, epoch after epoch."""
    generator, size = torch.Generator().manual_seed(SEED), training.config.train.batch_size
    collate = training.model.tasks[TASK].collate
    while True:
        for chosen in torch.randperm(len(training.examples), generator=generator).split(size):
            yield padded(collate([training.examples[i] for i in chosen.tolist()]))


def on_device(batches: Iterable[PaddedBatch], device: str) -> list[PaddedBatch]:
    return [
        batch._replace(
            inputs={name: to_device(tensor, device) for name, tensor in batch.inputs.items()},
            labels=to_device(batch.labels, device),
        )
        for batch in batches
    ]


def peer_steps(
    training: OwnTraining, batches: list[PaddedBatch], steps: int, device: str, **options: Any
) -> PaddedSteps:
    """transformers at the start of a training that has not begun; `options` are those of AdamW."""
    model = peer_of(training).to(device)
    assert model.config._attn_implementation == "sdpa"
    # Its own autocast is for the CPU.
    return PaddedSteps(Autocast(model, device), batches, steps, "fp32", adamw(model, fused=True, **options))


def apart(place: Place, size: int) -> str:
    """How far the losses of some steps are from transformers', without dropout, both in bf16."""
    training = own(place, size, STEPS, dropout=0.0, **exact(RATE))
    batches = on_device(islice(planned_batches(training), STEPS), place.device)
    peer = peer_steps(training, batches, STEPS, place.device, rate=RATE, weight_decay=0.0)
    return difference(training.take(STEPS).losses, losses(peer.step, peer.optimizer, batches))


def questions(lengths: str) -> list[Question]:
    """The rows of training on sentences of such lengths."""
    work, peer = f"train, {lengths}", "transformers bf16"
    return [
        Question(work, "ours bf16", f"{peer}, random batches", GOALS[lengths], None, PASSES, "bf16"),
        Question(work, "ours bf16", f"{peer}, like lengths", GOALS[lengths], None, PASSES, "bf16"),
        Question(work, "ours bf16", "ours fp32", HALF_GOAL, None, PASSES, "bf16"),
        Question(work, "ours bf16, compiled", "ours bf16", None, None, PASSES, "bf16"),
    ]


def train(place: Place, lengths: str, options: argparse.Namespace) -> Measured:
    """The rows of a size of model and a spread of lengths."""
    size, steps = options.batch_size, options.batches
    needed = steps * (WARMUP + options.repetitions)
    chosen = questions(lengths)
    curve = apart(place, size)
    said = {q: curve if q.peer.startswith("transformers") else "both are ours" for q in chosen}
    first = own(place, size, needed)
    peers = {
        "transformers bf16, random batches": random_batches(first),
        "transformers bf16, like lengths": planned_batches(first),
    }
    contenders = {
        name: peer_steps(first, on_device(islice(batches, needed), place.device), steps, place.device)
        for name, batches in peers.items()
    }
    trainings = {
        "ours bf16": first,
        "ours fp32": own(place, size, needed, "fp32"),
        "ours bf16, compiled": own(place, size, needed, compiles=True),
    }
    contenders |= {name: OwnSteps(training, steps) for name, training in trainings.items()}
    waiting = {name: Synchronized(contender, place.device) for name, contender in contenders.items()}
    return measure(lengths, chosen, waiting, said, first.bert, options.repetitions)


def encode(place: Place, texts: Sequence[str], lengths: Sequence[int], repetitions: int) -> list[Row]:
    """The rows of encoding."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceEncoder.from_pretrained(place.folder)
    encoder.model.to(place.device)
    peers = {name: SentenceTransformer(str(place.folder), device=place.device) for name in ("fp32", "bf16")}
    peers["bf16"].bfloat16()
    calls = {
        name: lambda peer=peer: peer.encode(texts, batch_size=ENCODING_BATCH, show_progress_bar=False)
        for name, peer in peers.items()
    } | {"ours": lambda: encoder.encode(texts, precision="bf16")}
    found = {name: np.asarray(call(), dtype=np.float64) for name, call in calls.items()}
    units = {
        name: vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for name, vectors in found.items()
    }
    waiting = {name: Synchronized(call, place.device) for name, call in calls.items()}
    seconds = alternate(waiting, repetitions)
    ours = median(seconds["ours"])
    return [
        Row(
            f"encode {len(texts):,}, {ENCODED}, bf16",
            f"sentence-transformers {name}",
            ratio(seconds[name], seconds["ours"]),
            ENCODING_GOAL,
            None,
            sum(lengths) / ours,
            forward_flops(encoder.model.config, lengths) / ours / 1e9,
            None,
            f"least cosine {float((units['ours'] * units[name]).sum(axis=1).min()):.5f}",
        )
        for name in peers
    ]


def device_peak(device: str, side: int = PEAK_SIDE, products: int = 20) -> float:
    """GFLOP/s of products of square matrices in bf16 on the device."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    multiply = Synchronized(lambda: [torch.matmul(left, right) for _ in range(products)], device)
    return 2 * side**3 * products / min(alternate({"products": multiply}, 3)["products"]) / 1e9


def rows_of(
    name: str, device: str, peak: float, options: argparse.Namespace
) -> tuple[list[Row], list[dict[str, Any]]]:
    """All rows of a size of model, and the seconds behind those of training."""
    rows, figures = [], []
    for kind in GOALS:
        lengths = drawn_lengths(kind, INPUTS)
        texts = sentences(SIZES[name], lengths)
        with made_up(SIZES[name], texts) as folder:
            place = Place(folder, device)
            measured = train(place, kind, options)
            rows += measured.rows
            figures += measured.contenders
            if kind == ENCODED:
                rows += encode(place, texts, lengths, options.repetitions)
    figures = [entry | {"contender": f"{name}, {entry['contender']}"} for entry in figures]
    return [row._replace(work=f"{name}: {row.work}", peak=peak) for row in rows], figures


def main(arguments: Sequence[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=256, help="sentences a batch of training")
    parser.add_argument("--batches", type=int, default=30, help="batches in a round")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES), help="of the model")
    add_options(parser)
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        raise InputError("torch sees no CUDA device here; run this command on a machine that has one")
    at_least_one(options, "batch_size", "batches")
    machine = set_up(options) | {"device": torch.cuda.get_device_name()}
    machine |= need("transformers", "sentence-transformers")
    torch.set_float32_matmul_precision("highest")  # no TF32
    peak = device_peak("cuda")
    rows, figures = [], []
    for name in options.sizes:
        found, behind = rows_of(name, "cuda", peak, options)
        rows += found
        figures += behind
    show(f"CUDA, batches of {options.batch_size}", rows, machine, options.json, figures)


if __name__ == "__main__":
    run_command(main)
