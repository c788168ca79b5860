"""Which tasks each step of an epoch trains, decided from the number of batches that each task has."""

from collections.abc import Mapping, Sequence

import torch

from minbert import InputError
from multitask.config.compatibility import SAMPLINGS
from multitask.config.option_types import one_of, parse, within

UNEQUAL = ("exhaust", "smallest", "cycle")
DRAWN = ("uniform", "proportional", "square-root", "temperature", "annealed")
# Where tasks take turns each batch comes once; where they are drawn, the probabilities decide how often.
EXHAUSTING = ("sequential", "round-robin", "proportional")


class Sampling:
    """The order of the tasks, from the strings of RunConfig's `sampling`, `unequal` and `sampling_cap`.

    sequential[:A,B,C]  all batches of one task, then of the next, in the order given
    round-robin         one batch of each task in turn
    uniform, proportional, square-root, temperature:T, annealed    drawn, see `probabilities`
    together            a batch of every task in each step

    What an epoch is, where the tasks are of unequal size:

    exhaust    each batch once; a task that is used up drops out
    smallest   the epoch ends with the smallest task: drawn, where the first task is used up; else each
               task is cut to the smallest number of batches
    cycle      small tasks repeat: drawn, as many steps as there are batches; else each task is brought to
               the largest number of batches

    The default is exhaust for sequential, round-robin and proportional, cycle for the others. Proportional
    with exhaust is a random order of all batches, so that at any point a task is as likely as it has
    batches left. Raises InputError for what cannot be meant.
    """

    def __init__(self, name: str, unequal: str | None = None, cap: int | None = None):
        self.name = name
        self.cap = cap
        self.kind, _, argument = name.partition(":")
        one_of("sampling", self.kind, SAMPLINGS)
        one_of("unequal", unequal, (None, *UNEQUAL))
        self.unequal = unequal or ("exhaust" if self.kind in EXHAUSTING else "cycle")
        self.first: tuple[str, ...] = ()
        self.temperature = 1.0
        if self.kind == "sequential":
            self.first = tuple(argument.split(",")) if argument else ()
            if len(set(self.first)) < len(self.first):
                raise InputError(f"sampling {name!r} names a task twice; name each once")
        elif self.kind == "temperature":
            self.temperature = parse("the T of sampling temperature:T", argument, float)
            within(
                "the T of sampling temperature:T",
                self.temperature,
                0,
                float("inf"),
                "above 0",
                self.temperature > 0,
            )
        elif argument:
            raise InputError(f"sampling {name!r}: {self.kind} takes no argument; write {self.kind}")
        if cap is not None and self.kind != "temperature":
            raise InputError(f"a cap is for sampling temperature:T; sampling is {name!r}")
        within("the cap of sampling", cap, 1, float("inf"), "at least 1")

    def __str__(self) -> str:
        cap = "" if self.cap is None else f", a task counting at most {self.cap} batches"
        return f"{self.name}{cap}; unequal sizes: {self.unequal}"

    def order(
        self, counts: Mapping[str, int], epoch: int, epochs: int, generator: torch.Generator
    ) -> list[tuple[str, ...]]:
        """The tasks of each step of an epoch: one, or with `together` several.

        `counts`: the batches of each task, or its groups of batches where it accumulates. Epochs count
        from 1. Raises InputError where `sequential:A,B` leaves a task out.
        """
        counts = {name: count for name, count in counts.items() if count}
        if not counts:
            return []
        if self.kind in DRAWN and (self.kind, self.unequal) != ("proportional", "exhaust"):
            return self._draw(counts, epoch, epochs, generator)
        steps = {
            "exhaust": counts,
            "smallest": dict.fromkeys(counts, min(counts.values())),
            "cycle": dict.fromkeys(counts, max(counts.values())),
        }[self.unequal]
        if self.kind in ("together", "round-robin"):
            turns = [
                tuple(name for name in steps if turn < steps[name]) for turn in range(max(steps.values()))
            ]
            return turns if self.kind == "together" else [(name,) for turn in turns for name in turn]
        names = [(name,) for name in self._in_order(steps) for _ in range(steps[name])]
        if self.kind == "sequential":
            return names
        return [names[i] for i in torch.randperm(len(names), generator=generator).tolist()]

    def probabilities(self, counts: Mapping[str, int], epoch: int, epochs: int) -> dict[str, float]:
        """How likely each task is to be drawn: N^alpha over the tasks' sum, N being its number of batches.

        alpha: uniform 0; proportional 1; square-root 1/2; temperature 1/T, N cut at the cap (T5, Raffel et
        al. 2020, section 3.5.2; jiant); annealed 1 - 0.8 (e - 1) / (E - 1) in epoch e of E, from
        proportional to nearly uniform (Stickland & Murray 2019).
        """
        alpha = {
            "uniform": 0.0,
            "proportional": 1.0,
            "square-root": 0.5,
            "temperature": 1 / self.temperature,
            "annealed": 1 - 0.8 * (epoch - 1) / max(epochs - 1, 1),
        }[self.kind]
        sizes = {name: min(count, self.cap or count) for name, count in counts.items()}
        largest = max(sizes.values())  # divided by first: a power of a large number may be too large
        powers = {name: (size / largest) ** alpha for name, size in sizes.items()}
        return {name: power / sum(powers.values()) for name, power in powers.items()}

    def _draw(
        self, counts: dict[str, int], epoch: int, epochs: int, generator: torch.Generator
    ) -> list[tuple[str, ...]]:
        if self.unequal == "cycle":
            probabilities = self.probabilities(counts, epoch, epochs)
            return [(name,) for name in _drawn(probabilities, sum(counts.values()), generator)]
        left, order = dict(counts), []
        while left:
            probabilities = self.probabilities({name: counts[name] for name in left}, epoch, epochs)
            for name in _drawn(probabilities, sum(left.values()), generator):
                order.append((name,))
                left[name] -= 1
                if not left[name]:
                    break
            if self.unequal == "smallest":
                break
            left = {name: count for name, count in left.items() if count}
        return order

    def _in_order(self, counts: Mapping[str, int]) -> Sequence[str]:
        if not self.first:
            return list(counts)
        missing = [name for name in counts if name not in self.first]
        if missing:
            raise InputError(
                f"sampling {self.name!r} leaves out {', '.join(missing)}; name every task that is trained"
            )
        return [name for name in self.first if name in counts]


def _drawn(probabilities: Mapping[str, float], count: int, generator: torch.Generator) -> list[str]:
    names = list(probabilities)
    weights = torch.tensor(list(probabilities.values()), dtype=torch.float64)
    return [names[i] for i in torch.multinomial(weights, count, True, generator=generator).tolist()]
