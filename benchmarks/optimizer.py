"""The time of an AdamW step on the parameters of MiniLM: our default beside that of torch.optim.AdamW.

python benchmarks/optimizer.py [--json] [--steps 5] [--repetitions 9] [--threads N]

The two take turns, so that other work on the machine slows both; the ratio of the medians is what counts.
Goal: at most 0.5.
"""

import argparse
import json
import statistics
import time

import torch

from minbert import AdamW, BertConfig, BertModel

MINILM = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5, help="steps in one measurement")
    parser.add_argument("--repetitions", type=int, default=9, help="measurements of each")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's choice")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    times = measure(options.steps, options.repetitions)
    medians = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "ours_ms": 1e3 * medians["ours"],
        "torch_ms": 1e3 * medians["torch"],
        "ratio": medians["ours"] / medians["torch"],
        "goal": 0.5,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"ours {result['ours_ms']:.1f} ms, torch.optim.AdamW {result['torch_ms']:.1f} ms a step")
        print(f"ratio {result['ratio']:.2f} (goal: at most {result['goal']})")


def measure(steps: int, repetitions: int) -> dict[str, list[float]]:
    """Seconds a step, for each optimizer in turn; the first round is thrown away."""
    optimizers = {}
    for name, kind in (("ours", AdamW), ("torch", torch.optim.AdamW)):
        parameters = [torch.nn.Parameter(p.detach().clone()) for p in BertModel(MINILM).parameters()]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter) * 1e-3
        optimizers[name] = kind(parameters)
    times = {name: [] for name in optimizers}
    for repetition in range(repetitions + 1):
        for name, optimizer in optimizers.items():
            start = time.perf_counter()
            for _ in range(steps):
                optimizer.step()
            if repetition:
                times[name].append((time.perf_counter() - start) / steps)
    return times


if __name__ == "__main__":
    main()
