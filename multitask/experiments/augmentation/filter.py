"""Filters new texts: drops copies of training texts, leaks from dev and test, and wrong labels.

Closeness is the Jaccard index of two texts' sets of word pairs, `(w1, w2), (w2, w3), ...` with a mark at
both ends: the size of their intersection by that of their union. For a sentence of 20 words with one word
replaced it is 0.83, with three scattered words 0.56; texts that differ in case and punctuation only have 1.
All pairs are looked at by an index of word pairs, so nothing near is overlooked.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from minbert import InputError
from multitask.config.option_types import within
from multitask.data.doctor import word_key
from multitask.data.readers import Example
from multitask.experiments.augmentation.reply import Rejection
from multitask.experiments.augmentation.table import Request, TrainingTable
from multitask.inference.run import Run, load_run

NEAR = 0.5  # from here on a text counts as a copy

Agreement = Callable[[list[tuple[Request, str]]], list[bool]]


class NearTexts:
    """Texts by their word pairs; `nearest` finds the closest of them."""

    def __init__(self, texts: Iterable[str] = ()):
        self._sizes: list[int] = []  # the number of word pairs of each text
        self._places: dict[tuple[str, str], list[int]] = defaultdict(list)  # word pair -> texts that have it
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        pairs = word_pairs(text)
        for pair in pairs:
            self._places[pair].append(len(self._sizes))
        self._sizes.append(len(pairs))

    def nearest(self, text: str) -> float:
        """Returns the closeness of the closest text, from 0 to 1."""
        pairs = word_pairs(text)
        shared = Counter(place for pair in pairs for place in self._places.get(pair, ()))
        return max(
            (count / (len(pairs) + self._sizes[place] - count) for place, count in shared.items()),
            default=0.0,
        )


def word_pairs(text: str) -> set[tuple[str, str]]:
    """Returns a text's pairs of neighbouring words, its beginning and end marked by empty words."""
    words = ["", *word_key(text).split(), ""]
    return set(zip(words, words[1:], strict=False))


class TextFilter:
    """Decides which texts are kept; `rejected` counts the others by reason."""

    def __init__(self, table: TrainingTable, near: float | None, agrees: Agreement | None):
        self.rejected: Counter[str] = Counter()
        self._near = near
        self._agrees = agrees
        if near is not None:
            within("near", near, 0, 1, "above 0 and at most 1", near > 0)
            self._train = NearTexts(row.texts[0] for row in table.rows)
            self._others = NearTexts(table.others)

    def __call__(
        self, requests: Sequence[Request], texts: Sequence[str | Rejection | None]
    ) -> dict[Request, str]:
        """Returns the texts that are kept, by request."""
        self.rejected.update(text.reason for text in texts if isinstance(text, Rejection))
        found = [pair for pair in zip(requests, texts, strict=True) if isinstance(pair[1], str)]
        agreed = self._agrees(found) if self._agrees and found else [True] * len(found)
        kept = {}
        for (request, text), right in zip(found, agreed, strict=True):
            reason = self._too_near(text) if right else "the run predicts another label"
            if reason:
                self.rejected[reason] += 1
            else:
                kept[request] = text
        return kept

    def _too_near(self, text: str) -> str | None:
        if self._near is None:
            return None
        if self._others.nearest(text) >= NEAR:
            return "near a text of dev or test"
        if self._train.nearest(text) >= self._near:
            return "near a training text or an earlier new one"
        self._train.add(text)
        return None


def agreement(check: str | Path | Run | None, distance: int, table: TrainingTable) -> Agreement | None:
    """Returns a function that tells of new texts whether the run predicts their labels, within `distance`."""
    within("check-distance", distance, 0, len(table.labels) - 1, f"from 0 to {len(table.labels) - 1}")
    if distance and not all(label.isdigit() for label in table.labels):
        raise InputError(
            f"check-distance is {distance}, and the labels {', '.join(table.labels)} are not levels; give 0"
        )
    if check is None:
        return None
    run = check if isinstance(check, Run) else load_run(check)
    name = table.task.name
    task = run.task(name)
    if tuple(getattr(task, "labels", ())) != table.labels:
        raise InputError(
            f"the run knows other labels of {name}: {', '.join(getattr(task, 'labels', ()))}; the data has "
            f"{', '.join(table.labels)}; check with a run that was trained on this task"
        )

    def agrees(found: list[tuple[Request, str]]) -> list[bool]:
        examples = [Example(str(i), (text,), None, i) for i, (_, text) in enumerate(found)]
        predicted = task.hard(run.example_scores(name, examples))
        places = [table.labels.index(str(label)) for label in predicted]
        gold = [table.labels.index(str(request.source.label)) for request, _ in found]
        return (np.abs(np.subtract(places, gold)) <= distance).tolist()

    return agrees
