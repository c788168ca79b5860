"""Searches hyperparameters with Optuna, in one process or many; a search can be interrupted and continued."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minbert import InputError
from multitask.config.option_types import within
from multitask.experiments.processes import available_cores, start_process
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
    StudyHandle,
    check_storage,
    full_storage,
    import_optuna,
    open_study,
    shown_storage,
)
from multitask.experiments.search.worker import Worker, is_decided

POLL_SECONDS = 0.5  # between looks at what the workers have done
Say = Callable[[str], None]


@dataclass(frozen=True)
class Workers:
    """Workers of a search: `jobs` processes side by side, no new trial after `timeout` seconds.

    `storage` is None for study.db in the search's folder, else a file for SQLite, journal:FILE, or the URL of
    a database that several machines share.
    """

    jobs: int = 1
    timeout: float | None = None
    storage: str | None = None

    def __post_init__(self):
        within("--jobs", self.jobs, 1, float("inf"), "at least 1")
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

    base = dict(settings.base)
    for key in ("weights", "data", "task_file"):
        if base[key] is not None and Path(base[key]).exists():
            base[key] = str(Path(base[key]).absolute())
    settings = replace(settings, base=base)
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
    """Runs trials until no slot is left; then, or when it is interrupted, writes the results."""
    settings.save(folder)
    storage = full_storage(workers.storage)
    handle = open_study(settings, folder, storage)
    try:
        with Progress(settings, handle, say) as progress:
            if workers.jobs == 1:
                Worker(settings, folder, handle, timeout=workers.timeout, look=progress.look).run()
            else:
                _run_processes(folder, workers, storage, progress)
    finally:
        result = collect(handle, settings, folder)
        write_results(result)
    return result


def _run_processes(folder: Path, workers: Workers, storage: str | None, progress: "Progress") -> None:
    """Runs worker processes, each with its share of the cores; none is started anew.

    Raises InputError where one ends with an error and the others have not done its work.
    """
    threads = max(1, available_cores() // workers.jobs)
    job = {"folder": str(folder), "storage": storage, "threads": threads, "timeout": workers.timeout}
    module = "multitask.experiments.search.worker"
    processes = [start_process(module, job, threads, subprocess.DEVNULL) for _ in range(workers.jobs)]
    try:
        while any(process.poll() is None for process in processes):
            progress.look()
            time.sleep(POLL_SECONDS)
    finally:
        for process in processes:  # after Ctrl-C: they end as with a Ctrl-C of their own
            process.stdin.close()
        for process in processes:
            process.wait()
        progress.look()
    failed = [process.returncode for process in processes if process.returncode]
    if failed and progress.left():
        raise InputError(
            f"{len(failed)} of {workers.jobs} worker processes ended early (status {failed[0]}), "
            f"{progress.left()} trials are left; continue with: multitask search {folder}"
        )


class Progress:
    """A bar of the trials that are done, and a line for each that ends; nothing without `say`."""

    def __init__(self, settings: Settings, handle: StudyHandle, say: Say | None):
        self.title = settings.title
        self.handle = handle
        self.say = say or (lambda line: None)
        self.metric = metric_name(settings)
        self.keys = [slot.key for slot in settings.slots()]
        self.shown = {trial.number for trial in handle.trials() if trial.state.is_finished()}
        self.bar = tqdm(total=len(self.keys), unit=" trials", disable=None if say else True)

    def __enter__(self) -> "Progress":
        self.say(f"{self.title}: {len(self.keys)} trials, {len(self.keys) - self.left()} of them done")
        self.look()
        return self

    def __exit__(self, *error) -> None:
        self.look()
        self.bar.close()

    def look(self) -> None:
        """Reports what is new."""
        trials = self.handle.trials()
        for trial in trials:
            if trial.state.is_finished() and trial.number not in self.shown:
                self.shown.add(trial.number)
                self.say(self._line(trial))
        self.bar.n = len(self.keys) - self.left()
        values = [trial.value for trial in trials if trial.state.name == "COMPLETE"]
        running = sum(trial.state.name == "RUNNING" for trial in trials)
        best = f", best {max(values):.4f}" if values else ""
        self.bar.set_postfix_str(f"{running} running{best}")

    def left(self) -> int:
        """Counts the trials that are still to be made."""
        return len(self.keys) - len(self.handle.claims.results(self.keys))

    def _line(self, trial: Any) -> str:
        at = ", ".join(f"{name} {show(value)}" for name, value in trial.params.items())
        if trial.state.name == "COMPLETE":
            return f"trial {trial.number}: {self.metric} {trial.value:.4f} ({at})"
        if trial.state.name == "PRUNED":
            return f"trial {trial.number}: pruned ({at})"
        reason = trial.user_attrs.get("error") or trial.user_attrs.get("stopped") or "its process ended"
        again = "" if is_decided(trial) else "; it is tried again"
        return f"trial {trial.number}: failed: {reason}{again} ({at})"
