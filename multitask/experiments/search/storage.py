"""Opens the storage of a search: Optuna's study with its sampler and pruner, and claims on trial slots.

Slots are claimed in the same PostgreSQL database, or in a folder beside a SQLite or journal file. Optuna's
own queue and heartbeat cannot replace that: on SQLite two processes can take the same queued trial, a journal
has no heartbeat, and a trial whose process was killed would count as running for a whole grace period.
"""

import hashlib
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from minbert import InputError
from multitask.experiments.claims import Claims, database_url, open_claims, without_password
from multitask.experiments.search.settings import Settings, TrialSlot
from multitask.experiments.search.space import Parameter, Point, label

JOURNAL = "journal:"
STUDY_FILE = "study.db"
STARTUP_TRIALS = 5  # complete ones, before the median prunes
LOCK_SECONDS = 60  # that a process waits for SQLite's lock


class StudyHandle(NamedTuple):
    """An open storage: Optuna's study, and the claims on its trial slots."""

    study: Any
    claims: Claims

    def trials(self) -> list[Any]:
        return self.study.get_trials(deepcopy=False)


def check_storage(storage: str | None) -> None:
    """Raises InputError for a storage that is a folder, or whose password could not be hidden."""
    if storage is None or storage.startswith(JOURNAL):
        return
    if "password=" in storage.partition("?")[2]:
        raise InputError(
            "--storage has its password after the question mark; write USER:PASSWORD@HOST instead"
        )
    if "://" not in storage and Path(storage).is_dir():
        raise InputError(f"--storage {storage} is a folder; give a file, journal:FILE or a database's URL")


def full_storage(storage: str | None) -> str | None:
    """Returns the storage with an absolute path, for processes in other working folders."""
    if storage is None or "://" in storage:
        return storage
    prefix = JOURNAL if storage.startswith(JOURNAL) else ""
    return f"{prefix}{Path(storage.removeprefix(prefix)).absolute()}"


def shown_storage(storage: str | None) -> str | None:
    """Returns the storage without a password."""
    return without_password(storage) if storage and "://" in storage else storage


def open_study(settings: Settings, folder: Path, storage: str | None = None) -> StudyHandle:
    """Opens the search's study, or creates it. `storage` is the one with the password.

    Raises InputError for a storage that cannot be opened.
    """
    optuna = import_optuna()
    check_storage(storage)
    location = storage or settings.storage or str(folder / STUDY_FILE)
    if location.startswith(JOURNAL):
        path = Path(location.removeprefix(JOURNAL))
        claims = open_claims(path.with_name(f"{path.name}.claims"))
    else:
        url = location if "://" in location else f"sqlite:///{Path(location).absolute()}"
        if url.startswith("sqlite:") and "?" not in url:
            url += f"?timeout={LOCK_SECONDS}"
        try:
            claims = open_claims(url)
        except InputError as error:
            password = "; give --storage with its password" if storage is None and "@" in url else ""
            raise InputError(f"{error}{password}") from None
    with _alone(claims, f"{settings.study} study"), quiet_optuna():
        try:
            if location.startswith(JOURNAL):
                backend = optuna.storages.journal.JournalFileBackend(str(path))
                opened = optuna.storages.JournalStorage(backend)
            else:
                from sqlalchemy.pool import NullPool  # a worker that trains holds no connection

                opened = optuna.storages.RDBStorage(database_url(url), {"poolclass": NullPool})
            study = optuna.create_study(
                storage=opened,
                study_name=settings.study,
                direction="maximize",
                load_if_exists=True,
                pruner=_pruner(settings.pruner),
            )
        except (RuntimeError, optuna.exceptions.OptunaError) as error:  # of another version of Optuna
            reason = str(error).splitlines()[0]
            raise InputError(f"storage {shown_storage(location)} cannot be used: {reason}") from None
    return StudyHandle(study, claims)


def import_optuna() -> Any:
    """Returns the package. Raises InputError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise InputError('a search needs Optuna; pip install "minbert[experiments]"') from None
    return optuna


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Silences Optuna's messages and warnings of experimental features."""
    optuna = import_optuna()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def ask(handle: StudyHandle, settings: Settings, slot: TrialSlot, fixed: dict[str, Any] | None) -> Any:
    """Creates a trial for a slot at the study's parameters `fixed`, or at those that the sampler chooses.

    Each slot's sampler has its own seed: the points of a random search do not depend on who takes which slot,
    and no two workers propose the same point.
    """
    optuna = import_optuna()
    text = f"{settings.sampler_seed} {slot.number}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    with quiet_optuna():
        if settings.sampler == "tpe":
            sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        else:
            sampler = optuna.samplers.RandomSampler(seed=seed)
        if fixed is not None:
            sampler = optuna.samplers.PartialFixedSampler(fixed, sampler)
        handle.study.sampler = sampler
        trial = handle.study.ask(
            {parameter.name: _distribution(parameter) for parameter in settings.parameters}
        )
    trial.set_user_attr("turn", slot.key)
    return trial


def to_point(settings: Settings, parameters: dict[str, Any]) -> Point:
    """Converts a trial's parameters in the study to values of the configuration."""
    point = {}
    for parameter in settings.parameters:
        value = parameters[parameter.name]
        if parameter.kind == "choice":
            value = next(choice for choice in parameter.ends() if label(choice) == value)
        point[parameter.name] = value
    return point


def from_point(point: Point) -> dict[str, Any]:
    """Converts values of the configuration to a trial's parameters in the study."""
    return {name: label(value) for name, value in point.items()}


def _distribution(parameter: Parameter) -> Any:
    distributions = import_optuna().distributions
    if parameter.kind == "choice":
        return distributions.CategoricalDistribution([label(choice) for choice in parameter.ends()])
    if parameter.kind == "int":
        step = parameter.step or 1
        return distributions.IntDistribution(parameter.low, parameter.high, parameter.log, step)
    return distributions.FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step)


def _pruner(name: str) -> Any:
    """Pruners compare trials after the same number of evaluations, whatever the batch size."""
    pruners = import_optuna().pruners
    if name == "median":
        return pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
    classes = {"none": "NopPruner", "halving": "SuccessiveHalvingPruner", "hyperband": "HyperbandPruner"}
    return getattr(pruners, classes[name])()


@contextmanager
def _alone(claims: Claims, key: str) -> Iterator[None]:
    """Lets one process in at a time, because tables and studies are not created atomically."""
    key = hashlib.sha256(key.encode()).hexdigest()[:32]
    while (claim := claims.claim(key)) is None:
        time.sleep(0.05)
    with claim:
        yield
