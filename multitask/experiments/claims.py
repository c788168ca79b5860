"""Work shared by several processes: each piece is done under a lock of its own, and its result recorded once.

The locks are file locks in a folder that all workers see, or advisory locks of a PostgreSQL server. Both end
with the process that holds them, however it ends. No torch here.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from minbert import InputError, atomic_write, make_folder

KEEPALIVE = "SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 6"


class Claim:
    """The right to one piece of work: `with claim: ... claim.finish(result)`.

    A block that ends without `finish` gives the work back.
    """

    def __init__(self, finish: Callable[[dict[str, Any]], None], release: Callable[[], None]):
        self.finish = finish
        self._release = release

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *error) -> None:
        self._release()


class FolderClaims:
    """Locks and results as the files KEY.lock and KEY.json of a folder."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        make_folder(self.folder)

    def claim(self, key: str, wait: float = 0.0) -> Claim | None:
        """Claims a piece of work; None where it is done, or another has it for `wait` seconds."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.folder / f"{key}.lock")
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            return None
        if self.results([key]):
            lock.release()
            return None
        return Claim(lambda result: self._record(key, result), lock.release)

    def is_claimed(self, key: str) -> bool:
        """True while a process does the work. Workers should `wait` a moment, since this takes the lock."""
        claim = self.claim(key)
        if claim is None:
            return not self.results([key])
        with claim:
            return False

    def results(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Returns the results of finished work, by key."""
        paths = {key: self._path(key) for key in keys}
        return {key: json.loads(path.read_text("utf-8")) for key, path in paths.items() if path.is_file()}

    def forget(self, key: str) -> None:
        """Drops a result, so that the work can be claimed anew."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _record(self, key: str, result: dict[str, Any]) -> None:
        with atomic_write(self._path(key)) as file:
            file.write(json.dumps(result, allow_nan=False))


class PostgresClaims:
    """The same in PostgreSQL: a connection holds a claim, the table minbert_records keeps the results."""

    def __init__(self, url: str):
        try:
            import sqlalchemy
        except ImportError:
            raise InputError('storage by URL needs SQLAlchemy; pip install "minbert[experiments]"') from None
        self.sql = sqlalchemy.text
        try:
            # No pool: a connection must not outlive a fork.
            engine = sqlalchemy.create_engine(database_url(url), poolclass=sqlalchemy.pool.NullPool)
            if engine.dialect.name != "postgresql":
                raise InputError(f"storage {without_password(url)} is not a SQLite file or PostgreSQL")
            self.engine = engine.execution_options(isolation_level="AUTOCOMMIT")
            with engine.begin() as connection:  # CREATE IF NOT EXISTS itself is not atomic
                connection.execute(self.sql("SELECT pg_advisory_xact_lock(20240618)"))
                table = "minbert_records (key VARCHAR(128) PRIMARY KEY, text TEXT NOT NULL)"
                connection.execute(self.sql(f"CREATE TABLE IF NOT EXISTS {table}"))
        except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"storage {without_password(url)} cannot be opened: {reason}") from None

    def claim(self, key: str) -> Claim | None:
        """Claims a piece of work; None where it is done, or another has it."""
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
        connection = self.engine.connect()
        connection.execute(self.sql(KEEPALIVE))  # a machine that is gone loses its claims after 90 seconds
        lock = connection.scalar(self.sql("SELECT pg_try_advisory_lock(:number)"), {"number": number})
        if not lock or self.results([key]):
            connection.close()
            return None
        return Claim(lambda result: self._record(key, result), connection.close)

    def results(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Returns the results of finished work, by key."""
        query = self.sql("SELECT key, text FROM minbert_records WHERE key = ANY(:keys)")
        with self.engine.connect() as connection:
            return {row.key: json.loads(row.text) for row in connection.execute(query, {"keys": list(keys)})}

    def forget(self, key: str) -> None:
        """Drops a result, so that the work can be claimed anew."""
        with self.engine.connect() as connection:
            connection.execute(self.sql("DELETE FROM minbert_records WHERE key = :key"), {"key": key})

    def _record(self, key: str, result: dict[str, Any]) -> None:
        insert = "INSERT INTO minbert_records VALUES (:key, :text) ON CONFLICT DO NOTHING"
        values = {"key": key, "text": json.dumps(result, allow_nan=False)}
        with self.engine.connect() as connection:
            connection.execute(self.sql(insert), values)


Claims = FolderClaims | PostgresClaims


def open_claims(location: str | Path) -> Claims:
    """Returns the claims of a folder, beside a SQLite file (sqlite:///FILE), or in PostgreSQL by its URL."""
    scheme, separator, rest = str(location).partition("://")
    if not separator:
        return FolderClaims(location)
    if scheme == "sqlite":
        return FolderClaims(f"{rest.removeprefix('/').partition('?')[0]}.claims")
    return PostgresClaims(str(location))


def database_url(url: str) -> str:
    """The URL with the driver that the extra `experiments` installs, where it names none."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme in ("postgresql", "postgres") else url


def without_password(url: str) -> str:
    """The URL as it may be shown and written down."""
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{place}"
