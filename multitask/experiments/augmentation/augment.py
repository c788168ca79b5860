"""Balances the classes of a training file: writes it with new texts for the classes that have fewer rows.

    summary = augment("sst", "DATA", "sst-train-augmented.csv", Paraphrases(endpoint, Path("cache.jsonl")))

Here it is decided which texts are wanted; generators.py makes them, filter.py decides which are kept.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from multitask.config.option_types import within
from multitask.config.task_config import TaskConfig, task_config
from multitask.experiments.augmentation.filter import TextFilter, agreement
from multitask.experiments.augmentation.generators import Generator
from multitask.experiments.augmentation.table import Request, TrainingTable, check_out, summary_path
from multitask.inference.run import Run
from multitask.runtime.tracking import write_json
from multitask.tasks.splits import open_data


@dataclass(frozen=True)
class ClassCount:
    """Rows of a class before and after, and how many of those wanted are missing."""

    before: int
    after: int
    missing: int


@dataclass(frozen=True)
class Summary:
    """The result of `augment`. `rejected` counts texts of all attempts by the reason why they were not kept.

    `stopped` says why the method made no more texts before all were there. `method` has the settings that
    decided the texts: the model, its settings and the prompt's hash, no key.
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
        """Returns plain dictionaries, lists and numbers, for JSON."""
        return asdict(self) | {"added": self.added}


def augment(
    task: str,
    data: str | Path,
    out: str | Path,
    method: Generator,
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
    the summary. Raises InputError for arguments that cannot be used; nothing is written then.
    """
    within("attempts", attempts, 1, float("inf"), "at least 1")
    out = Path(out)
    with opened_table(task, data, config) as table:
        check_out(out, table)
        missing = missing_texts(table, per_class)
        keep = TextFilter(table, method.near, agreement(check, check_distance, table))
        with method.open(table, seed):
            made = _generate(draw_requests(table, missing, seed), method, keep, attempts, quiet)
            spare = draw_requests(table, missing - _labels(made), seed, after=missing)
            made |= _generate(spare, method, keep, attempts, quiet)
            facts, stopped = {"name": method.name} | method.summary(), method.stopped
        got = _labels(made)
        before = {label: len(table.by_label.get(label, ())) for label in table.labels}
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
            classes={
                label: ClassCount(count, count + got[label], missing[label] - got[label])
                for label, count in before.items()
            },
            rejected=dict(keep.rejected.most_common()),
            stopped=stopped,
            method=facts,
            notes=table.notes,
        )
        table.write(out, made, method.mark)
    write_json(summary_path(out), summary.as_dict())
    return summary


@contextmanager
def opened_table(task: str, data: str | Path, config: TaskConfig | None = None):
    """Opens the training table of a task in a data folder."""
    with open_data(data) as folder:
        yield TrainingTable(task, config or task_config(task, {}), folder)


def missing_texts(table: TrainingTable, per_class: int | None) -> Counter[str]:
    """Counts the texts that each class lacks of `per_class`, or of as many as the largest class has."""
    within("per-class", per_class, 1, float("inf"), "at least 1")
    goal = per_class or max(len(rows) for rows in table.by_label.values())
    empty = [label for label in table.labels if not table.by_label.get(label)]
    table.notes += [f"the class {label} has no training row to start from; it stays empty" for label in empty]
    return Counter({label: goal - len(rows) for label, rows in table.by_label.items() if len(rows) < goal})


def draw_requests(
    table: TrainingTable, counts: Counter[str], seed: int, after: Counter[str] | None = None
) -> list[Request]:
    """Draws requests for so many texts of each class: its training rows in random order, again and again.

    `after` says how many requests of each class were drawn before, with the same seed.
    """
    requests = []
    for label in table.labels:
        rows = list(table.by_label.get(label, ()))
        Random(f"{seed} {label}").shuffle(rows)
        first = after[label] if after else 0
        places = range(first, first + counts[label])
        requests += [Request(rows[i % len(rows)], i // len(rows)) for i in places]
    return requests


def _generate(
    requests: Sequence[Request], method: Generator, keep: TextFilter, attempts: int, quiet: bool
) -> dict[Request, str]:
    """Generates texts by request.

    All requests are tried once before the rejected ones are tried again, in the same order: so the texts that
    are kept do not depend on which reply comes first.
    """
    made: dict[Request, str] = {}
    for attempt in range(attempts):
        rest = [request for request in requests if request not in made]
        if not rest or method.stopped:
            break
        name = f"attempt {attempt + 1}"
        with tqdm(total=len(rest), unit=" texts", desc=name, leave=False, disable=quiet or None) as bar:
            texts = method.generate(rest, attempt, bar.update)
        made |= keep(rest, texts)
    return made


def _labels(made: dict[Request, str]) -> Counter[str]:
    return Counter(str(request.source.label) for request in made)
