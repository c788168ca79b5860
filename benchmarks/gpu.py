"""Times a CUDA device, beside transformers and sentence-transformers, and its share of the device's peak.

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
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from comparison import (
    MINILM,
    SEED,
    TYPES,
    WARMUP,
    Contender,
    Measured,
    Question,
    alternate,
    command_parser,
    measure,
    set_up,
    show,
)
from contenders import (
    CLASSES,
    STEPS,
    OwnTraining,
    PaddedBatch,
    PaddedSteps,
    adamw,
    difference,
    exact,
    losses,
    own_steps,
    peer_of,
    planned_batches,
    random_batches,
    settings,
)
from encode import compare

from minbert import BertConfig, BertModel, InputError, SentenceEncoder, Tokenizer, run_command, to_device

SIZES = {"MiniLM": MINILM, "bert-base": BertConfig()}
# Tokens, [CLS] and [SEP] too, that such shares of the course's training inputs do not exceed; a pair of Quora
# is one input.
SHARES = (0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1)
LENGTHS = {
    "SST": (4, 9, 16, 24, 33, 41, 46, 55, 63, 80),
    "Quora": (11, 17, 22, 27, 36, 47, 55, 74, 108, 327),
    "full 128": (128,) * len(SHARES),
}
WORDS = 12_000  # of the vocabulary, in the sentences; SST has as many
MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GOALS = {"SST": 2.0, "Quora": 2.0, "full 128": 1.2}  # beside transformers
HALF_GOAL = 2.5
ENCODING_GOALS = {("bf16", "fp32"): (3.0, None), ("bf16", "bf16"): (3.0, None)}
PASSES = 3.0  # forward, and backward twice as much
INPUTS = 8192  # sentences of an epoch, and to encode
ENCODED = "SST"  # whose lengths these have
RATE = 1e-4  # of the steps whose losses are compared
PEAK_SIDE = 8192  # of the square matrices whose product measures the device
RANDOM, LIKE = "transformers bf16, random batches", "transformers bf16, like lengths"


class Place(NamedTuple):
    """A folder with weights, tokenizer and sentences, and the device to compute on."""

    folder: Path
    device: str


def synchronized(contender: Callable[[], Any], device: str) -> Callable[[], Any]:
    """Returns a contender whose call ends when the device is done."""

    def call() -> Any:
        result = contender()
        torch.get_device_module(device).synchronize()
        return result

    return call


def drawn_lengths(name: str, count: int) -> list[int]:
    """Returns the tokens of `count` inputs, spread as LENGTHS says, in random order."""
    shares = (np.arange(count) + 0.5) / count
    lengths = np.rint(np.interp(shares, SHARES, LENGTHS[name])).astype(int).tolist()
    Random(SEED).shuffle(lengths)
    return lengths


def vocabulary(sizes: BertConfig) -> list[str]:
    """Returns the marks, then words that are one token each."""
    return [*MARKS, *(f"w{number}" for number in range(sizes.vocab_size - len(MARKS)))]


def sentences(sizes: BertConfig, lengths: Sequence[int]) -> list[str]:
    """Returns a sentence of each length, in tokens, for the tokenizer of `made_up`."""
    draw, words = Random(SEED), vocabulary(sizes)[len(MARKS) :][:WORDS]
    return [" ".join(draw.choices(words, k=length - 2)) for length in lengths]


@contextmanager
def made_up(sizes: BertConfig, texts: Sequence[str]) -> Iterator[Path]:
    """A folder with random weights, a tokenizer, and the texts as SST's training file, for a while."""
    draw = Random(SEED)
    with TemporaryDirectory(prefix="minbert-made-up-") as name:
        folder = Path(name)
        (folder / "vocab.txt").write_text("\n".join(vocabulary(sizes)) + "\n", "utf-8")
        Tokenizer.from_pretrained(folder).save_pretrained(folder)
        torch.manual_seed(SEED)
        BertModel(sizes).save_pretrained(folder)
        rows = [f"{i}\t{i}\t{text}\t{draw.randrange(CLASSES)}\n" for i, text in enumerate(texts)]
        (folder / "ids-sst-train.csv").write_text("".join(["\tid\tsentence\tsentiment\n", *rows]), "utf-8")
        yield folder


def own(
    place: Place, size: int, steps: int, precision: str = "bf16", compiles: bool = False, **changed: Any
) -> OwnTraining:
    """Returns a training of ours in batches of `size`; `changed` as `settings` takes them."""
    values = settings(place.folder, place.folder, "mean", steps, precision, device=place.device, **changed)
    values["train"] |= {"batch_size": size, "compile": compiles}
    return OwnTraining(values)


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
    return PaddedSteps(model, batches, steps, "bf16", adamw(model, fused=True, **options))


def apart(place: Place, size: int) -> str:
    """Says how far the losses of some steps are from transformers', without dropout, both in bf16."""
    training = own(place, size, STEPS, dropout=0.0, **exact(RATE))
    batches = on_device(islice(planned_batches(training), STEPS), place.device)
    peer = peer_steps(training, batches, STEPS, place.device, rate=RATE, weight_decay=0.0)
    return difference(training.take(STEPS)[0], losses(peer.step, peer.optimizer, batches))


def questions(lengths: str) -> list[Question]:
    """Returns the rows of training on sentences of such lengths."""
    goal, ours = GOALS[lengths], "ours bf16"
    pairs = ((ours, RANDOM, goal), (ours, LIKE, goal), (ours, "ours fp32", HALF_GOAL))
    return [
        Question(f"train, {lengths}", *pair, None, PASSES, "bf16")
        for pair in (*pairs, ("ours bf16, compiled", ours, None))
    ]


def train(place: Place, lengths: str, options: argparse.Namespace) -> Measured:
    """Measures the rows of a size of model and a spread of lengths."""
    size, steps, device = options.batch_size, options.batches, place.device
    needed = steps * (WARMUP + options.repetitions)
    chosen, curve = questions(lengths), apart(place, size)
    said = {q: curve if q.peer.startswith("transformers") else "both are ours" for q in chosen}
    first = own(place, size, needed)
    contenders: dict[str, Contender] = {
        name: peer_steps(first, on_device(islice(batches, needed), device), steps, device)
        for name, batches in ((RANDOM, random_batches(first)), (LIKE, planned_batches(first)))
    }
    trainings = {
        "ours bf16": first,
        "ours fp32": own(place, size, needed, "fp32"),
        "ours bf16, compiled": own(place, size, needed, compiles=True),
    }
    contenders |= {name: own_steps(training, steps) for name, training in trainings.items()}
    waiting = {name: synchronized(contender, device) for name, contender in contenders.items()}
    return measure(lengths, chosen, waiting, said, first.bert, options.repetitions)


def encode(place: Place, texts: Sequence[str], repetitions: int) -> Measured:
    """Measures the rows of encoding."""
    from sentence_transformers import SentenceTransformer

    encoder = SentenceEncoder.from_pretrained(place.folder)
    encoder.to(place.device)
    peers = {
        name: SentenceTransformer(str(place.folder), device=place.device).to(dtype)
        for name, dtype in TYPES.items()
    }
    return compare(encoder, peers, texts, f"{len(texts):,}, {ENCODED}", ENCODING_GOALS, repetitions)


def device_peak(device: str, side: int = PEAK_SIDE, products: int = 20) -> float:
    """Returns the GFLOP/s of products of square matrices in bf16 on the device."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    multiply = synchronized(lambda: [torch.matmul(left, right) for _ in range(products)], device)
    return 2 * side**3 * products / min(alternate({"products": multiply}, 3)["products"]) / 1e9


def main(arguments: Sequence[str]) -> None:
    parser = command_parser(__doc__)
    parser.add_argument("--batch-size", type=int, default=256, help="sentences a batch of training")
    parser.add_argument("--batches", type=int, default=30, help="batches in a round")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES), help="of the model")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        raise InputError("torch sees no CUDA device here; run this command on a machine that has one")
    machine = set_up(options, "transformers", "sentence-transformers")
    machine |= {"device": torch.cuda.get_device_name()}
    torch.set_float32_matmul_precision("highest")  # no TF32
    peak = device_peak("cuda")
    rows, figures = [], []
    for name in options.sizes:
        for kind in GOALS:
            lengths = drawn_lengths(kind, INPUTS)
            texts = sentences(SIZES[name], lengths)
            with made_up(SIZES[name], texts) as folder:
                place = Place(folder, "cuda")
                found = [train(place, kind, options)]
                if kind == ENCODED:
                    found.append(encode(place, texts, options.repetitions))
            for part in found:
                rows += [row._replace(work=f"{name}: {row.work}", peak=peak) for row in part.rows]
                figures += [e | {"contender": f"{name}, {e['contender']}"} for e in part.figures]
    show(f"CUDA, batches of {options.batch_size}", machine, options.json, Measured(rows, figures))


if __name__ == "__main__":
    run_command(main)
