"""A run to use: weights with their tasks' heads, ready to predict, to score and to write prediction files."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from minbert import (
    ANYTHING,
    TEXT,
    Batch,
    BertModel,
    InputError,
    SentenceModules,
    Tokenizer,
    by_name,
    did_you_mean,
    find_folder,
    load_attention_adapters,
    load_lora,
    optional,
    or_null,
    read_attention_adapters,
    read_json_object,
    read_sentence_folder,
)
from multitask.config.option_types import listed
from multitask.config.run_config import RunConfig
from multitask.config.run_folder import SCORES
from multitask.config.task_config import DEFAULT_TASKS, TaskConfig, task_config
from multitask.config.task_file import load_recorded_task_file, load_task_file
from multitask.data.cache_folder import cache_folder
from multitask.data.given_rows import SPLITS
from multitask.data.readers import Example, Examples, Row
from multitask.data.records import has_files
from multitask.data.token_store import ROWS_AT_ONCE, TokenStore, open_store
from multitask.inference.checkpoint import ADAPTER_FOLDER, read_heads, task_adapters
from multitask.inference.evaluation import predict_examples, score_examples
from multitask.inference.rows_to_predict import fill_in, find_fallback, has_text, rows_to_predict
from multitask.inference.saved_tasks import load_trained_heads, make_tasks, saved_labels
from multitask.metrics.scores import overall_scores
from multitask.model.multitask_model import MultitaskModel
from multitask.runtime.device import find_device
from multitask.runtime.locks import one_writer
from multitask.runtime.precision import Precision
from multitask.runtime.process_group import ProcessGroup
from multitask.tasks.base import ScoredTask
from multitask.tasks.predictions import prediction_path
from multitask.tasks.probabilities import probability_path, write_probabilities
from multitask.tasks.splits import (
    check_rejected,
    kept_data,
    load_split,
    missing_split,
    open_data,
    tokenize_split,
)


@dataclass
class Evaluation:
    """Scores by task, both overall scores where all three course tasks are there, and what was left out."""

    scores: dict[str, dict[str, float]]
    notes: list[str] = field(default_factory=list)

    @property
    def overall(self) -> dict[str, float]:
        return overall_scores(self.scores)

    def as_dict(self) -> dict[str, Any]:
        return {"scores": self.scores, "overall": self.overall, "notes": self.notes}


@dataclass(eq=False)
class Run:
    """Weights with tasks. `trained` names the tasks whose heads come from the weights or need no training.

    Under torchrun the processes of `group` share predictions and scores; rank 0 writes.
    """

    model: MultitaskModel
    tokenizer: Tokenizer
    fallbacks: Mapping[str, Any] = field(default_factory=dict)
    trained: tuple[str, ...] = ()
    config: RunConfig = field(default_factory=RunConfig)
    folder: Path | None = None
    scores: Mapping[str, Any] = field(default_factory=dict)
    group: ProcessGroup = field(default_factory=ProcessGroup)

    def task(self, name: str) -> ScoredTask:
        """Returns a task that is ready to predict. Raises InputError for another name."""
        if name not in self.model.tasks:
            known = ", ".join(self.model.tasks)
            raise InputError(
                f"the run has no task {name!r}{did_you_mean(name, self.model.tasks)}; it has {known}"
            )
        if name not in self.trained:
            raise InputError(
                f"the head of {name} is not trained: these weights hold none; run `multitask train` first"
            )
        if not self.model.tasks[name].scored:
            raise InputError(f"{name} can be trained, but predicts nothing that could be scored or written")
        return self.model.tasks[name]

    def predict(self, task: str, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Any]:
        """Returns one prediction a text (with its pair, for pair tasks), in their order."""
        examples = self.examples(task, texts, pairs)
        return self.predict_rows(task, examples) if examples else []

    def predict_proba(
        self, task: str, texts: Sequence[str], pairs: Sequence[str] | None = None
    ) -> np.ndarray:
        """Returns the probability of each of `task(name).classes`, (N, C) in float64, a row a text or pair.

        Rows sum to 1; those of a multi-label task do not, whose labels have a probability each. Raises
        InputError for a task that predicts no classes.
        """
        [name] = self._with_classes([task], None)
        return self.task(name).probabilities(self.example_scores(name, self.examples(name, texts, pairs)))

    def examples(self, task: str, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Example]:
        """Returns texts as a task's examples. Raises InputError for pairs where it takes none, and so on."""
        kind = self.task(task)
        if isinstance(texts, str) or isinstance(pairs, str):
            raise InputError(
                f"{'texts' if isinstance(texts, str) else 'pairs'} is one string; give a list of texts"
            )
        if (pairs is None) != (kind.config.text2 is None):
            wants = "one text" if kind.config.text2 is None else "pairs of texts"
            raise InputError(f"{task} takes {wants} an example")
        if pairs is not None and len(pairs) != len(texts):
            raise InputError(f"{len(texts)} texts and {len(pairs)} pairs; give one pair for each text")
        sides = [texts] if pairs is None else [texts, pairs]
        return [Example(str(i), text, None, i + 1) for i, text in enumerate(zip(*sides, strict=True))]

    def example_scores(self, task: str, examples: Sequence[Example]) -> np.ndarray:
        """Returns (N, ...) in float64, see ScoredTask.example_scores; InputError for a task that has none."""
        results = _example_scores(self.task(task))
        return _stacked(self.predict_rows(task, examples, results=results) if examples else [])

    def predict_rows(
        self, task: str, examples: Sequence[Example], advance=lambda count: None, results=None
    ) -> list[Any]:
        """Returns a prediction for each example; see `predict_examples`."""
        tokenize, budget = self.model.tasks[task].tokenize, self.config.eval.batch_tokens
        if len(examples) <= ROWS_AT_ONCE:
            tokenized = tokenize(self.tokenizer, examples)
        else:
            tokenized = open_store(Examples("", examples), tokenize, self.tokenizer)
        return predict_examples(self.model, task, tokenized, budget, advance, results, self.group)

    def evaluate(
        self, data: str | Path | None = None, split: str = "dev", tasks: Sequence[str] | None = None
    ) -> Evaluation:
        """Computes the scores on a split; without `tasks`, those that have none are left out, with a note."""
        notes, tokenized = [], {}
        with self.data_folder(data) as folder:
            for name in listed("tasks", tasks or [*self.model.tasks]):
                try:
                    task = self.task(name)
                except InputError as error:
                    if tasks is not None:
                        raise
                    notes.append(f"left out: {error}")
                    continue
                if missing := missing_split(task, folder, split):
                    notes.append(missing)
                    continue
                examples = task.load(folder, split)
                if not examples.labelled:
                    notes += load_split(task, folder, split)[1]
                    notes.append(f"{name}: {examples.path} has no labels to score by")
                    continue
                store, note = self._tokenize(task, examples, split, self.config.limit)
                notes += note
                check_rejected(task, examples.path, store.rejected, self.config.max_rejected)
                if len(store):
                    tokenized[name] = store
                else:
                    notes.append(f"{name}: {examples.path} has no usable row to score")
        total = sum(map(len, tokenized.values()))
        with tqdm(total=total, unit=" examples", desc="evaluate", leave=False, disable=self._hidden) as bar:
            budget = self.config.eval.batch_tokens
            scores, odd = score_examples(self.model, tokenized, budget, bar.update, self.group)
        return Evaluation(scores, [*notes, *odd])

    def require_files(self, folder: Path) -> None:
        """Raises InputError for a folder that has no split of any of the tasks."""
        files = [file for task in self.model.tasks.values() for name in SPLITS if (file := task.file(name))]
        if files and not any(has_files(folder / file) for file in files):
            raise InputError(
                f"{folder} has no file of the tasks, such as {files[0]}; give --data the folder with them"
            )

    def _tokenize(
        self, task: ScoredTask, examples: Examples, split: str, limit: int | None = None
    ) -> tuple[TokenStore, list[str]]:
        cache = cache_folder(self.config.data_cache)
        return tokenize_split(task, examples, split, self.tokenizer, cache, limit)

    def write_predictions(
        self,
        out: str | Path,
        data: str | Path | None = None,
        split: str = "dev",
        tasks: Sequence[str] | None = None,
        file_format: str = "code",
        probabilities: bool = False,
    ) -> tuple[list[Path], list[str]]:
        """Writes a prediction file a task, a row for each id of the input file; -> (files, notes).

        A rejected row that has text is predicted all the same; one without gets the training split's majority
        or mean, and a note says so. With `probabilities` a file of these is beside it, whose cells are empty
        in a row without text; a task of `tasks` that predicts no classes raises InputError then, and so does
        a folder to which another process writes.
        """
        names = tasks or [name for name in self.trained if self.model.tasks[name].scored]
        files, notes = [], []
        others = [name for name, task in self.model.tasks.items() if task.scored and name not in names]
        if others and not tasks:
            notes.append(f"left out: these weights hold no trained head of {', '.join(others)}")
        soft = self._with_classes(names, notes if tasks is None else None) if probabilities else []
        with self.data_folder(data) as folder, one_writer(Path(out)):
            for name in listed("tasks", names):
                task = self.task(name)
                examples, note = load_split(task, folder, split)
                notes += note
                if examples is None:
                    continue
                rows, with_text = rows_to_predict(task, examples)
                values, shares, note = self._predict_split(task, rows, with_text, split, folder, name in soft)
                notes += note
                path = prediction_path(out, task.format, split, file_format)
                if self.group.is_main:
                    task.write(values, rows, path, file_format)
                files.append(path)
                if shares is not None:
                    path = probability_path(out, task.format, split)
                    if self.group.is_main:
                        write_probabilities(path, (row.id for row in rows), task.classes, shares)
                    files.append(path)
        return files, notes

    def _with_classes(self, names: Sequence[str], notes: list[str] | None) -> list[str]:
        """Returns the tasks that predict classes; notes say why others do not, without notes InputError."""
        found = []
        for name in names:
            try:
                _ = self.task(name).classes
                found.append(name)
            except InputError as error:
                if notes is None:
                    raise
                notes.append(str(error))
        return found

    def _predict_split(
        self, task: ScoredTask, rows: Sequence[Row], with_text: Examples, split: str, folder: Path, soft: bool
    ) -> tuple[list[Any], np.ndarray | None, list[str]]:
        """Returns a prediction for each row of a split, rejects included, and notes on those without text.

        Between them, with `soft`, the probabilities (N, C), NaN for rows without text.
        """
        store, _ = self._tokenize(task, with_text, f"{split}, to predict")
        budget, group = self.config.eval.batch_tokens, self.group
        results, shares = _example_scores(task) if soft else None, None
        with tqdm(total=len(store), unit=" rows", desc=task.name, leave=False, disable=self._hidden) as bar:
            found = predict_examples(self.model, task.name, store, budget, bar.update, results, group)
        if soft:
            scores, complete = _stacked(found), [has_text(task, row) for row in rows]
            shares = np.full((len(complete), len(task.classes)), np.nan)
            shares[complete] = task.probabilities(scores)
            found = task.hard(scores) if found else []
        saved = self.fallbacks.get(task.name)
        values, notes = fill_in(task, rows, found, with_text.path, lambda: find_fallback(task, saved, folder))
        return values, shares, notes

    @property
    def _hidden(self) -> bool | None:
        """Whether bars are not shown; None: on a terminal they are."""
        return None if self.group.is_main else True

    @contextmanager
    def data_folder(self, data: str | Path | None):
        """Yields the folder with the data: as given, else that of the run."""
        data = self.config.data if data is None else data
        if data is None:
            raise InputError("no data folder; give --data DIR, or --data sample for the bundled corpus")
        with open_data(kept_data(data, self.folder) if self.folder else data) as folder:
            self.require_files(folder)
            yield folder


def _example_scores(task: ScoredTask) -> Callable[[Tensor, Batch], np.ndarray]:
    """Returns the function that makes a task's example scores, in float64, of the outputs of a batch."""
    return lambda outputs, inputs: task.example_scores(outputs.cpu().double()).numpy()


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(rows) if rows else np.zeros(0)


def load_run(
    folder: str | Path,
    device: str = "auto",
    precision: str = "auto",
    task_file: str | Path | None = None,
    trust: bool = False,
) -> Run:
    """Loads the best checkpoint of a run's folder; see `read_run_config` for `task_file` and `trust`.

    Raises InputError for another folder.
    """
    return load_best(Path(folder), read_run_config(Path(folder), task_file, trust), device, precision)


def load_best(folder: Path, config: RunConfig, device: str = "auto", precision: str = "auto") -> Run:
    """Loads the best checkpoint of a run's folder, whose configuration has been read."""
    if not (folder / "best" / "heads.json").is_file():
        raise InputError(
            f"{folder} has no best/ yet; let the run reach its first evaluation, or use {folder}/last"
        )
    run = load_weights(folder / "best", None, device, precision, config)
    run.folder = folder
    run.scores = read_scores_file(folder)
    return run


def read_scores_file(folder: Path) -> dict[str, Any]:
    """Reads the scores.json of a run's folder; empty for a run that is not finished."""
    path = folder / "scores.json"
    return read_json_object(path, SCORES, "delete it, predictions do not need it") if path.exists() else {}


def load_weights(
    weights: str | Path,
    tasks: Mapping[str, TaskConfig] | None = None,
    device: str = "auto",
    precision: str = "auto",
    config: RunConfig | None = None,
) -> Run:
    """Loads pretrained weights or a checkpoint with the given tasks, else its own, else the course's."""
    folder = find_folder(weights)
    saved = read_heads(folder)
    if tasks is None:
        tasks = {name: task_config(name, entry["config"]) for name, entry in saved.items()}
        tasks = tasks or {name: task_config(name, {}) for name in DEFAULT_TASKS}
    chosen = find_device(device)
    adapters = task_adapters(folder)
    encoder = BertModel.from_pretrained(folder, adapter="none")
    if read_attention_adapters(folder).kinds:
        load_attention_adapters(encoder, folder)
    for name in adapters:
        load_lora(encoder, folder / ADAPTER_FOLDER / name, name)
    made = make_tasks(tasks, encoder.config, saved_labels(folder))
    model = MultitaskModel(encoder, made, Precision(precision, chosen).autocast)
    trained = load_trained_heads(model, folder)
    fallbacks = {name: entry.get("fallback") for name, entry in saved.items()}
    config = (
        replace(config, tasks=dict(tasks)) if config else RunConfig(weights=str(weights), tasks=dict(tasks))
    )
    tokenizer = Tokenizer.from_pretrained(folder)
    tokenizer.check_embeddings(encoder.config.vocab_size)
    group = ProcessGroup.start(chosen)
    return Run(model.to(chosen).eval(), tokenizer, fallbacks, trained, config, group=group)


_RUN = {"task_file": optional(or_null(TEXT)), "tasks": optional(by_name(by_name(ANYTHING)))}


def read_run_config(folder: Path, task_file: str | Path | None = None, trust: bool = False) -> RunConfig:
    """Reads the configuration of a run's folder, and runs the file that registers its kinds of tasks.

    That is `task_file`, else the one that the folder names, if this user trained with it or has `trust` in
    the folder. Raises InputError for another folder, and for a file that may not run.
    """
    path = folder / "config.json"
    values = read_json_object(path, _RUN, "take it from another copy of the run") if path.is_file() else {}
    if "tasks" not in values:
        raise InputError(f"{folder} is not the folder of a run; {_not_a_run(folder)}")
    if task_file is not None:
        load_task_file(task_file)
        values["task_file"] = str(Path(task_file).resolve())
    else:
        load_recorded_task_file(values.get("task_file"), path, trust)
    return RunConfig.from_dict(values)


def _not_a_run(folder: Path) -> str:
    """Returns what a folder without a run is, and what to do."""
    wanted = "give the folder that `multitask train --out` made"
    if not folder.is_dir():
        beside = folder.parent
        runs = [path.parent.name for path in beside.glob("*/environment.json")] if beside.is_dir() else []
        kind = "is a file" if folder.exists() else "does not exist"
        return f"it {kind}; {wanted}{did_you_mean(folder.name, runs)}"
    if (folder.parent / "environment.json").is_file():
        return f"it is in that of the run {folder.parent}; give that one"
    if (folder / "config.json").is_file():
        return f"it holds weights, from which `multitask train --weights {folder} --out RUN` begins one"
    return wanted


def evaluate(
    source: str | Path, data: str | Path | None = None, split: str = "dev", tasks: Sequence[str] | None = None
) -> Evaluation:
    """Computes the scores of a run's folder, a checkpoint or pretrained weights on a split."""
    return open_source(source, tasks).evaluate(data, split, tasks)


def open_source(
    source: str | Path,
    tasks: Sequence[str] | None = None,
    task_file: str | Path | None = None,
    trust: bool = False,
    **options: str,
) -> Run:
    """Loads a run's folder, or any weights, for the named tasks; see `load_run`."""
    if (Path(source) / "environment.json").is_file():  # a run's folder, though it may hold no best/ yet
        return load_run(source, task_file=task_file, trust=trust, **options)
    load_task_file(task_file)
    folder = find_folder(source)
    saved = read_heads(folder)
    names = None if tasks is None else dict.fromkeys([*saved, *tasks])
    named = None if names is None else {name: _task_for(name, folder, saved) for name in names}
    return load_weights(source, named, **options)


def _task_for(name: str, folder: Path, saved: Mapping[str, Mapping[str, Any]]) -> TaskConfig:
    """Returns a task as the checkpoint has it; one that it has not pools as its sentences are pooled."""
    if name in saved:
        return task_config(name, saved[name]["config"])
    if not saved or not (folder / "modules.json").is_file():
        return task_config(name, {})
    modules = read_sentence_folder(folder).modules
    pooling, normalization = modules.pooling.modes[0], modules.normalization
    if modules.describe() != SentenceModules.of(modules.pooling.size, pooling, normalization).describe():
        raise InputError(
            f"modules.json of {folder} asks for {', '.join(modules.describe())}, and a task has one pooling "
            f"and a normalisation; take another folder"
        )
    return task_config(name, {"pooling": pooling, "normalize": normalization})
