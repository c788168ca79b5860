"""Times a training step in several processes: DistributedDataParallel beside one reduction at the end.

torchrun --nproc-per-node 2 benchmarks/processes.py WEIGHTS [DATA] [--steps 10] [--repetitions 5] [--json]

Both take the same steps of SST in turn, in the same processes. The other way flattens all gradients when the
backward pass has ended, sums them in one call, and copies them back. Also from a trace of one step: when
the first reduction begins and the last one ends, as a share of the backward pass.

Goal: a step at most 1.0 times as long as with one reduction, and reductions that begin before the backward
pass ends.
"""

import json
import time
from collections.abc import Callable, Sequence
from itertools import islice
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from comparison import command_parser
from contenders import OwnTraining, settings, take_steps
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from minbert import InputError, run_command
from multitask.training.parallel import Engine


class OneReduction(Engine):
    """Leaves the gradients in the process; `reduce` sums them."""

    def reduce(self) -> None:
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        flat = torch.cat([parameter.grad.flatten() for parameter in parameters])
        dist.all_reduce(flat)
        parts = flat.split([parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad.copy_(part.view_as(parameter))


def traced(step: Callable[[], Any]) -> tuple[float, float]:
    """Returns begin of the first and end of the last reduction, as shares of the backward pass of a step."""
    with profile(activities=[ProfilerActivity.CPU]) as trace:
        step()
    spans: dict[str, list[float]] = {"backward": [], "reduction": []}
    for event in trace.events():
        kind = "reduction" if event.name.startswith(("gloo:all_reduce", "nccl:all_reduce")) else None
        kind = "backward" if event.name == "backward" else kind
        if kind:
            spans[kind] += [event.time_range.start, event.time_range.end]
    begin, end = min(spans["backward"]), max(spans["backward"])
    return tuple((moment(spans["reduction"]) - begin) / (end - begin) for moment in (min, max))


def main(arguments: Sequence[str]) -> None:
    parser = command_parser(__doc__, "WEIGHTS", "DATA")
    parser.add_argument("--steps", type=int, default=10, help="steps in one measurement")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    steps = options.steps * (options.repetitions + 1) * 2 + 2
    training = OwnTraining(settings(options.weights, options.data, "pooler", steps) | {"out": None})
    parts, group = training.trainer.components, training.trainer.group
    if group.size == 1:
        raise InputError("this compares several processes; start them with torchrun --nproc-per-node 2")
    plan = iter(parts.plan)
    engines = {"one reduction": OneReduction(training.model), "overlapping": parts.engine}
    backward = parts.gradients.backward

    def marked(loss: Tensor, task: str) -> None:
        with torch.profiler.record_function("backward"):
            backward(loss, task)
        if isinstance(parts.engine, OneReduction):
            parts.engine.reduce()

    parts.gradients.backward = marked
    seconds: dict[str, list[float]] = {name: [] for name in engines}

    def take(name: str, count: int) -> float:
        parts.engine = engines[name]
        group.barrier()
        started = time.perf_counter()
        take_steps(parts, islice(plan, count))
        return (time.perf_counter() - started) / count

    for repetition in range(options.repetitions + 1):
        for name in engines:
            taken = take(name, options.steps)
            if repetition:  # the first one warms up
                seconds[name].append(taken)
    shares = {name: traced(lambda name=name: take(name, 1)) for name in engines}
    found = {
        "processes": group.size,
        "threads": torch.get_num_threads(),
        "seconds": {name: median(values) for name, values in seconds.items()},
        "ratio": median(seconds["overlapping"]) / median(seconds["one reduction"]),
        "first reduction begins, last ends, in backward passes": shares,
    }
    if options.json:
        print(json.dumps(found))
        return
    print(f"{found['processes']} processes, {found['threads']} threads each")
    for name in engines:
        begin, end = shares[name]
        took = f"{found['seconds'][name]:.3f} s a step"
        print(f"{name:14} {took}; reductions from {begin:.2f} to {end:.2f} of the backward pass")
    print(f"ratio {found['ratio']:.3f}, at most 1.0")


if __name__ == "__main__":
    run_command(main)
