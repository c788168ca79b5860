"""How fast sentences become vectors, beside sentence-transformers with the same weights.

python benchmarks/encode.py WEIGHTS [DATA] [--sentences 1200] [--long 80] [--json]
                            [--repetitions 5] [--threads N]

Two sets of texts: mixed sentences (SST, STS, Quora), and reviews of CFIMDB cut at 256 tokens; they start over
where the data do not hold enough. The peer is `SentenceTransformer(WEIGHTS).encode(texts, batch_size=32)`,
in bf16 after `model.bfloat16()`. On one set of texts all four contenders take turns in one process.
Vectors are compared after normalisation: in fp32 with the peer's (goal: no feature differs by 1e-5), in bf16
by their cosine with our fp32 (goal: at least 0.9995 for each text).

Goals, times as fast: sentences in fp32 1.5 (aim 2), in bf16 2.6 (4) against its fp32 and 1.35 (2) against its
bf16; long texts in fp32 1.6 (1.9), in bf16 2.6 (3.5) against its fp32.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from comparison import (
    Row,
    add_options,
    alternate,
    forward_flops,
    matrix_peak,
    need,
    ratio,
    real_texts,
    set_up,
    show,
)

from minbert import CommandParser, SentenceEncoder, run_command

PEER = "sentence-transformers"
BATCH = 32
LONG = 256  # tokens
DIFFERENCE, COSINE = 1e-5, 0.9995


class Goal(NamedTuple):
    """A row of the table: whose precision against whose, and how many times as fast."""

    ours: str
    peer: str
    floor: float
    aim: float


GOALS = {
    "mix": (Goal("fp32", "fp32", 1.5, 2.0), Goal("bf16", "fp32", 2.6, 4.0), Goal("bf16", "bf16", 1.35, 2.0)),
    "long": (Goal("fp32", "fp32", 1.6, 1.9), Goal("bf16", "fp32", 2.6, 3.5)),
}


def contenders_of(
    encoder: SentenceEncoder, peers: Mapping[str, Any], texts: Sequence[str], max_length: int
) -> dict[str, Callable[[], np.ndarray]]:
    """What encodes `texts`, by "ours fp32", "ours bf16", and the same of the peer."""
    encoder.max_length = max_length
    for peer in peers.values():
        peer.max_seq_length = max_length

    def ours(precision: str) -> Callable[[], np.ndarray]:
        return lambda: encoder.encode(texts, precision=precision)

    def theirs(precision: str) -> Callable[[], np.ndarray]:
        return lambda: peers[precision].encode(texts, batch_size=BATCH, show_progress_bar=False)

    return {f"ours {p}": ours(p) for p in peers} | {f"{PEER} {p}": theirs(p) for p in peers}


def differences(contenders: Mapping[str, Callable[[], np.ndarray]]) -> dict[str, str]:
    """What is compared in each precision, and the figure, by our precision and the peer's."""
    vectors = {name: unit(encode()) for name, encode in contenders.items()}
    largest = float(np.abs(vectors["ours fp32"] - vectors[f"{PEER} fp32"]).max())
    least = {
        name: float((vectors[name] * vectors["ours fp32"]).sum(axis=1).min())
        for name in ("ours bf16", f"{PEER} bf16")
    }
    theirs = least[f"{PEER} bf16"]
    cosine = f"least cosine to fp32 {least['ours bf16']:.7f}, {verdict(least['ours bf16'] >= COSINE)}"
    return {
        "fp32 fp32": f"largest difference of vectors {largest:.1e}, {verdict(largest < DIFFERENCE)}",
        "bf16 fp32": cosine,
        "bf16 bf16": f"{cosine}; the peer's {theirs:.7f}",
    }


def unit(vectors: np.ndarray) -> np.ndarray:
    """(N, D) -> rows of length 1, in double precision."""
    vectors = vectors.astype(np.float64)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def verdict(held: bool) -> str:
    return "goal held" if held else "GOAL MISSED"


def compare(
    encoder: SentenceEncoder,
    peers: Mapping[str, Any],
    texts: Sequence[str],
    kind: str,
    peaks: Mapping[str, float],
    repetitions: int,
) -> tuple[list[Row], list[dict[str, Any]]]:
    """The rows of one set of texts, and the seconds behind them."""
    limit = encoder.model.config.max_position_embeddings
    length = min(LONG, limit) if kind == "long" else encoder.max_length
    contenders = contenders_of(encoder, peers, texts, length)
    found = differences(contenders)
    seconds = alternate(contenders, repetitions)
    lengths = [len(sequence.ids) for sequence in encoder.tokenizer.encode(texts, max_length=length)]
    gflop = forward_flops(encoder.model.config, lengths) / 1e9
    work = f"{len(texts):,} " + (f"long texts, at most {length} tokens" if kind == "long" else "sentences")
    rows, measured = [], []
    for goal in GOALS[kind]:
        ours = seconds[f"ours {goal.ours}"]
        rows.append(
            Row(
                f"encode {work}, {goal.ours}",
                f"{PEER} {goal.peer}",
                ratio(seconds[f"{PEER} {goal.peer}"], ours),
                goal.floor,
                goal.aim,
                sum(lengths) / float(np.median(ours)),
                gflop / float(np.median(ours)),
                peaks[goal.ours],
                found[f"{goal.ours} {goal.peer}"],
            )
        )
    for name, values in seconds.items():
        middle = float(np.median(values))
        rates = {"tokens/s": sum(lengths) / middle, "GFLOP/s": gflop / middle}
        measured.append({"texts": work, "contender": name, "seconds, median": middle} | rates)
    return rows, measured


def main(arguments: Sequence[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("data", metavar="DATA", type=Path, nargs="?")
    parser.add_argument("--sentences", type=int, default=1200, help="mixed sentences")
    parser.add_argument("--long", type=int, default=80, help="long texts")
    add_options(parser)
    options = parser.parse_args(arguments)
    machine = set_up(options) | need(PEER)
    from sentence_transformers import SentenceTransformer

    encoder = SentenceEncoder.from_pretrained(options.weights)
    peers = {
        "fp32": SentenceTransformer(options.weights, device="cpu"),
        "bf16": SentenceTransformer(options.weights, device="cpu").bfloat16(),
    }
    peaks = {"fp32": matrix_peak(torch.float32), "bf16": matrix_peak(torch.bfloat16)}
    rows, measured, sources = [], [], []
    for kind, count in (("mix", options.sentences), ("long", options.long)):
        texts, source = real_texts(kind, count, options.data)
        found, figures = compare(encoder, peers, texts, kind, peaks, options.repetitions)
        rows += found
        measured += figures
        sources.append(source)
    show(f"Encoding ({'; '.join(sources)})", rows, machine, options.json, measured)


if __name__ == "__main__":
    run_command(main)
