"""Where a search's trials are kept, and the parts of Optuna that it uses: study, sampler, pruner.

Turns are claimed in the same PostgreSQL database, or in a folder beside a SQLite or journal file: a claim
ends with its process, while Optuna's own heartbeat only waits, and a journal has none.
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
from multitask.experiments.searches.settings import Settings, Turn
from multitask.experiments.searches.space import Parameter, Point, label

JOURNAL = "journal:"
STUDY_FILE = "study.db"
STARTUP_TRIALS = 5  # complete ones, before the median prunes
LOCK_SECONDS = 60  # that a process waits for SQLite's lock


class Kept(NamedTuple):
    """An open storage: Optuna's study, and the claims on its turns."""

    study: Any
    claims: Claims


def check_storage(storage: str | None) -> None:
    """Raises InputError for a storage that cannot be meant, or whose password could not be hidden."""
    if storage is None or storage.startswith(JOURNAL):
        return
    if "password=" in storage.partition("?")[2]:
        raise InputError(
            "--storage has its password after the question mark; write USER:PASSWORD@HOST instead"
        )
    if "://" not in storage and Path(storage).is_dir():
        raise InputError(f"--storage {storage} is a folder; give a file, journal:FILE or a database's URL")


def full_storage(storage: str | None) -> str | None:
    """The storage as processes in other working folders find it."""
    if storage is None or "://" in storage:
        return storage
    prefix, path = (JOURNAL, storage.removeprefix(JOURNAL)) if storage.startswith(JOURNAL) else ("", storage)
    return f"{prefix}{Path(path).absolute()}"


def shown_storage(storage: str | None) -> str | None:
    """The storage as it may be written down."""
    return without_password(storage) if storage and "://" in storage else storage


def open_kept(settings: Settings, folder: Path, storage: str | None = None) -> Kept:
    """The search's study, made where it is not there yet. `storage` is the one with the password.

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
                kept = optuna.storages.JournalStorage(backend)
            else:
                from sqlalchemy.pool import NullPool  # a worker that trains holds no connection

                kept = optuna.storages.RDBStorage(database_url(url), {"poolclass": NullPool})
            study = optuna.create_study(
                storage=kept,
                study_name=settings.study,
                direction="maximize",
                load_if_exists=True,
                pruner=_pruner(settings.pruner),
            )
        except (RuntimeError, optuna.exceptions.OptunaError) as error:  # kept by another version of Optuna
            reason = str(error).splitlines()[0]
            raise InputError(f"storage {shown_storage(location)} cannot be used: {reason}") from None
    return Kept(study, claims)


def import_optuna() -> Any:
    """The package. Raises InputError where it is not installed."""
    try:
        import optuna
    except ImportError:
        raise InputError('a search needs Optuna; pip install "minbert[experiments]"') from None
    return optuna


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's lines on what it does and on what is experimental; we say what a user should know."""
    optuna = import_optuna()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def ask(kept: Kept, settings: Settings, turn: Turn, fixed: dict[str, Any] | None) -> Any:
    """A new trial of a turn, at the point `fixed` (values as the study has them), or where the sampler says.

    A turn's sampler has a seed of its own: the points of a random search do not depend on who takes which
    turn, and no two workers propose the same point.
    """
    samplers = import_optuna().samplers
    text = f"{settings.sampler_seed} {turn.number}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    with quiet_optuna():
        if settings.sampler == "tpe":
            sampler = samplers.TPESampler(seed=seed, constant_liar=True)
        else:
            sampler = samplers.RandomSampler(seed=seed)
        if fixed is not None:
            sampler = samplers.PartialFixedSampler(fixed, sampler)
        kept.study.sampler = sampler
        trial = kept.study.ask(
            {parameter.name: _distribution(parameter) for parameter in settings.parameters}
        )
    trial.set_user_attr("turn", turn.key)
    return trial


def to_point(settings: Settings, parameters: dict[str, Any]) -> Point:
    """The values of a trial as the configuration has them, from those that the study keeps."""
    point = {}
    for parameter in settings.parameters:
        value = parameters[parameter.name]
        if parameter.kind == "choice":
            value = next(choice for choice in parameter.ends() if label(choice) == value)
        point[parameter.name] = value
    return point


def from_point(point: Point) -> dict[str, Any]:
    """The values of a point as the study keeps them."""
    return {name: label(value) for name, value in point.items()}


def _distribution(parameter: Parameter) -> Any:
    distributions = import_optuna().distributions
    if parameter.kind == "choice":
        return distributions.CategoricalDistribution([label(choice) for choice in parameter.ends()])
    if parameter.kind == "int":
        return distributions.IntDistribution(
            parameter.low, parameter.high, parameter.log, parameter.step or 1
        )
    return distributions.FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step)


def _pruner(name: str) -> Any:
    """Pruners compare trials after the same number of evaluations, whatever the batch size."""
    pruners = import_optuna().pruners
    return {
        "none": pruners.NopPruner,
        "median": lambda: pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
        "halving": pruners.SuccessiveHalvingPruner,
        "hyperband": pruners.HyperbandPruner,
    }[name]()


@contextmanager
def _alone(claims: Claims, key: str) -> Iterator[None]:
    """One process at a time: tables and studies are not made atomically."""
    key = hashlib.sha256(key.encode()).hexdigest()[:32]
    while (claim := claims.claim(key)) is None:
        time.sleep(0.05)
    with claim:
        yield
