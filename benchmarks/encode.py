"""Times encoding sentences, beside sentence-transformers with the same weights.

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

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from comparison import (
    TYPES,
    Measured,
    Question,
    command_parser,
    measure,
    real_texts,
    set_up,
    show,
    source,
    unit,
)

from minbert import SentenceEncoder, run_command

PEER = "sentence-transformers"
BATCH = 32
LONG = 256  # tokens
DIFFERENCE, COSINE = 1e-5, 0.9995
GOALS = {  # precision of ours and of the peer -> at least, aim
    "mix": {("fp32", "fp32"): (1.5, 2.0), ("bf16", "fp32"): (2.6, 4.0), ("bf16", "bf16"): (1.35, 2.0)},
    "long": {("fp32", "fp32"): (1.6, 1.9), ("bf16", "fp32"): (2.6, 3.5)},
}


def differences(vectors: Mapping[str, np.ndarray]) -> dict[tuple[str, str], str]:
    """Returns the figures by our precision and the peer's; `vectors` are of length 1, by contender."""
    ours = vectors["ours fp32"]
    largest = float(np.abs(ours - vectors[f"{PEER} fp32"]).max())
    half, theirs = (float((vectors[name] * ours).sum(axis=1).min()) for name in ("ours bf16", f"{PEER} bf16"))
    cosine = f"least cosine to fp32 {half:.7f}, {verdict(half >= COSINE)}"
    return {
        ("fp32", "fp32"): f"largest difference of vectors {largest:.1e}, {verdict(largest < DIFFERENCE)}",
        ("bf16", "fp32"): cosine,
        ("bf16", "bf16"): f"{cosine}; the peer's {theirs:.7f}",
    }


def verdict(held: bool) -> str:
    return "goal held" if held else "GOAL MISSED"


def compare(
    encoder: SentenceEncoder,
    peers: Mapping[str, Any],
    texts: Sequence[str],
    work: str,
    goals: Mapping[tuple[str, str], tuple[float, float | None]],
    repetitions: int,
) -> Measured:
    """Compares on one set of texts, cut at the encoder's length; `peers` are models by precision."""
    calls = {f"ours {name}": lambda name=name: encoder.encode(texts, compute=name) for name in peers}
    for name, peer in peers.items():
        peer.max_seq_length = encoder.max_length
        calls[f"{PEER} {name}"] = lambda peer=peer: peer.encode(
            texts, batch_size=BATCH, show_progress_bar=False
        )
    found = differences({name: unit(call()) for name, call in calls.items()})
    sequences = encoder.tokenizer.encode(texts, max_length=encoder.max_length)
    lengths = [len(sequence.ids) for sequence in sequences]
    contenders = {name: lambda call=call: (call(), lengths)[1] for name, call in calls.items()}
    said = {
        Question(f"encode {work}, {ours}", f"ours {ours}", f"{PEER} {theirs}", *goals, precision=ours): found[
            ours, theirs
        ]
        for (ours, theirs), goals in goals.items()
    }
    return measure(work, list(said), contenders, said, encoder.model.config, repetitions)


def main(arguments: Sequence[str]) -> None:
    parser = command_parser(__doc__, "WEIGHTS", "DATA")
    parser.add_argument("--sentences", type=int, default=1200, help="mixed sentences")
    parser.add_argument("--long", type=int, default=80, help="long texts")
    options = parser.parse_args(arguments)
    machine = set_up(options, PEER)
    from sentence_transformers import SentenceTransformer

    encoder = SentenceEncoder.from_pretrained(options.weights)
    peers = {name: SentenceTransformer(options.weights, device="cpu").to(TYPES[name]) for name in TYPES}
    measured = []
    for kind, count in (("mix", options.sentences), ("long", options.long)):
        texts, work = real_texts(kind, count, options.data), f"{count:,} sentences"
        if kind == "long":
            encoder.max_length = min(LONG, encoder.model.config.max_length)
            work = f"{count:,} long texts, at most {encoder.max_length} tokens"
        measured.append(compare(encoder, peers, texts, work, GOALS[kind], options.repetitions))
    show(f"Encoding texts of {source(options.data)}", machine, options.json, *measured)


if __name__ == "__main__":
    run_command(main)
