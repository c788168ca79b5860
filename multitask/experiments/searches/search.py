"""search: hyperparameters by Optuna, by one process or many, interrupted and continued as one likes."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minbert import InputError
from multitask.config.option_types import within
from multitask.experiments.processes import available_cores, start_process
from multitask.experiments.searches.results import SearchResult, collect, metric_name, show, write_results
from multitask.experiments.searches.settings import (
    FILE,
    Method,
    Settings,
    build_config,
    read_settings,
    with_length,
)
from multitask.experiments.searches.space import Configure, Space
from multitask.experiments.searches.storage import (
    Kept,
    check_storage,
    full_storage,
    import_optuna,
    open_kept,
    shown_storage,
)
from multitask.experiments.searches.worker import Worker, is_decided

POLL_SECONDS = 0.5  # between looks at what the workers have done
Say = Callable[[str], None]


@dataclass(frozen=True)
class Workers:
    """How a search runs: `jobs` processes side by side, no new trial after `timeout` seconds.

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
    say: Say = lambda line: None,
    quiet: bool = True,
    command: str = "",
) -> SearchResult:
    """Trains trials over the space into the folder `out`; continues the search where `out` holds it.

    `configure` makes a configuration of a trial's nested values; weights and data come from it, or from the
    space's base. The folder then holds search.json, best.toml, report.html, and the runs in trials/NUMBER;
    only the best few keep their weights. Raises InputError, before anything is trained, for a space of which
    some configuration cannot be built, for weights or data that cannot be read, and where `out` holds
    another search.
    """
    import_optuna()
    folder, method, workers = Path(out), method or Method(), workers or Workers()
    facts = {
        "storage": shown_storage(full_storage(workers.storage)),
        "data": {},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
    }
    settings = Settings.of(space, method, configure, **facts)
    settings = _with_sources(settings)
    if (folder / FILE).is_file():
        settings = replace(settings, created=read_settings(folder).created)
    settings.save(folder)
    return _run(settings, folder, workers, say, quiet)


def continue_search(
    folder: str | Path,
    trials: int | None = None,
    workers: Workers | None = None,
    say: Say = lambda line: None,
    quiet: bool = True,
) -> SearchResult:
    """Continues the search in a folder, to `trials` in all where that is given.

    Raises InputError where there is none, and for data files that have changed since it began.
    """
    import_optuna()
    folder, workers = Path(folder), workers or Workers()
    settings = with_length(read_settings(folder), trials)
    if workers.storage is not None and shown_storage(full_storage(workers.storage)) != settings.storage:
        raise InputError(f"the search is kept in {settings.storage or 'its folder'}; give that as --storage")
    settings = _with_sources(settings)
    settings.save(folder)
    return _run(settings, folder, workers, say, quiet)


def _with_sources(settings: Settings) -> Settings:
    """The settings with the data files' hashes, and paths that hold in any working folder.

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


def _run(settings: Settings, folder: Path, workers: Workers, say: Say, quiet: bool) -> SearchResult:
    """Works, or has processes work, until no turn is left; then writes what was found."""
    storage = full_storage(workers.storage)
    kept = open_kept(settings, folder, storage)
    with _written(kept, settings, folder), Watch(settings, kept, say, quiet) as watch:
        if workers.jobs == 1:
            Worker(settings, folder, kept, timeout=workers.timeout, look=watch.look).run()
        else:
            _run_processes(folder, workers, storage, watch)
    return collect(kept, settings, folder)


@contextmanager
def _written(kept: Kept, settings: Settings, folder: Path) -> Iterator[None]:
    """Writes the results at the end, of a search that was interrupted too."""
    try:
        yield
    finally:
        write_results(collect(kept, settings, folder))


def _run_processes(folder: Path, workers: Workers, storage: str | None, watch: "Watch") -> None:
    """Worker processes side by side, each with its share of the cores; none is started anew.

    Raises InputError where one ends with an error and the others have not done its work.
    """
    threads = max(1, available_cores() // workers.jobs)
    job = {"folder": str(folder), "storage": storage, "threads": threads, "timeout": workers.timeout}
    module = "multitask.experiments.searches.worker"
    processes = [start_process(module, job, threads, subprocess.DEVNULL) for _ in range(workers.jobs)]
    try:
        while any(process.poll() is None for process in processes):
            watch.look()
            time.sleep(POLL_SECONDS)
    finally:
        for process in processes:  # after Ctrl-C: they end as with a Ctrl-C of their own
            process.stdin.close()
        for process in processes:
            process.wait()
        watch.look()
    failed = [process.returncode for process in processes if process.returncode]
    if failed and watch.left():
        raise InputError(
            f"{len(failed)} of {workers.jobs} worker processes ended early (status {failed[0]}), "
            f"{watch.left()} trials are left; continue with: multitask search {folder}"
        )


class Watch:
    """A bar of the trials that are done, and a line for each that ends, whoever has trained it."""

    def __init__(self, settings: Settings, kept: Kept, say: Say, quiet: bool):
        self.settings = settings
        self.kept = kept
        self.say = say
        self.metric = metric_name(settings)
        self.keys = [turn.key for turn in settings.turns()]
        self.shown = {trial.number for trial in self._trials() if trial.state.is_finished()}
        self.bar = tqdm(total=len(self.keys), unit=" trials", disable=True if quiet else None)

    def __enter__(self) -> "Watch":
        left = self.left()
        self.say(f"{self.settings.title}: {len(self.keys)} trials, {len(self.keys) - left} of them done")
        self.look()
        return self

    def __exit__(self, *error) -> None:
        self.look()
        self.bar.close()

    def look(self) -> None:
        """Says what is new."""
        trials = self._trials()
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
        """How many trials are still to be made."""
        return len(self.keys) - len(self.kept.claims.results(self.keys))

    def _line(self, trial: Any) -> str:
        at = ", ".join(f"{name} {show(value)}" for name, value in trial.params.items())
        state = trial.state.name
        if state == "COMPLETE":
            return f"trial {trial.number}: {self.metric} {trial.value:.4f} ({at})"
        if state == "PRUNED":
            return f"trial {trial.number}: pruned ({at})"
        attributes = trial.user_attrs
        reason = attributes.get("error") or attributes.get("stopped") or "its process ended"
        again = "" if is_decided(trial) else "; it is tried again"
        return f"trial {trial.number}: failed: {reason}{again} ({at})"

    def _trials(self) -> list[Any]:
        return self.kept.study.get_trials(deepcopy=False)
