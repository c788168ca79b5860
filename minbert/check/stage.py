"""Parts of stages, each with the outputs that a right implementation gives, and mistakes."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Array = np.ndarray
Arrays = dict[str, Array]
Outputs = Mapping[str, Array]
NOT_RUN = "not run: the file cannot be loaded"  # of all stages but the first, which says why
TOLERANCE = 2e-5  # of |given - expected| / (1 + |expected|): fp32 errs by 1e-6, the mildest mistake by 1e-3


class MissingImplementation(Exception):
    """Raised by a candidate that has no such method: the stage is skipped, with this reason."""


class AbsentFunction(MissingImplementation):
    """Raised for a function that a file may leave out, and for a file that has nothing of a part.

    The stage is skipped and worth no points.
    """


class InvalidOutput(Exception):
    """Raised by a candidate whose answer cannot be compared: the stage failed, with this reason."""


class ChangedInput(InvalidOutput):
    """Raised by a candidate that changes what it is given."""


@dataclass(frozen=True)
class Mistake:
    """A mistake that people make, and how it is recognised.

    `predict()` gives what the stage outputs if just this is wrong; `recognise(given, expected)` takes its
    place for mistakes whose outputs cannot be predicted numerically, such as dropout in evaluation.
    `tolerance` replaces the stage's where fp32 leaves fewer digits. `steps` are what it replaces in the
    formulas, by which its consequences in other stages are predicted.
    """

    name: str  # unique in its part: "scores without 1/sqrt(d)"
    cause: str  # one sentence: what was done
    remedy: str  # one sentence: what to do instead, with the formula
    predict: Callable[[], Outputs] | None = None
    recognise: Callable[[Outputs, Outputs], bool] | None = None
    tolerance: float | None = None
    steps: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Stage:
    """One computation: run on given inputs, compared with the references.

    `run(candidate)` calls the implementation and returns named arrays; it may run in another process.
    `expected()` gives the same names. `builds_on` names stages whose mistakes show in this one too.
    `replay(steps)` gives what formulas with the steps of mistakes in other stages output. `asks` is the
    function that is called, by which `Part.in_place` finds the right one. `exact`: outputs that only the
    mistakes made, and no others, give, so that two of them at once can be told.
    """

    name: str  # unique in its part: "scaled scores"
    run: Callable[[Any], Outputs]
    expected: Callable[[], Outputs]
    mistakes: tuple[Mistake, ...] = ()
    builds_on: tuple[str, ...] = ()
    points: int = 1
    tolerance: float = TOLERANCE
    replay: Callable[[Mapping[str, Any]], Outputs] | None = None
    asks: str = ""
    exact: bool = True


@dataclass(frozen=True)
class Part:
    """Stages in the order of the computation, and where their implementation comes from.

    `load(module)` makes a candidate from a user's module, `own()` from this project. `file` is the part's
    file in a folder of a user's files, which has some of `names`.
    `in_place(candidate, functions)` gives a candidate with right functions in place of the user's own.
    `whole` are stages that call the functions `inner` as the user's own code does: where these are right, an
    inner one that differs takes or returns something else than it is asked for, and is not compared.
    """

    name: str  # "model"
    file: str  # "bert.py"
    stages: tuple[Stage, ...]
    load: Callable[[ModuleType], Any]
    own: Callable[[], Any]
    names: tuple[str, ...] = ()
    in_place: Callable[[Any, Collection[str]], AbstractContextManager[Any]] | None = None
    inner: Collection[str] = ()
    whole: tuple[str, ...] = ()

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)


@dataclass(frozen=True)
class Outcome:
    """The outputs of a stage that was run, or the problem that prevented them."""

    outputs: Outputs | None = None
    problem: str = ""  # absent, missing, changed, raised, exit, time, memory, crashed, network
    detail: str = ""  # in words, for the report
    printed: str = ""  # what the implementation printed, cut


@dataclass(frozen=True)
class Finding:
    """The verdict on a stage. `status` is same, different, failed (no output) or skipped (missing, or
    not run because the file cannot be loaded)."""

    part: str
    stage: str
    status: str
    points: int
    difference: float = 0.0  # the largest |given - expected| / (1 + |expected|); inf for NaN and other shapes
    tolerance: float = TOLERANCE
    output: str = ""  # the first named output that differs
    where: tuple[int, ...] = ()  # the index of its largest difference
    given: float | None = None
    expected: float | None = None
    mistakes: tuple[Mistake, ...] = ()  # one, or several that cannot be told apart; empty: not recognised
    follows: tuple[str, ...] = ()  # differing stages that this one builds on
    excused: str = ""  # the earlier stage whose mistake, and no other, gives this difference
    detail: str = ""
    printed: str = ""

    @property
    def earned(self) -> int:
        return self.points if self.status == "same" or self.excused else 0
