"""The time to load weights into a model, beside reading the same file and copying its tensors.

python benchmarks/load.py FOLDER [--json] [--repetitions 7] [--threads N]

FOLDER holds config.json and model.safetensors, for example all-MiniLM-L6-v2. The file is warm in the cache,
the two take turns, and the ratio of the medians is what counts. Goal: at most 3.
"""

import argparse
import json
import statistics
from pathlib import Path

from comparison import add_options, alternate, set_up
from safetensors.torch import load_file

from minbert import BertModel

WEIGHTS = "model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="config.json and model.safetensors")
    add_options(parser)
    parser.set_defaults(repetitions=7)
    options = parser.parse_args()
    machine = set_up(options)

    def read_and_copy():
        return {name: tensor.clone() for name, tensor in load_file(options.folder / WEIGHTS).items()}

    def load_model():
        return BertModel.from_pretrained(options.folder)

    times = alternate({"model": load_model, "file": read_and_copy}, options.repetitions)
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "model_ms": 1e3 * medians["model"],
        "file_ms": 1e3 * medians["file"],
        "ratio": medians["model"] / medians["file"],
        "goal": 3.0,
        "threads": machine["threads"],
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"model {result['model_ms']:.0f} ms, file and copy {result['file_ms']:.0f} ms")
        print(f"ratio {result['ratio']:.2f} (goal: at most {result['goal']:.0f})")


if __name__ == "__main__":
    main()
