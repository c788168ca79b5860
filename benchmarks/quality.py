"""Compares dev scores after packed, bucketed training with fast dropout, and after plain training.

python benchmarks/quality.py WEIGHTS DATA [--tasks sst,sts] [--seeds 5] [--epochs 1] [--precision bf16]
                             [--limit N] [--threads N] [--json]

Both arms have the same recipe, initial weights, number of steps and seed, and go through the same loop.
"ours" is what every run does. "plain" draws its batches uniformly, pads them to the longest sentence,
computes the padding too, and drops with torch's own dropout. Each seed gives a pair; the mean difference has
the interval of a paired t test. Goal: a mean drop of at most 0.5 points, an interval above -1.5 points.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from contenders import take_steps
from torch import nn

from minbert import CommandParser, InputError, run_command
from minbert.kernels.dropout import Dropout
from multitask.config.run_config import RunConfig
from multitask.inference.evaluation import score_examples
from multitask.text_table import markdown_table
from multitask.training.components import build_components
from multitask.training.inputs import RunInputs, load_inputs
from multitask.training.trainer import start_runtime

FIRST_SEED = 11711
METRICS = {"sst": "accuracy", "sts": "pearson"}


def main(arguments: Sequence[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS", help="a folder such as all-MiniLM-L6-v2")
    parser.add_argument("data", metavar="DATA", type=Path, help="a folder with the course's files")
    parser.add_argument("--tasks", default="sst,sts", help=f"of {','.join(METRICS)}")
    parser.add_argument("--seeds", type=int, default=5, help="pairs of runs")
    parser.add_argument("--epochs", type=int, default=1, help="passes over the training data")
    parser.add_argument("--precision", default="bf16", choices=("fp32", "bf16"))
    parser.add_argument("--limit", type=int, help="N examples of each split only")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    tasks = options.tasks.split(",")
    for task in tasks:
        if task not in METRICS:
            raise InputError(f"--tasks has {task!r}; choose from {', '.join(METRICS)}")
    results = []
    for task in tasks:
        scores: dict[str, list[float]] = {"plain": [], "ours": []}
        for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
            for arm, values in scores.items():
                values.append(100 * score(options, task, seed, plain=arm == "plain"))
                if not options.json:
                    print(f"{task} seed {seed} {arm}: {values[-1]:.2f}", flush=True)
        results.append({"task": task, "metric": METRICS[task], **scores, **compare(**scores)})
    if options.json:
        print(json.dumps({"options": vars(options) | {"data": str(options.data)}, "results": results}))
        return
    rows = [
        [
            f"{result['task']} ({result['metric']} x 100)",
            *(", ".join(f"{value:.2f}" for value in result[arm]) for arm in ("plain", "ours")),
            f"{result['mean']:+.2f}",
            f"{result['low']:+.2f} to {result['high']:+.2f}",
        ]
        for result in results
    ]
    print("\n" + markdown_table(("task", "plain", "ours", "mean difference", "95 % interval"), rows))


def score(options: argparse.Namespace, task: str, seed: int, plain: bool) -> float:
    """Returns the dev score of one training."""
    config = RunConfig.from_dict(
        {
            **{key: getattr(options, key) for key in ("weights", "precision", "threads", "limit")},
            "data": str(options.data),
            "device": "cpu",
            "tasks": {task: {}},
            "train": {"epochs": options.epochs, "seed": seed},
        }
    )
    device, group = start_runtime(config)
    inputs = load_inputs(config, options.data, device)
    if plain:
        make_plain(inputs)
    parts = build_components(config, inputs, device, group)
    inputs.model.train()
    take_steps(parts, parts.plan)
    return score_examples(inputs.model, inputs.dev)[0][task][METRICS[task]]


def make_plain(inputs: RunInputs) -> None:
    """Uniform batches, padded, with torch's dropout: attention falls back to torch's kernel under a mask."""
    for module in inputs.model.modules():
        if isinstance(module, Dropout):
            module.__class__ = nn.Dropout
    for task in inputs.model.tasks.values():
        task.uniform_batches = True
        task.collate = padded(task.collate)


def padded(collate):
    def collate_padded(examples):
        batch = collate(examples)
        return replace(batch, inputs=batch.inputs.as_padded())

    return collate_padded


def compare(plain: list[float], ours: list[float]) -> dict[str, float]:
    """Returns the mean difference of ours to plain, and its 95 % interval by Student's t over the pairs."""
    from scipy.stats import ttest_rel

    mean = sum(ours) / len(ours) - sum(plain) / len(plain)
    if len(ours) < 2:
        return {"mean": mean, "low": float("nan"), "high": float("nan")}
    low, high = ttest_rel(ours, plain).confidence_interval(0.95)
    return {"mean": mean, "low": float(low), "high": float(high)}


if __name__ == "__main__":
    run_command(main)
