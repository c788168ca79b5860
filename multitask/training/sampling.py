"""Sampling: the tasks that each step of an epoch trains, from the number of batches that each task has."""

from collections.abc import Mapping, Sequence

import torch

DRAWN = ("uniform", "proportional", "square-root", "temperature", "annealed")
# Where tasks take turns each batch comes once; where they are drawn, the probabilities decide how often.
EXHAUSTING = ("sequential", "round-robin", "proportional")


class Sampling:
    """The order of the tasks, by `sampling`, `unequal` and `sampling_cap` of a RunConfig, which checks them.

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
    batches left.
    """

    def __init__(self, name: str, unequal: str | None = None, cap: int | None = None):
        self.name = name
        self.cap = cap
        self.kind, _, argument = name.partition(":")
        self.unequal = unequal or ("exhaust" if self.kind in EXHAUSTING else "cycle")
        self.first = tuple(argument.split(",")) if self.kind == "sequential" and argument else ()
        self.temperature = float(argument) if self.kind == "temperature" else 1.0

    def __str__(self) -> str:
        cap = "" if self.cap is None else f", a task counting at most {self.cap} batches"
        return f"{self.name}{cap}; unequal sizes: {self.unequal}"

    def order(
        self, counts: Mapping[str, int], epoch: int, epochs: int, generator: torch.Generator
    ) -> list[tuple[str, ...]]:
        """Returns the tasks of each step of an epoch: one, or with `together` several.

        `counts`: the batches of each task, or its groups of batches where it accumulates. Epochs count
        from 1.
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
        names = [turn for name in self._in_order(steps) for turn in [(name,)] * steps[name]]
        if self.kind == "sequential":
            return names
        drawn = torch.randperm(len(names), generator=generator)
        return names if len(steps) == 1 else [names[i] for i in drawn.tolist()]

    def count_steps(self, counts: Mapping[str, int]) -> int | None:
        """Returns the number of steps that `order` gives for these counts; None where it is drawn."""
        sizes = [count for count in counts.values() if count]
        drawn = self.kind in DRAWN
        if drawn and self.unequal == "smallest" and len(sizes) > 1:
            return None
        if drawn or not sizes:
            return sum(sizes)
        turns = {"exhaust": sizes, "smallest": [min(sizes)] * len(sizes), "cycle": [max(sizes)] * len(sizes)}
        return max(turns[self.unequal]) if self.kind == "together" else sum(turns[self.unequal])

    def probabilities(self, counts: Mapping[str, int], epoch: int, epochs: int) -> dict[str, float]:
        """Returns the probability of each task: N^alpha over the tasks' sum, N being its number of batches.

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
        return [name for name in self.first if name in counts] if self.first else list(counts)


def _drawn(probabilities: Mapping[str, float], count: int, generator: torch.Generator) -> list[str]:
    names = list(probabilities)
    weights = torch.tensor(list(probabilities.values()), dtype=torch.float64)
    return [names[i] for i in torch.multinomial(weights, count, True, generator=generator).tolist()]
