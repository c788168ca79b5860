"""Times loading weights into a model, beside reading the same file and copying its tensors.

python benchmarks/load.py WEIGHTS [--json] [--repetitions 7] [--threads N]

WEIGHTS holds config.json and model.safetensors, for example all-MiniLM-L6-v2. The file is warm in the cache,
the two take turns, and the ratio of the medians is what counts. Goal: at most 3.
"""

from collections.abc import Sequence
from pathlib import Path

from comparison import command_parser, show_share
from safetensors.torch import load_file

from minbert import BertModel, run_command


def main(arguments: Sequence[str]) -> None:
    options = command_parser(__doc__, "WEIGHTS", repetitions=7).parse_args(arguments)
    file = Path(options.weights) / "model.safetensors"
    calls = {
        "model": lambda: BertModel.from_pretrained(options.weights),
        "file and copy": lambda: {name: tensor.clone() for name, tensor in load_file(file).items()},
    }
    show_share(calls, 1, 3.0, options)


if __name__ == "__main__":
    run_command(main)
