"""Rows of the catalogues of mistakes: a formula with one step replaced, its cause and its remedy."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from minbert.check import Mistake, Outputs


class Wrong(NamedTuple):
    """A mistake in any formula that has these steps."""

    cause: str
    remedy: str
    steps: dict[str, Callable[..., Any]]


Wrongs = Mapping[str, Wrong]  # by title


def wrong(cause: str, remedy: str, **steps: Callable[..., Any]) -> Wrong:
    return Wrong(cause, remedy, steps)


def picked(rows: Wrongs, *titles: str) -> Wrongs:
    return {title: rows[title] for title in titles}


def known_mistakes(
    function: str, formula: Callable[..., Any], rows: Wrongs, outputs: Callable[[Callable], Outputs]
) -> tuple[Mistake, ...]:
    """Makes the rows mistakes in a function; `outputs` calls a formula with the stage's inputs."""
    return tuple(
        Mistake(
            f"{title} ({function})",
            row.cause,
            row.remedy,
            partial(outputs, partial(formula, **row.steps)),
            steps=row.steps,
        )
        for title, row in rows.items()
    )
