"""Balanced training data: new texts for the classes that have fewer than others, in a file to train on.

    summary = augment("sst", "DATA", "sst-train-augmented.csv", Paraphrases(endpoint, Path("cache.jsonl")))

How a new text comes about is the method's work (augment_writers.py); here it is decided which are wanted,
which are kept, and what is written.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from tqdm import tqdm

from minbert import InputError
from multitask.config.option_types import within
from multitask.config.task_config import TaskConfig, task_config
from multitask.data.readers import Example
from multitask.experiments.augmentation.filter import NEAR, NearTexts
from multitask.experiments.augmentation.reply import Rejection
from multitask.experiments.augmentation.table import NewRow, TrainingTable, check_out, summary_path
from multitask.experiments.augmentation.writers import Method, Slot, Writer
from multitask.inference.run import Run, load_run
from multitask.runtime.tracking import write_json
from multitask.tasks.splits import open_data


@dataclass(frozen=True)
class ClassCount:
    """Rows of a class before and after, and how many of those wanted could not be had."""

    before: int
    after: int
    missing: int


@dataclass(frozen=True)
class Summary:
    """What was written. `rejected` counts texts by the reason why they were not kept, all attempts together.

    `stopped` says why the method made no more texts before all were there. `method` holds what decided the
    texts: the model, its settings and the prompt's hash, no key.
    """

    out: str
    task: str
    train: str
    train_sha256: str
    seed: int
    attempts: int
    near: float | None
    check: str | None
    check_distance: int | None
    classes: dict[str, ClassCount]
    rejected: dict[str, int]
    stopped: str | None
    method: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def added(self) -> int:
        return sum(count.after - count.before for count in self.classes.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and numbers, for JSON."""
        return asdict(self) | {"added": self.added}


def augment(
    task: str,
    data: str | Path,
    out: str | Path,
    method: Method,
    *,
    config: TaskConfig | None = None,
    per_class: int | None = None,
    attempts: int = 3,
    seed: int = 0,
    check: str | Path | Run | None = None,
    check_distance: int = 0,
    quiet: bool = True,
) -> Summary:
    """Writes `out`: the training file of `task` in the folder `data`, with new rows after the old ones.

    Each class gets `per_class` examples, by default as many as the largest has; none loses any. A text that
    is rejected is tried again, up to `attempts` times in all; then another row of the class takes the place
    of its source, once. `check` is a trained run, or its folder, that
    has to predict a new text's label, give or take `check_distance` levels. `config` is for a task that is
    not known by its name. The same arguments and replies give the same file. Beside it stands `out`.json,
    the summary. Raises InputError for what cannot be used; nothing is written then.
    """
    within("attempts", attempts, 1, float("inf"), "at least 1")
    out = Path(out)
    with opened_table(task, data, config) as table:
        check_out(out, table)
        missing = missing_texts(table, per_class)
        accept = _Acceptance(table, method.near, _agreement(check, check_distance, table))
        with method.open(table, seed) as writer:
            made = _write_all(draw_slots(table, missing, seed), writer, accept, attempts, quiet)
            spare = draw_slots(table, missing - _labels(made), seed, after=missing)
            made |= _write_all(spare, writer, accept, attempts, quiet)
            facts = {"name": method.name} | writer.summary()
            stopped = writer.stopped
        summary = Summary(
            out=str(out),
            task=task,
            train=str(table.path),
            train_sha256=table.hash,
            seed=seed,
            attempts=attempts,
            near=method.near,
            check=None if check is None else str(check.folder if isinstance(check, Run) else check),
            check_distance=None if check is None else check_distance,
            classes=_counts(table, missing, _labels(made)),
            rejected=dict(accept.rejected.most_common()),
            stopped=stopped,
            method=facts,
            notes=table.notes,
        )
        new = [NewRow(slot.source, text) for slot, text in made.items()]
        table.write(out, new, method.mark)
    write_json(summary_path(out), summary.as_dict())
    return summary


@contextmanager
def opened_table(task: str, data: str | Path, config: TaskConfig | None = None):
    """The training table of a task in a data folder."""
    with open_data(data) as folder:
        yield TrainingTable(task, config or task_config(task, {}), folder)


def missing_texts(table: TrainingTable, per_class: int | None) -> Counter[str]:
    """How many texts each class lacks of `per_class`, or of as many as the largest class has."""
    within("per-class", per_class, 1, float("inf"), "at least 1")
    goal = per_class or max(len(rows) for rows in table.by_label.values())
    empty = [label for label in table.labels if not table.by_label.get(label)]
    table.notes += [f"the class {label} has no training row to start from; it stays empty" for label in empty]
    return Counter({label: goal - len(rows) for label, rows in table.by_label.items() if len(rows) < goal})


def draw_slots(
    table: TrainingTable, counts: Counter[str], seed: int, after: Counter[str] | None = None
) -> list[Slot]:
    """Slots for so many texts of each class: its training rows in random order, again and again.

    `after` says how many slots of each class were drawn before, with the same seed.
    """
    slots = []
    for label in table.labels:
        rows = list(table.by_label.get(label, ()))
        Random(f"{seed} {label}").shuffle(rows)
        first = after[label] if after else 0
        slots += [Slot(rows[i % len(rows)], i // len(rows)) for i in range(first, first + counts[label])]
    return slots


def _write_all(
    slots: Sequence[Slot], writer: Writer, accept: "_Acceptance", attempts: int, quiet: bool
) -> dict[Slot, str]:
    """Texts by slot. All slots are tried once before the rejected ones are tried again, in the same order.

    So what is kept does not depend on which reply comes first.
    """
    made: dict[Slot, str] = {}
    for attempt in range(attempts):
        rest = [slot for slot in slots if slot not in made]
        if not rest or writer.stopped:
            break
        name = f"attempt {attempt + 1}"
        with tqdm(total=len(rest), unit=" texts", desc=name, leave=False, disable=quiet or None) as bar:
            texts = writer.write(rest, attempt, bar.update)
        made |= accept(rest, texts)
    return made


class _Acceptance:
    """Decides which texts are kept; `rejected` counts the others by reason."""

    def __init__(self, table: TrainingTable, near: float | None, agrees: Callable[[list], list[bool]] | None):
        self.rejected: Counter[str] = Counter()
        self._near = near
        self._agrees = agrees
        if near is not None:
            within("near", near, 0, 1, "above 0 and at most 1", near > 0)
            self._train = NearTexts(row.texts[0] for row in table.rows)
            self._others = NearTexts(table.others)

    def __call__(self, slots: Sequence[Slot], texts: Sequence[str | Rejection | None]) -> dict[Slot, str]:
        self.rejected.update(text.reason for text in texts if isinstance(text, Rejection))
        found = [(slot, text) for slot, text in zip(slots, texts, strict=True) if isinstance(text, str)]
        if self._agrees and found:
            agreed = self._agrees(found)
            self.rejected["the run predicts another label"] += agreed.count(False)
            found = [pair for pair, fits in zip(found, agreed, strict=True) if fits]
        kept = {}
        for slot, text in found:
            reason = self._too_near(text)
            if reason:
                self.rejected[reason] += 1
            else:
                kept[slot] = text
        self.rejected = +self.rejected  # without zeros
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


def _agreement(
    check: str | Path | Run | None, distance: int, table: TrainingTable
) -> Callable[[list[tuple[Slot, str]]], list[bool]] | None:
    """A function that says of each new text whether the run predicts its label, within `distance` levels."""
    within("check-distance", distance, 0, len(table.labels) - 1, f"from 0 to {len(table.labels) - 1}")
    if distance and not all(label.isdigit() for label in table.labels):
        raise InputError(
            f"check-distance is {distance}, and the labels {', '.join(table.labels)} are no levels; give 0"
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

    def agrees(found: list[tuple[Slot, str]]) -> list[bool]:
        examples = [Example(str(i), (text,), None, i) for i, (_, text) in enumerate(found)]
        predicted = task.hard(run.example_scores(name, examples))
        places = [table.labels.index(str(label)) for label in predicted]
        gold = [table.labels.index(str(slot.source.label)) for slot, _ in found]
        return (np.abs(np.subtract(places, gold)) <= distance).tolist()

    return agrees


def _labels(made: dict[Slot, str]) -> Counter[str]:
    return Counter(str(slot.source.label) for slot in made)


def _counts(table: TrainingTable, missing: Counter[str], got: Counter[str]) -> dict[str, ClassCount]:
    before = {label: len(table.by_label.get(label, ())) for label in table.labels}
    return {
        label: ClassCount(count, count + got[label], missing[label] - got[label])
        for label, count in before.items()
    }
