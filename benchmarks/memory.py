"""Measures the memory of encoding and training: peak resident memory of processes that do nothing else.

python benchmarks/memory.py WEIGHTS [DATA] [--sentences 1200] [--steps 200] [--json]
                            [--repetitions 1] [--threads N]

Encoding: `SentenceEncoder.stream` on N and on 10 N mixed sentences (SST, STS, Quora; they start over where
the data do not hold enough), read from a file as they are needed. Goal: at most 100 MB more for 10 N.
Training: STEPS steps on SST, batches of 32, fp32. Ours is a whole run of `multitask.train`, with its
evaluations and checkpoints; the peer is `AutoModelForSequenceClassification` with random batches padded to
the longest and torch's AdamW, which only trains. No goal. Each process reads its peak of itself at its end;
the largest of the repetitions is shown. The default of 200 steps takes some minutes.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from comparison import Measured, command_parser, real_texts, run_process, set_up, show, source

from minbert import find_folder, run_command
from multitask.data.readers import integer_label, read_table
from multitask.tasks.splits import open_data

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
import json, sys, tempfile
from pathlib import Path
from multitask import RunConfig, train
weights, data, steps = sys.argv[1:]
with tempfile.TemporaryDirectory() as out:
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
    parser = command_parser(__doc__, "WEIGHTS", "DATA", repetitions=1)
    parser.add_argument("--sentences", type=int, default=1200, help="N")
    parser.add_argument("--steps", type=int, default=200, help="of training")
    options = parser.parse_args(arguments)
    machine = set_up(options, PEER)
    weights, steps = str(find_folder(options.weights)), str(options.steps)
    figures: list[dict[str, Any]] = []

    def peak(work: str, whose: str, program: str, *given: str) -> Any:
        """Runs a program for each repetition; adds the highest peak to the figures, returns the result."""
        runs = [run_process(program, weights, *given) for _ in range(options.repetitions)]
        highest = max(runs, key=lambda process: process.peak_mb)
        figures.append({"process": work, "whose": whose, "peak MB": round(highest.peak_mb, 1)})
        return highest.result

    with TemporaryDirectory(prefix="minbert-memory-") as scratch, open_data(options.data) as data:
        texts = write_lines(Path(scratch) / "texts.jsonl", real_texts("mix", TIMES * options.sentences, data))
        for count in (options.sentences, TIMES * options.sentences):
            vectors = peak(f"stream {count:,} sentences", "ours", ENCODE, texts, str(count))
            figures[-1]["found"] = f"{vectors:,} vectors"
        file, parse = data / "ids-sst-train.csv", integer_label(0, 4)
        examples = read_table(file, texts=("sentence",), label="sentiment", parse_label=parse)
        rows = write_lines(Path(scratch) / "sst.jsonl", ([*row.texts, row.label] for row in examples.rows))
        for whose, program, source_ in (("ours", TRAIN, str(data)), (PEER, TRAIN_PADDED, rows)):
            loss = peak(f"train {options.steps:,} steps on SST", whose, program, source_, steps)
            figures[-1]["found"] = f"loss of the last steps {loss:.3f}"
    few, many, ours, theirs = (entry["peak MB"] for entry in figures)
    verdict = "goal held" if many - few <= BOUND else "GOAL MISSED"
    figures[1]["found"] += f"; {many - few:+.0f} MB (at most +{BOUND}), {verdict}"
    figures[3]["found"] += f"; peak {theirs / ours:.2f} times ours"
    show(f"Memory (texts of {source(options.data)})", machine, options.json, Measured([], figures))


def write_lines(file: Path, values: Iterable[Any]) -> str:
    """Writes a JSON value a line; returns the file's name."""
    file.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return str(file)


if __name__ == "__main__":
    run_command(main)
