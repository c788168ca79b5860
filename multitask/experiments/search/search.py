"""Searches hyperparameters with Optuna, in one process or many; a search can be interrupted and continued."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minbert import InputError
from multitask.config.option_types import within
from multitask.config.task_file import task_file_hash
from multitask.experiments.executor.engine import Engine
from multitask.experiments.executor.job import Job
from multitask.experiments.executor.shared_folder import make_shared_folder, warn_of_network
from multitask.experiments.search.results import SearchResult, collect, metric_name, show, write_results
from multitask.experiments.search.settings import (
    FILE,
    Method,
    Settings,
    build_config,
    read_settings,
    with_length,
)
from multitask.experiments.search.space import Configure, Space
from multitask.experiments.search.storage import (
    JOURNAL,
    Attempts,
    check_storage,
    full_storage,
    import_optuna,
    is_decided,
    open_study,
    retry_lost,
    shown_storage,
)
from multitask.experiments.search.worker import Worker, work
from multitask.runtime.locks import one_writer

POLL_SECONDS = 0.5  # between looks at what the workers have done
Say = Callable[[str], None]


@dataclass(frozen=True)
class Workers:
    """Workers of a search: `engine.jobs` side by side, no new trial after `timeout` seconds.

    `storage` is None for study.db in the search's folder, else a file for SQLite, journal:FILE, or the URL of
    a database that several machines share.
    """

    engine: Engine = Engine()
    timeout: float | None = None
    storage: str | None = None

    def __post_init__(self):
        within("--timeout", self.timeout, 0, float("inf"), "above 0", self.timeout != 0)
        check_storage(self.storage)


def search(
    space: Space,
    out: str | Path,
    method: Method | None = None,
    workers: Workers | None = None,
    configure: Configure = build_config,
    say: Say | None = None,
    command: str = "",
) -> SearchResult:
    """Trains trials over the space into the folder `out`; continues the search that `out` has.

    `configure` makes a configuration of a trial's nested values; weights and data come from it, or from the
    space's base. The folder then has search.json, best.toml, report.html, and the runs in trials/NUMBER;
    only the best few keep their weights. Raises InputError, before anything is trained, for a space of which
    some configuration cannot be built, for weights or data that cannot be read, and where `out` has
    another search.
    """
    import_optuna()
    folder, workers = Path(out), workers or Workers()
    settings = Settings.of(
        space,
        method or Method(),
        configure,
        storage=shown_storage(full_storage(workers.storage)),
        data={},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
    )
    settings = _with_sources(settings)
    if (folder / FILE).is_file():
        settings = replace(settings, created=read_settings(folder).created)
    return _run(settings, folder, workers, say)


def continue_search(
    folder: str | Path,
    trials: int | None = None,
    workers: Workers | None = None,
    say: Say | None = None,
) -> SearchResult:
    """Continues the search in a folder, to `trials` in all where that is given.

    Raises InputError where there is none, and for data files that have changed since it began.
    """
    import_optuna()
    folder, workers = Path(folder), workers or Workers()
    settings = with_length(read_settings(folder), trials)
    if workers.storage is not None and shown_storage(full_storage(workers.storage)) != settings.storage:
        raise InputError(f"the search is kept in {settings.storage or 'its folder'}; give that as --storage")
    return _run(_with_sources(settings), folder, workers, say)


def _with_sources(settings: Settings) -> Settings:
    """Returns the settings with the data files' hashes and absolute paths.

    Raises InputError where the first trial could not begin: no weights, no data, nothing to score.
    """
    from multitask.config.stages import stage_configs
    from multitask.tasks.splits import open_data
    from multitask.training.inputs import load_inputs
    from multitask.training.selection import check_select
    from multitask.training.trainer import check_sources, start_runtime

    settings = replace(settings, base=settings.config().absolute().to_dict())
    config = settings.config()
    check_sources(config)
    last = replace(stage_configs(config)[-1], weights=config.weights, model=config.model)
    device, _ = start_runtime(last)
    with open_data(last.data) as data:
        inputs = load_inputs(last, data, device)
        if not any(inputs.dev.values()):
            raise InputError("no task has a dev split to score; a search compares trials by it")
        check_select(last, inputs)
    return replace(settings, data=inputs.hashes)


def _run(settings: Settings, folder: Path, workers: Workers, say: Say | None) -> SearchResult:
    """Runs trials until none are left; then, or when it is interrupted, writes the results."""
    folder, storage = folder.absolute(), full_storage(workers.storage)
    if workers.engine.address and not (storage or settings.storage or "").startswith((JOURNAL, "postgres")):
        raise InputError("a search on a cluster needs --storage postgresql://... or journal:FILE")
    with one_writer(folder):
        settings.save(folder)
        folder_id = make_shared_folder(folder)
        if workers.engine.name == "processes":
            warn_of_network(folder)
        study = open_study(settings, folder, storage)
        retry_lost(study, settings.trials, folder_id, unnamed=True)
        try:
            with Progress(settings, study, say) as progress:
                until = math.inf if workers.timeout is None else time.time() + workers.timeout
                if workers.engine == Engine():
                    Worker(settings, folder, study, folder_id, None, until, progress.look).run()
                else:
                    task_file = settings.base["task_file"]
                    argument = {"folder": str(folder), "folder_id": folder_id, "storage": storage}
                    argument |= {"task_file": task_file, "task_file_hash": task_file_hash(task_file)}
                    _run_jobs(settings, workers.engine, argument | {"until": until}, progress)
        finally:
            result = collect(study, settings, folder)
            write_results(result)
    return result


def _run_jobs(settings: Settings, engine: Engine, argument: dict[str, Any], progress: "Progress") -> None:
    """Runs the workers as jobs. Raises InputError where one is given up and trials are left."""
    folder, config = argument["folder"], settings.config()
    with engine.executor() as executor:
        threads = config.threads or executor.threads
        running, errors = set(), []
        for number in range(engine.jobs):
            name = f"{argument['folder_id']}/{number}/"
            given = argument | {"name": name, "threads": threads}
            function, log = f"{work.__module__}:{work.__name__}", f"{folder}/logs/worker-{number}.txt"
            executor.submit(Job(name, function, given, threads, config.device in ("auto", "cuda"), log))
            running.add(name)
        while running:
            for name, error in executor.poll().items():
                running.remove(name)
                errors += [error] if error else []
            progress.look()
            time.sleep(POLL_SECONDS)
    if errors and progress.left():
        raise InputError(
            f"{len(errors)} of {engine.jobs} workers ended early ({errors[0]}), {progress.left()} trials are "
            f"left; continue with: multitask search {folder}"
        )


class Progress:
    """A bar of the trials that are done, and a line for each that ends; nothing without `say`."""

    def __init__(self, settings: Settings, study: Any, say: Say | None):
        self.title = settings.title
        self.study = study
        self.say = say or (lambda line: None)
        self.metric = metric_name(settings)
        self.count = settings.trials
        self.shown = {trial.number for trial in self._finished()}
        self.bar = tqdm(total=self.count, unit=" trials", disable=None if say else True)

    def __enter__(self) -> "Progress":
        self.say(f"{self.title}: {self.count} trials, {self.count - self.left()} of them done")
        self.look()
        return self

    def __exit__(self, *error) -> None:
        self.look()
        self.bar.close()

    def look(self) -> None:
        """Reports what is new."""
        for number, trials in enumerate(Attempts(self.study, self.count).by_trial):
            for trial in trials:
                if trial.state.is_finished() and trial.number not in self.shown:
                    self.shown.add(trial.number)
                    self.say(self._line(number, trial))
        trials = self.study.get_trials(deepcopy=False)
        self.bar.n = self.count - self.left()
        values = [trial.value for trial in trials if trial.state.name == "COMPLETE"]
        running = sum(trial.state.name == "RUNNING" for trial in trials)
        best = f", best {max(values):.4f}" if values else ""
        self.bar.set_postfix_str(f"{running} running{best}")

    def left(self) -> int:
        """Counts the trials that are still to be made."""
        return len(Attempts(self.study, self.count).left())

    def _finished(self) -> list[Any]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]

    def _line(self, number: int, trial: Any) -> str:
        at = ", ".join(f"{name} {show(value)}" for name, value in trial.params.items())
        if trial.state.name == "COMPLETE":
            return f"trial {number}: {self.metric} {trial.value:.4f} ({at})"
        if trial.state.name == "PRUNED":
            return f"trial {number}: pruned ({at})"
        reason = trial.user_attrs.get("error") or trial.user_attrs.get("stopped") or "its process ended"
        again = "" if is_decided(trial) else "; it is tried again"
        return f"trial {number}: failed: {reason}{again} ({at})"
