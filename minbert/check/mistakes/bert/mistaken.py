"""What a mistake in a BERT is: formulas with one wrong step, and the stages at which it shows first."""

from collections.abc import Callable, Iterable
from functools import cache
from types import ModuleType
from typing import Any

from minbert.check.bert.formulas import Formulas
from minbert.check.judge import distance
from minbert.check.stage import Mistake, Outputs

FEW_DIGITS = 5e-3  # 10000 + x has 3 digits after the point in fp32


class Mistaken(Formulas):
    """A subclass overrides the step that is wrong. It shows first at one of `stages`."""

    name: str
    cause: str
    remedy: str
    stages: tuple[str, ...]
    reads: tuple[str, ...] = ()  # outputs that are not compared but tell this mistake from another
    tolerance: float | None = None  # where 10000 added to the scores leaves them few digits in fp32


def mistaken_in(module: ModuleType) -> list[type[Mistaken]]:
    """The mistakes that a module holds, in its order."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and hasattr(value, "stages")
    ]


def as_mistake(
    mistaken: type[Mistaken], stage: str, run: Callable[[Any], Outputs], expected: Callable[[], Outputs]
) -> Mistake:
    """The entry of the catalogue for one stage; a mistake with several has the stage in its name."""

    @cache
    def predict() -> Outputs:
        outputs = run(mistaken())
        return {name: outputs[name] for name in (*expected(), *mistaken.reads)}

    def is_near(given: Outputs, _: Outputs) -> bool:
        return fits(given, predict(), mistaken.tolerance)

    name = mistaken.name if len(mistaken.stages) == 1 else f"{mistaken.name} ({stage})"
    near = None if mistaken.tolerance is None else is_near
    return Mistake(name, mistaken.cause, mistaken.remedy, predict, near)


def fits(given: Outputs, predicted: Outputs, tolerance: float) -> bool:
    return all(distance(given.get(name), value) <= tolerance for name, value in predicted.items())


def at_stage(classes: Iterable[type[Mistaken]], stage: str) -> list[type[Mistaken]]:
    return [mistaken for mistaken in classes if stage in mistaken.stages]
