"""In which order the tasks' batches come within an epoch. Every batch of every task comes exactly once.

An epoch ends when each task's data are used up; no task is cut to the smallest or repeated.
"""

from collections.abc import Mapping

import torch

from minbert import InputError, did_you_mean


def sequential(
    counts: Mapping[str, int], generator: torch.Generator, order: tuple[str, ...] = ()
) -> list[str]:
    """All batches of one task, then all of the next, in `order` (a task may have none) or as in `counts`."""
    return [name for name in order or counts for _ in range(counts.get(name, 0))]


def round_robin(counts: Mapping[str, int], generator: torch.Generator) -> list[str]:
    """One batch of each task in turn; a task that is used up drops out."""
    return [name for turn in range(max(counts.values())) for name in counts if turn < counts[name]]


def proportional(counts: Mapping[str, int], generator: torch.Generator) -> list[str]:
    """All batches in random order, so that at any point a task is as likely as it has batches."""
    names = sequential(counts, generator)
    return [names[i] for i in torch.randperm(len(names), generator=generator).tolist()]


ORDERS = {"sequential": sequential, "round-robin": round_robin, "proportional": proportional}


def task_order(sampling: str, counts: Mapping[str, int], generator: torch.Generator) -> list[str]:
    """The task of each step of an epoch, for a number of steps a task.

    `sampling` is a name of ORDERS; sequential takes an order: `sequential:paraphrase,sts,sst`.
    Raises InputError for another name.
    """
    name, _, order = sampling.partition(":")
    if name not in ORDERS:
        raise InputError(
            f"sampling {name!r} does not exist; choose from {', '.join(ORDERS)}{did_you_mean(name, ORDERS)}"
        )
    if order:
        return sequential(counts, generator, tuple(order.split(",")))
    return ORDERS[name](counts, generator)
