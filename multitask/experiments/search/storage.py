"""Opens the storage of a search, Optuna's study in it, and tells which of its trials belong together.

A search is a fixed number of trials. Where a worker is lost or interrupted, the study gets a retry: another
trial with the same parameters. `Attempts` groups the study's trials by the trial of the search that they are
for. One that is not a retry is for the number of such trials before it, which all workers see alike.
"""

import hashlib
import re
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from minbert import InputError, hide_secrets
from multitask.experiments.search.settings import Settings
from multitask.experiments.search.space import Parameter, Point, label

JOURNAL = "journal:"
STUDY_FILE = "study.db"
STARTUP_TRIALS = 5  # complete ones, before the median prunes
LOCK_SECONDS = 60  # that a process waits for SQLite's lock
HEARTBEAT_SECONDS, LOST_SECONDS = 15, 60  # Optuna's: a trial without a sign for so long is tried again


def check_storage(storage: str | None) -> None:
    """Raises InputError for a storage that is a folder, or whose password could not be hidden."""
    if storage is None:
        return
    address, _, query = storage.partition("?")
    names = [name.lower() for name, _ in parse_qsl(query, keep_blank_values=True)]
    if any(word in name for name in names for word in ("password", "passwd", "secret", "token")):
        raise InputError(
            "--storage has its password after the question mark; write USER:PASSWORD@HOST instead"
        )
    is_file = storage.startswith(JOURNAL) or "://" not in storage
    if is_file and (hide_secrets(storage) != storage or re.match(r"\w+:[^/]*:.*@", storage)):
        raise InputError(
            "--storage has a password and is no address of a database; give a file, journal:FILE or "
            "postgresql://USER:PASSWORD@HOST/DATABASE"
        )
    if storage.startswith(JOURNAL):
        return
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


def database_url(url: str) -> str:
    """Returns the URL with the driver that the extra `experiments` installs, where it names none."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme in ("postgresql", "postgres") else url


def without_password(url: str) -> str:
    """Returns the URL as it may be shown and written down."""
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{place}"


def _without(url: str, reason: str) -> str:
    """Returns an error's text without the parts of the URL's password, of which a library may make a host."""
    password = url.partition("://")[2].rpartition("@")[0].partition(":")[2]
    for part in re.split(r"[@/:?#]", password):
        reason = reason.replace(part, "***") if part else reason
    return hide_secrets(reason)


def command_line(words: list[str], storage: str | None) -> str:
    """Returns the command as search.json shows it, without a password."""
    words = ["multitask", "search", *words]
    shown = [word.replace(storage, without_password(storage)) if storage else word for word in words]
    return shlex.join(map(hide_secrets, shown))


def open_study(settings: Settings, folder: Path, storage: str | None = None) -> Any:
    """Opens the search's study, or creates it. `storage` is the one with the password.

    Raises InputError for a storage that cannot be opened.
    """
    optuna = import_optuna()
    check_storage(storage)
    location = storage or settings.storage or str(folder / STUDY_FILE)
    with quiet_optuna():
        try:
            if location.startswith(JOURNAL):
                backend = optuna.storages.journal.JournalFileBackend(location.removeprefix(JOURNAL))
                opened = optuna.storages.JournalStorage(backend)
            else:
                opened = _open_database(location)
            return optuna.create_study(
                storage=opened,
                study_name=settings.study,
                direction="maximize",
                load_if_exists=True,
                pruner=_pruner(settings.pruner),
            )
        except (ImportError, RuntimeError, ValueError, optuna.exceptions.OptunaError) as error:
            shown, reason = shown_storage(location), _without(location, str(error).splitlines()[0])
            password = "; give --storage with its password" if storage is None and "@" in location else ""
            raise InputError(f"storage {shown} cannot be opened: {reason}{password}") from None


def _open_database(location: str) -> Any:
    import sqlalchemy

    url = database_url(location if "://" in location else f"sqlite:///{Path(location).absolute()}")
    if url.startswith("sqlite:") and "?" not in url:
        url += f"?timeout={LOCK_SECONDS}"
    opener = partial(
        import_optuna().storages.RDBStorage,
        url,
        {"poolclass": sqlalchemy.pool.NullPool},  # a worker that trains has no connection
        heartbeat_interval=HEARTBEAT_SECONDS,
        grace_period=LOST_SECONDS,
        heartbeat_stale_trial_callback=retry_callback(),
    )
    try:
        dialect = sqlalchemy.make_url(url).get_dialect().name
        if dialect not in ("sqlite", "postgresql"):
            raise RuntimeError("it is neither a SQLite file nor PostgreSQL")
        try:
            opened = opener()
        except sqlalchemy.exc.DBAPIError as error:
            if "already exists" not in str(error):
                raise
            opened = opener()  # another machine created the tables at the same time
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise RuntimeError(str(error)) from None
    if dialect == "sqlite":
        # SQLite's SELECT ... FOR UPDATE locks nothing: two workers could take the same retry.
        sqlalchemy.event.listen(opened.engine, "connect", _begin_by_hand)
        sqlalchemy.event.listen(opened.engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    return opened


def _begin_by_hand(connection: Any, record: Any) -> None:
    connection.isolation_level = None


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
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def retry_callback() -> Any:
    """Returns the function (study, trial) that adds a retry of a trial, with what it has reported."""
    with quiet_optuna():
        return import_optuna().storages.RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)


class Attempts:
    """The study's trials by the trial of the search, 0 to `count` - 1, that each is an attempt of."""

    def __init__(self, study: Any, count: int):
        self.count = count
        self.by_trial: list[list[Any]] = [[] for _ in range(count)]
        self.numbers: dict[int, int] = {}  # of the study's trials -> of the search's
        self.begun = 0  # trials that are not retries
        with quiet_optuna():
            origin_of = import_optuna().storages.RetryHeartbeatStaleTrialCallback.retried_trial_number
            for trial in study.get_trials(deepcopy=False):
                origin = origin_of(trial)
                number = self.begun if origin is None else self.numbers[origin]
                self.begun += origin is None
                self.numbers[trial.number] = number
                if number < count:
                    self.by_trial[number].append(trial)

    def decided(self, number: int) -> Any | None:
        """Returns the attempt that ended by itself, if any."""
        return next((trial for trial in self.by_trial[number] if is_decided(trial)), None)

    def latest(self, number: int) -> Any | None:
        """Returns the attempt that is to be shown: the one that counts, or the last that has begun."""
        begun = [trial for trial in self.by_trial[number] if trial.state.name != "WAITING"]
        return self.decided(number) or (begun[-1] if begun else None)

    def left(self) -> list[int]:
        """Returns the trials that have not ended by themselves."""
        return [number for number in range(self.count) if self.decided(number) is None]

    def waiting(self) -> bool:
        """Tells whether a retry waits for a worker."""
        return any(trial.state.name == "WAITING" for trials in self.by_trial for trial in trials)

    def lost(self) -> list[Any]:
        """Returns the last attempts of the trials that are left, were begun, and are not under way."""
        tried = [self.by_trial[number] for number in self.left() if self.by_trial[number]]
        return [trials[-1] for trials in tried if all(trial.state.is_finished() for trial in trials)]

    def is_superseded(self, trial: Any) -> bool:
        """Tells whether a trial is one too many, or an earlier attempt is under way or decided."""
        number = self.numbers[trial.number]
        if number >= self.count:
            return True
        earlier = [other for other in self.by_trial[number] if other.number < trial.number]
        return any(is_decided(other) or not other.state.is_finished() for other in earlier)


def is_decided(trial: Any) -> bool:
    """Tells whether a trial ended by itself, with a value or an error; not by its process's end."""
    return trial.state.name in ("COMPLETE", "PRUNED") or (
        trial.state.name == "FAIL" and "error" in trial.user_attrs
    )


def retry_lost(study: Any, count: int, dead: str | None = None, unnamed: bool = False) -> None:
    """Adds retries of the trials that nobody computes.

    Those under way are among them whose worker's name begins with `dead`, and with `unnamed` those without a
    name: lost, or taken this moment by a worker that will then take another.
    """
    optuna = import_optuna()
    with quiet_optuna():
        for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            name = trial.user_attrs.get("worker")
            if unnamed if name is None else dead is not None and name.startswith(dead):
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL, skip_if_finished=True)
        for trial in Attempts(study, count).lost():
            retry_callback()(study, trial)


def suggest(study: Any, settings: Settings, number: int, trial: Any) -> Point:
    """Returns the point of an attempt at the trial `number`: the grid's, or what the sampler chooses.

    Each number's sampler has its own seed: the points of a random search do not depend on who computes which,
    and no two workers propose the same point.
    """
    optuna = import_optuna()
    text = f"{settings.sampler_seed} {number}"
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    with quiet_optuna():
        if settings.sampler == "tpe":
            sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        else:
            sampler = optuna.samplers.RandomSampler(seed=seed)
        if settings.sampler == "grid":
            fixed = {name: label(value) for name, value in settings.points[number].items()}
            sampler = optuna.samplers.PartialFixedSampler(fixed, sampler)
        study.sampler = sampler
        for parameter in settings.parameters:
            _suggest(trial, parameter)
    return to_point(settings, trial.params)


def to_point(settings: Settings, parameters: dict[str, Any]) -> Point:
    """Converts a trial's parameters in the study to values of the configuration."""
    point = {}
    for parameter in settings.parameters:
        value = parameters[parameter.name]
        if parameter.kind == "choice":
            value = next(choice for choice in parameter.ends() if label(choice) == value)
        point[parameter.name] = value
    return point


def _suggest(trial: Any, parameter: Parameter) -> None:
    name, low, high = parameter.name, parameter.low, parameter.high
    if parameter.kind == "choice":
        trial.suggest_categorical(name, [label(choice) for choice in parameter.ends()])
    elif parameter.kind == "int":
        trial.suggest_int(name, low, high, step=parameter.step or 1, log=parameter.log)
    else:
        trial.suggest_float(name, low, high, step=parameter.step, log=parameter.log)


def _pruner(name: str) -> Any:
    """Pruners compare trials after the same number of evaluations, whatever the batch size."""
    pruners = import_optuna().pruners
    if name == "median":
        return pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS)
    classes = {"none": "NopPruner", "halving": "SuccessiveHalvingPruner", "hyperband": "HyperbandPruner"}
    return getattr(pruners, classes[name])()
