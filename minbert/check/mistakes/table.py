"""A row of the catalogue: a mistake and the step, of formulas that are otherwise right, which it replaces."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from minbert.check.stage import Mistake, Outputs


@dataclass(frozen=True)
class Wrong:
    """A mistake by its steps: methods and attributes that replace those of a class of right formulas."""

    name: str
    cause: str
    remedy: str
    steps: dict[str, Any]
    tolerance: float | None = None  # see Mistake

    def kind(self, right: type) -> type:
        """The class of right formulas with this mistake."""
        return type("Mistaken", (right,), self.steps)


def wrong(name: str, cause: str, remedy: str, tolerance: float | None = None, **steps: Any) -> Wrong:
    return Wrong(name, cause, remedy, steps, tolerance)


def replay_of(right: type, outputs: Callable[[type], Outputs]) -> Callable[[Mapping[str, Any]], Outputs]:
    """Returns a stage's `replay`. `outputs(kind)` computes its outputs by a class of formulas."""
    return lambda steps: outputs(type("Mistaken", (right,), dict(steps)))


def at(stage: str, rows: Iterable[Wrong]) -> tuple[Wrong, ...]:
    """Rows that several stages have, with the stage in their names."""
    return tuple(replace(row, name=f"{row.name} ({stage})") for row in rows)


def mistakes(rows: Iterable[Wrong], right: type, outputs: Callable[[type], Outputs]) -> tuple[Mistake, ...]:
    """Returns the rows as mistakes. `outputs(kind)` computes a stage's outputs by a class of formulas."""

    def mistake(row: Wrong) -> Mistake:
        predict = cache(lambda: outputs(row.kind(right)))
        return Mistake(row.name, row.cause, row.remedy, predict, tolerance=row.tolerance, steps=row.steps)

    return tuple(map(mistake, rows))
