"""Times ten times the sentences beside the sentences ten times: ours against itself.

python benchmarks/scaling.py WEIGHTS [DATA] [--sentences 1200] [--json] [--repetitions 5] [--threads N]

The same 10 N mixed sentences (SST, STS, Quora; they start over where the data do not hold enough) are
encoded in fp32, N at a time in ten calls, and all at once in one call; the two take turns. Both must give the
same vectors.

Goal: all at once, at least 0.95 times the tokens per second of N at a time.
"""

from collections.abc import Sequence

import numpy as np
from comparison import Question, command_parser, measure, real_texts, set_up, show, source

from minbert import SentenceEncoder, run_command

TIMES = 10
FLOOR = 0.95


def main(arguments: Sequence[str]) -> None:
    parser = command_parser(__doc__, "WEIGHTS", "DATA")
    parser.add_argument("--sentences", type=int, default=1200, help="N")
    options = parser.parse_args(arguments)
    machine = set_up(options)
    encoder = SentenceEncoder.from_pretrained(options.weights)
    count = options.sentences
    texts = real_texts("mix", TIMES * count, options.data)

    sequences = encoder.tokenizer.encode(texts, max_length=encoder.max_length)
    lengths = [len(sequence.ids) for sequence in sequences]
    vectors = {}

    def encode(size: int) -> list[int]:
        parts = [encoder.encode(texts[start : start + size]) for start in range(0, len(texts), size)]
        vectors[size] = np.concatenate(parts)
        return lengths

    encode(count), encode(len(texts))
    largest = float(np.abs(vectors[count] - vectors[len(texts)]).max())
    peer, ours = f"ours, {count:,} at a time", "at once"
    question = Question(f"encode {len(texts):,} sentences at once, fp32", ours, peer, FLOOR, None)
    contenders = {peer: lambda: encode(count), ours: lambda: encode(len(texts))}
    said = {question: f"largest difference of vectors {largest:.1e}"}
    group = f"{len(texts):,} sentences"
    measured = measure(group, [question], contenders, said, encoder.model.config, options.repetitions)
    show(f"Ten times the sentences of {source(options.data)}", machine, options.json, measured)


if __name__ == "__main__":
    run_command(main)
