"""The time to load weights into a model, beside reading the same file and copying its tensors.

python benchmarks/load.py FOLDER [--json] [--repetitions 7] [--threads N]

FOLDER holds config.json and model.safetensors, for example all-MiniLM-L6-v2. The file is warm in the cache,
the two take turns, and the ratio of the medians is what counts. Goal: at most 3.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from minbert import BertModel

WEIGHTS = "model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="config.json and model.safetensors")
    parser.add_argument("--repetitions", type=int, default=7, help="measurements of each")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    def read_and_copy():
        return {name: tensor.clone() for name, tensor in load_file(options.folder / WEIGHTS).items()}

    def load_model():
        return BertModel.from_pretrained(options.folder)

    times = {"model": [], "file": []}
    for repetition in range(options.repetitions + 1):  # the first round warms the cache
        for name, load in (("model", load_model), ("file", read_and_copy)):
            start = time.perf_counter()
            loaded = load()
            if repetition:
                times[name].append(time.perf_counter() - start)
            del loaded
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "model_ms": 1e3 * medians["model"],
        "file_ms": 1e3 * medians["file"],
        "ratio": medians["model"] / medians["file"],
        "goal": 3.0,
        "threads": torch.get_num_threads(),
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"model {result['model_ms']:.0f} ms, file and copy {result['file_ms']:.0f} ms")
        print(f"ratio {result['ratio']:.2f} (goal: at most {result['goal']:.0f})")


if __name__ == "__main__":
    main()
