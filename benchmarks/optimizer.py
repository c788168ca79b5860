"""The time of an AdamW step on the parameters of MiniLM: our default beside that of torch.optim.AdamW.

python benchmarks/optimizer.py [--json] [--steps 5] [--repetitions 9] [--threads N]

The two take turns, so that other work on the machine slows both; the ratio of the medians is what counts.
Goal: at most 0.5.
"""

import argparse
import json
import statistics
from collections.abc import Callable

import torch
from comparison import add_options, alternate, set_up

from minbert import AdamW, BertConfig, BertModel

MINILM = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5, help="steps in one measurement")
    add_options(parser)
    parser.set_defaults(repetitions=9)
    options = parser.parse_args()
    machine = set_up(options)
    times = measure(options.steps, options.repetitions)
    medians = {name: statistics.median(values) / options.steps for name, values in times.items()}
    result = {
        "ours_ms": 1e3 * medians["ours"],
        "torch_ms": 1e3 * medians["torch"],
        "ratio": medians["ours"] / medians["torch"],
        "goal": 0.5,
        "threads": machine["threads"],
        "torch": machine["torch"],
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"ours {result['ours_ms']:.1f} ms, torch.optim.AdamW {result['torch_ms']:.1f} ms a step")
        print(f"ratio {result['ratio']:.2f} (goal: at most {result['goal']})")


def measure(steps: int, repetitions: int) -> dict[str, list[float]]:
    """Seconds of `steps` steps, for each optimizer in turn."""

    def contender(kind: type[torch.optim.Optimizer]) -> Callable[[], None]:
        parameters = [torch.nn.Parameter(p.detach().clone()) for p in BertModel(MINILM).parameters()]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter) * 1e-3
        optimizer = kind(parameters)

        def take() -> None:
            for _ in range(steps):
                optimizer.step()

        return take

    return alternate({"ours": contender(AdamW), "torch": contender(torch.optim.AdamW)}, repetitions)


if __name__ == "__main__":
    main()
