"""How much memory encoding and training take: the peak resident memory of processes that do nothing else.

python benchmarks/memory.py WEIGHTS [DATA] [--sentences 1200] [--steps 200] [--json]
                            [--repetitions 1] [--threads N]

Encoding: `SentenceEncoder.stream` on N and on 10 N mixed sentences (SST, STS, Quora; they start over where
the data do not hold enough), read from a file as they are needed. Goal: at most 100 MB more for 10 N.
Training: STEPS steps on SST, batches of 32, fp32. Ours is a whole run of `multitask.train`, with its
evaluations and checkpoints; the peer is `AutoModelForSequenceClassification` with random batches padded to
the longest and torch's AdamW, which only trains. No goal. Each process reads its peak of itself at its end;
the largest of the repetitions is shown. The default of 200 steps takes some minutes.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from comparison import Process, add_options, need, real_texts, run_process, set_up, show

from minbert import CommandParser, find_folder, run_command
from multitask.data.readers import integer_label, read_table
from multitask.tasks.splits import SAMPLE, open_data

PEER = "transformers"
TIMES = 10
BOUND = 100  # MB
ENCODE = """
import json, sys
from itertools import islice
from minbert import SentenceEncoder
weights, file, count = sys.argv[1:]
with open(file, encoding="utf-8") as lines:
    texts = (json.loads(line) for line in islice(lines, int(count)))
    result = sum(len(vectors) for vectors in SentenceEncoder.from_pretrained(weights).stream(texts))
"""
TRAIN = """
import json, sys
from pathlib import Path
from multitask import RunConfig, train
weights, data, steps, out = sys.argv[1:]
train(RunConfig.from_dict({
    "weights": weights, "data": data, "out": out, "precision": "fp32", "device": "cpu",
    "tasks": {"sst": {}}, "train": {"epochs": int(steps), "max_steps": int(steps), "batch_size": 32},
}))
records = map(json.loads, (Path(out) / "metrics.jsonl").read_text("utf-8").splitlines())
result = [record["loss"]["sst"] for record in records if record["kind"] == "train"][-1]
"""
TRAIN_PADDED = """
import json, sys
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding
weights, file, steps = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(weights)
model = AutoModelForSequenceClassification.from_pretrained(weights, num_labels=5).train()
with open(file, encoding="utf-8") as lines:
    rows = [
        {**tokenizer(text, truncation=True, max_length=model.config.max_position_embeddings), "labels": label}
        for text, label in map(json.loads, lines)
    ]
batches = DataLoader(rows, batch_size=32, shuffle=True, collate_fn=DataCollatorWithPadding(tokenizer))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
losses = []
while len(losses) < int(steps):
    for batch in batches:
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if len(losses) == int(steps):
            break
result = sum(losses[-10:]) / len(losses[-10:])
"""


def main(arguments: Sequence[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("data", metavar="DATA", type=Path, nargs="?")
    parser.add_argument("--sentences", type=int, default=1200, help="N")
    parser.add_argument("--steps", type=int, default=200, help="of training")
    add_options(parser)
    parser.set_defaults(repetitions=1)
    options = parser.parse_args(arguments)
    machine = set_up(options) | need(PEER)
    weights = str(find_folder(options.weights))
    with (
        TemporaryDirectory(prefix="minbert-memory-") as scratch,
        open_data(options.data or SAMPLE) as data,
    ):
        encoding = streams(weights, data, options.sentences, options.repetitions, Path(scratch))
        training = trainings(weights, data, options.steps, options.repetitions, Path(scratch))
    source = "the bundled sample" if options.data is None else options.data
    show(f"Memory (texts of {source})", [], machine, options.json, encoding + training)


def streams(weights: str, data: Path, count: int, repetitions: int, scratch: Path) -> list[dict[str, object]]:
    """The peaks of encoding N and 10 N sentences."""
    texts, _ = real_texts("mix", TIMES * count, data)
    file = scratch / "texts.jsonl"
    file.write_text("".join(json.dumps(text) + "\n" for text in texts), encoding="utf-8")
    few, many = (
        highest([(ENCODE, weights, str(file), str(number))] * repetitions)
        for number in (count, TIMES * count)
    )
    more = many.peak_mb - few.peak_mb
    verdict = "goal held" if more <= BOUND else "GOAL MISSED"
    return [
        line(f"stream {count:,} sentences", "ours", few, f"{few.result:,} vectors"),
        line(
            f"stream {TIMES * count:,} sentences",
            "ours",
            many,
            f"{many.result:,} vectors; {more:+.0f} MB (at most +{BOUND}), {verdict}",
        ),
    ]


def trainings(
    weights: str, data: Path, steps: int, repetitions: int, scratch: Path
) -> list[dict[str, object]]:
    """The peaks of training on SST, ours and the peer's."""
    examples = read_table(
        data / "ids-sst-train.csv", texts=("sentence",), label="sentiment", parse_label=integer_label(0, 4)
    )
    file = scratch / "sst.jsonl"
    rows = (json.dumps([*example.texts, example.label]) + "\n" for example in examples.rows)
    file.write_text("".join(rows), encoding="utf-8")
    ours = highest(
        [(TRAIN, weights, str(data), str(steps), str(scratch / f"run-{turn}")) for turn in range(repetitions)]
    )
    peer = highest([(TRAIN_PADDED, weights, str(file), str(steps))] * repetitions)
    loss = "loss of the last steps"
    times = f"{peer.peak_mb / ours.peak_mb:.2f} times ours"
    return [
        line(f"train {steps:,} steps on SST", "ours", ours, f"{loss} {ours.result:.3f}"),
        line(f"train {steps:,} steps on SST", PEER, peer, f"{loss} {peer.result:.3f}; peak {times}"),
    ]


def highest(programs: Sequence[tuple[str, ...]]) -> Process:
    """Runs each program, one after the other -> the process with the highest peak."""
    return max((run_process(*program) for program in programs), key=lambda process: process.peak_mb)


def line(work: str, whose: str, process: Process, found: str) -> dict[str, object]:
    return {"process": work, "whose": whose, "peak MB": round(process.peak_mb, 1), "found": found}


if __name__ == "__main__":
    run_command(main)
