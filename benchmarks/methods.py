"""Measures the costs and scores of each fine-tuning method, in short runs that differ in nothing else.

python benchmarks/methods.py WEIGHTS DATA [--limit 2000] [--only smart,pcgrad] [--threads N] [--json]

SST, paraphrase and STS, one epoch over the first LIMIT rows of each, one seed: enough to see what a method
costs and that it learns, too little to rank methods that lie close together. Dev splits are cut to LIMIT too.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from minbert import CommandParser, InputError, did_you_mean, run_command
from multitask import RunConfig, train
from multitask.config.option_types import merge

TASKS = ("sst", "paraphrase", "sts")
METHODS = {
    "plain": {},
    "sequential": {"sampling": "sequential:paraphrase,sts,sst"},
    "round-robin": {"sampling": "round-robin"},
    "uniform": {"sampling": "uniform"},
    "square-root": {"sampling": "square-root"},
    "temperature": {"sampling": "temperature:5"},
    "annealed": {"sampling": "annealed"},
    "together": {"sampling": "together"},
    "pcgrad": {"sampling": "together", "gradients": {"surgery": "pcgrad"}},
    "gradvac": {"sampling": "together", "gradients": {"surgery": "gradvac"}},
    "conflicts": {"sampling": "together", "gradients": {"conflicts_every": 10}},
    "smart": {"smart": {"weight": 1.0}},
    "bregman": {"smart": {"bregman": 1.0}},
    "r-drop": {"r_drop": 1.0},
    "label smoothing": {"tasks": {"sst": {"label_smoothing": 0.1}}},
    "class weights": {"tasks": {"sst": {"class_weights": "balanced"}}},
    "focal": {"tasks": {"sst": {"loss": "focal"}}},
    "ordinal": {"tasks": {"sst": {"loss": "ordinal"}}},
    "pearson": {"tasks": {"sts": {"loss": "pearson"}}},
    "cosent": {"tasks": {"sts": {"loss": "cosent"}}},
    "angle": {"tasks": {"sts": {"loss": "angle"}}},
    "freeze backbone": {"freeze": "backbone"},
    "freeze first:4": {"freeze": "embeddings,first:4"},
    "unfreeze": {"unfreeze": "30"},
    "layer decay": {"optim": {"layer_decay": 0.9}},
    "lora": {"lora": {"rank": 8, "layers": "last:4"}, "optim": {"adapter_lr": 1e-3}},
    "dora": {"lora": {"rank": 8, "layers": "last:4", "dora": True}, "optim": {"adapter_lr": 1e-3}},
    "adapter per task": {"lora": {"rank": 8}, "adapter_per_task": True, "optim": {"adapter_lr": 1e-3}},
    "projected attention": {"model": {"projected_attention_size": 96}},
    "attention head layers": {"model": {"attention_head_layers": 1}},
    "extra layer": {"extra_layers": 1},
    "hidden layers": {"tasks": {name: {"hidden": [384], "activation": "leaky_relu"} for name in TASKS[:2]}},
    "simcse beside": {"tasks": {"simcse": {}}},
    "ranking beside": {"tasks": {"ranking": {}}},
    "checkpointing": {"train": {"checkpointing": True}},
}


def measure(name: str, options: argparse.Namespace, out: Path) -> dict:
    values = {
        **{key: getattr(options, key) for key in ("weights", "data", "limit", "precision", "threads")},
        "out": str(out),
        "train": {"epochs": 1},
        "tasks": {task: {} for task in TASKS},
    }
    run = train(RunConfig.from_dict(merge(values, METHODS[name])))
    records = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    last = [record for record in records if record["kind"] == "train"][-1]
    scores = run.scores["scores"]
    return {
        "method": name,
        "sst": scores["sst"]["accuracy"],
        "paraphrase": scores["paraphrase"]["accuracy"],
        "sts": scores["sts"]["pearson"],
        "overall_2024": run.scores["overall"]["overall_2024"],
        "steps": last["step"],
        "seconds": last["seconds"],
    }


def main(arguments: Sequence[str]) -> None:
    parser = CommandParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", metavar="WEIGHTS")
    parser.add_argument("data", metavar="DATA")
    parser.add_argument("--limit", type=int, default=2000, help="rows of each task and split")
    parser.add_argument("--only", help="comma-separated names of methods")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    options = parser.parse_args(arguments)
    chosen = options.only.split(",") if options.only else list(METHODS)
    for name in chosen:
        if name not in METHODS:
            raise InputError(
                f"--only has {name!r}{did_you_mean(name, METHODS)}; the methods are {', '.join(METHODS)}"
            )
    if not options.json:
        columns = " ".join(f"{name:>6}" for name in ("SST", "Para", "STS r", "2024", "steps", "s"))
        print(f"{'method':22} {columns} {'s/step':>7}")
    for name in chosen:
        with TemporaryDirectory() as folder:
            row = measure(name, options, Path(folder) / "run")
        if options.json:
            print(json.dumps(row), flush=True)
            continue
        scores = " ".join(f"{row[key]:6.3f}" for key in ("sst", "paraphrase", "sts", "overall_2024"))
        pace = row["seconds"] / row["steps"]
        print(f"{name:22} {scores} {row['steps']:6} {row['seconds']:6.0f} {pace:7.3f}", flush=True)


if __name__ == "__main__":
    run_command(main)
