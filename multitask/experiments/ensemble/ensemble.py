"""Averages the predictions of several runs, which are loaded one after another.

The averaged numbers are ScoredTask.example_scores: they share a scale, whatever the runs' heads,
losses and sizes are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minbert import InputError
from multitask.data.readers import Example, Examples, Reject
from multitask.experiments.ensemble.mixture import cross_validated, fit_weights, mix
from multitask.inference.evaluation import notes_on
from multitask.inference.rows_to_predict import examples_with_text, fill_in, find_fallback
from multitask.inference.run import Run, open_source, read_run_config
from multitask.metrics.scores import overall_scores
from multitask.runtime.locks import one_writer
from multitask.runtime.tracking import write_json
from multitask.tasks.base import ScoredTask
from multitask.tasks.predictions import prediction_path
from multitask.tasks.splits import kept_data, load_split, open_data
from multitask.text_table import aligned_lines

Scores = dict[str, dict[str, float]]  # by task and metric
# Keys of a task that decide its examples, the scale of its example scores, and what these predict; equal in
# all runs.
_EQUAL = (
    *("type", "labels", "label_separator", "low", "high", "threshold"),
    *("dev", "test", "text", "text2", "label"),
)


@dataclass
class Ensemble:
    """The result of an ensemble. All scores are on dev; `weights` has one for each source, by task.

    `fitted` says that weights were fitted on dev, so that `scores` flatter them; `cross_validated` do not.
    """

    sources: list[str]
    method: str
    single: list[Scores]
    scores: Scores
    cross_validated: Scores
    weights: dict[str, list[float]]
    notes: list[str]
    files: list[str] = field(default_factory=list)

    @property
    def fitted(self) -> bool:
        return self.method != "plain"

    def as_dict(self) -> dict[str, Any]:
        """Returns plain values; each group of scores with its overall ones."""
        single = zip(self.sources, self.single, strict=True)
        return {
            "method": self.method,
            "fitted_on_dev": self.fitted,
            "single": [{"source": source, **with_overall(scores)} for source, scores in single],
            "ensemble": with_overall(self.scores),
            "cross_validated": with_overall(self.cross_validated) if self.fitted else None,
            "weights": self.weights,
            "files": self.files,
            "notes": self.notes,
        }


def with_overall(scores: Scores) -> dict[str, Any]:
    return {"scores": scores, "overall": overall_scores(scores)}


@dataclass
class _Split:
    """The rows of a split that a prediction file lists, and the members' predictions for those with text."""

    examples: Examples
    rows: list[Example | Reject]
    with_text: list[Example]
    example_scores: list[np.ndarray] = field(default_factory=list)

    def labelled(self) -> tuple[list[Example], list[np.ndarray]]:
        """Returns the rows with labels, and the members' example scores for them."""
        places = {(example.file, example.line): place for place, example in enumerate(self.with_text)}
        rows = [row for row in self.examples.rows if row.label is not None]
        return rows, [member[[places[row.file, row.line] for row in rows]] for member in self.example_scores]


@dataclass
class _Votes:
    """A task of each source, and the members' predictions for its splits."""

    tasks: list[ScoredTask]
    fallback: Any
    splits: dict[str, _Split]

    @property
    def task(self) -> ScoredTask:
        """The task whose `hard` makes predictions of a mixture.

        Tasks with the loss "ordinal" take the middle level, others the most probable class; a mixture of both
        takes the most probable one, in whichever order the runs are given.
        """
        return next((task for task in self.tasks if task.config.loss != "ordinal"), self.tasks[0])


def ensemble(
    sources: Sequence[str],
    data: str | Path | None = None,
    split: str = "dev",
    tasks: Sequence[str] | None = None,
    method: str = "plain",
    out: str | Path | None = None,
    dialect: str = "code",
    device: str = "auto",
) -> Ensemble:
    """Averages the predictions of runs or checkpoints; writes prediction files of `split` into `out`.

    Without `tasks`, those that all sources have and that give a number for each example. Weights of `method`
    "weighted" and "greedy" (mixture.py) are fitted on the dev split of `data`, by default the first run's.
    Raises InputError for sources whose tasks are not the same, and where a fit has no labels.
    """
    check_sources(sources)
    notes: list[str] = []
    found = data_of(sources[0], data)
    if found is None:
        raise InputError(f"{sources[0]} does not say where its data lie; give --data DIR")
    with open_data(found) as folder:
        votes: dict[str, _Votes] | None = None
        for source in sources:
            votes = _collect(source, votes, folder, split, tasks, device, notes)
        if not votes:
            raise InputError(f"the runs have no task in common to average; {'; '.join(notes)}")
        result = _scored(list(sources), method, votes, notes)
        if out is not None:
            with one_writer(Path(out)):
                files = [_write(votes[name], result, Path(out), split, dialect, folder) for name in votes]
            result.files = [str(path) for path in files if path is not None]
            write_json(Path(out) / "ensemble.json", result.as_dict())
    return result


def check_sources(sources: Sequence[str]) -> None:
    """Raises InputError for fewer than two sources, and for one that is given twice."""
    if len(sources) < 2:
        raise InputError("an ensemble needs two or more folders of runs or checkpoints, and one is given")
    places: set[Path] = set()
    for source in sources:
        if Path(source).resolve() in places:
            raise InputError(f"{source} is given twice; name each run once")
        places.add(Path(source).resolve())


def data_of(source: str, data: str | Path | None) -> str | Path | None:
    """Returns the data as given, else those of the run (its own copy of the bundled corpus), else None."""
    if data is None and (Path(source) / "environment.json").is_file():
        data = read_run_config(Path(source)).data
    return None if data is None else kept_data(data, Path(source))


def _collect(
    source: str,
    votes: dict[str, _Votes] | None,
    folder: Path,
    split: str,
    tasks: Sequence[str] | None,
    device: str,
    notes: list[str],
) -> dict[str, _Votes]:
    """Adds the votes of one more source to those so far; the first one (votes None) decides the tasks."""
    run = open_source(source, tasks, device=device)
    run.require_files(folder)
    found = {}
    for name in tasks or (run.model.tasks if votes is None else votes):
        try:
            task = _votes_on(run, name)
        except InputError as error:
            if tasks is not None:
                raise InputError(f"{source}: {error}") from None
            notes.append(f"left out: {source}: {error}")
            continue
        if votes is None:
            splits = _read_splits(task, folder, split, notes)
            found[name] = _Votes([task], run.fallbacks.get(name), splits)
        else:
            found[name] = votes[name]
            _check_equal(found[name].tasks[0], task, source)
            found[name].tasks.append(task)
        for part in found[name].splits.values():
            part.example_scores.append(run.example_scores(name, part.with_text))
    return found


def _votes_on(run: Run, name: str) -> ScoredTask:
    """Returns a task of a run. Raises InputError for one without numbers to average."""
    task = run.task(name)
    if not task.has_example_scores:
        raise InputError(
            f"{name} (type {task.config.type}) gives no number for each example, so predictions cannot be "
            f"averaged; average the weights: --average weights"
        )
    return task


def _read_splits(task: ScoredTask, folder: Path, split: str, notes: list[str]) -> dict[str, _Split]:
    """Reads dev, and the split to predict."""
    splits = {}
    for name in dict.fromkeys(["dev", split]):
        examples, found = load_split(task, folder, name)
        notes += found
        if examples is not None:
            rows = [row for row in examples.in_file_order() if row.id is not None]
            splits[name] = _Split(examples, rows, examples_with_text(task, rows))
    return splits


def _check_equal(first: ScoredTask, other: ScoredTask, source: str) -> None:
    """Raises InputError, with the first difference, for a task that differs between runs."""
    for key in _EQUAL:
        wanted, found = (
            tuple(getattr(task, "labels", ())) if key == "labels" else getattr(task.config, key)
            for task in (first, other)
        )
        if wanted != found:
            raise InputError(
                f"{source}: {first.name}.{key} is {found!r}, and {wanted!r} in the first run; predictions of "
                f"different tasks cannot be averaged: leave the run out, or the task with --tasks"
            )


def _scored(sources: list[str], method: str, votes: dict[str, _Votes], notes: list[str]) -> Ensemble:
    """Fits weights for each task, and scores on dev."""
    result = Ensemble(sources, method, [{} for _ in sources], {}, {}, {}, notes)
    for name, vote in votes.items():
        task, rows, example_scores = vote.task, [], []
        if "dev" in vote.splits:
            rows, example_scores = vote.splits["dev"].labelled()
        if not rows and method != "plain":
            raise InputError(
                f"{name}: there are no labelled dev examples to fit weights on; take --method plain, or "
                f"leave the task out with --tasks"
            )
        if rows and method != "plain":
            result.cross_validated[name] = cross_validated(method, task, example_scores, rows)
        weights = fit_weights(method, task, example_scores or [np.zeros(0)] * len(sources), rows)
        result.weights[name] = weights.tolist()
        if rows:
            for scores, own, member in zip(result.single, vote.tasks, example_scores, strict=True):
                scores[name] = own.score(own.hard(member), rows)
            predicted = task.hard(mix(example_scores, weights))
            result.scores[name] = task.score(predicted, rows)
            notes += notes_on(name, predicted, [row.label for row in rows], result.scores[name])
    return result


def _write(vote: _Votes, result: Ensemble, out: Path, split: str, dialect: str, folder: Path) -> Path | None:
    """Writes a task's prediction file; None where it has no such split."""
    part, task = vote.splits.get(split), vote.task
    if part is None:
        return None
    mixed = mix(part.example_scores, np.array(result.weights[task.name]))
    predicted = task.hard(mixed) if part.with_text else []
    values, found = fill_in(
        task, part.rows, predicted, part.examples.path, lambda: find_fallback(task, vote.fallback, folder)
    )
    result.notes += found
    path = prediction_path(out, task.format, split, dialect)
    task.write(values, part.rows, path, dialect)
    return path


def score_lines(columns: Iterable[tuple[str, Scores]]) -> list[str]:
    """Formats scores as the lines of a table: a row for each score, a column for each (title, scores)."""
    columns = [(title, scores | {"all": overall_scores(scores)}) for title, scores in columns]
    keys = dict.fromkeys((task, name) for _, scores in columns for task, s in scores.items() for name in s)
    rows = [["task", "score", *(title for title, _ in columns)]]
    for task, name in sorted(keys, key=lambda key: key[0] == "all"):
        values = [scores.get(task, {}).get(name) for _, scores in columns]
        rows.append([task, name, *("" if value is None else f"{value:.4f}" for value in values)])
    return aligned_lines(rows, left=2)
