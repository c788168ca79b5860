"""Leases and records in two tables of a database that all workers reach, by SQLAlchemy.

The primary key (key, number) lets one process make a lease; each call is one transaction.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from minbert import InputError
from multitask.experiments.claims.leases import Holder, Lease


class DatabaseStore:
    """See multitask.experiments.claims.leases.Store. Raises InputError for a URL that cannot be used."""

    def __init__(self, url: str):
        try:
            import sqlalchemy
        except ImportError:
            raise InputError('storage by URL needs SQLAlchemy; pip install "minbert[experiments]"') from None
        from sqlalchemy import BigInteger, Column, Integer, MetaData, String, Table, Text

        self.sql = sqlalchemy
        tables = MetaData()
        self.leases = Table(
            "minbert_leases",
            tables,
            Column("key", String(128), primary_key=True),
            Column("number", Integer, primary_key=True, autoincrement=False),
            Column("holder", Text, nullable=False),
            Column("beat", BigInteger, nullable=False),
        )
        self.kept = Table(
            "minbert_records",
            tables,
            Column("key", String(128), primary_key=True),
            Column("text", Text, nullable=False),
        )
        try:
            # No pool: a connection must not outlive a fork, and waiting workers should hold none.
            self.engine = sqlalchemy.create_engine(database_url(url), poolclass=sqlalchemy.pool.NullPool)
            with self.engine.begin() as connection:
                if connection.dialect.name == "postgresql":  # CREATE IF NOT EXISTS itself is not atomic there
                    connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(20240618)"))
                for table in (self.leases, self.kept):
                    connection.execute(sqlalchemy.schema.CreateTable(table, if_not_exists=True))
        except (sqlalchemy.exc.SQLAlchemyError, ModuleNotFoundError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"storage {without_password(url)} cannot be opened: {reason}") from None

    def newest(self, key: str) -> Lease | None:
        leases = self.leases
        query = self.sql.select(leases.c.number, leases.c.holder, leases.c.beat).where(leases.c.key == key)
        with self.engine.connect() as connection:
            row = connection.execute(query.order_by(leases.c.number.desc()).limit(1)).first()
        return None if row is None else Lease(row.number, Holder(**json.loads(row.holder)), row.beat)

    def add(self, key: str, number: int, holder: Holder) -> bool:
        text = json.dumps(asdict(holder))
        return self._insert(self.leases, key=key, number=number, holder=text, beat=0)

    def beat(self, key: str, number: int) -> bool:
        leases = self.leases
        newer = self.sql.exists().where(leases.c.key == key, leases.c.number > number)
        change = self.sql.update(leases).where(leases.c.key == key, leases.c.number == number)
        with self.engine.begin() as connection:
            if connection.execute(self.sql.select(newer)).scalar():
                return False
            return connection.execute(change.values(beat=leases.c.beat + 1)).rowcount == 1

    def remove(self, key: str, number: int) -> None:
        leases = self.leases
        self._delete(self.sql.delete(leases).where(leases.c.key == key, leases.c.number == number))

    def record(self, key: str, text: str) -> bool:
        return self._insert(self.kept, key=key, text=text)

    def forget(self, key: str) -> None:
        self._delete(self.sql.delete(self.kept).where(self.kept.c.key == key))

    def records(self, keys: Iterable[str]) -> dict[str, str]:
        query = self.sql.select(self.kept).where(self.kept.c.key.in_(list(keys)))
        with self.engine.connect() as connection:
            return {row.key: row.text for row in connection.execute(query)}

    def _insert(self, table: Any, **values: Any) -> bool:
        try:
            with self.engine.begin() as connection:
                connection.execute(self.sql.insert(table).values(**values))
        except self.sql.exc.IntegrityError:
            return False
        return True

    def _delete(self, statement: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(statement)


def database_url(url: str) -> str:
    """The URL with the driver that the extra `experiments` installs, where it names none."""
    scheme, separator, rest = url.partition("://")
    return f"postgresql+psycopg{separator}{rest}" if scheme in ("postgresql", "postgres") else url


def without_password(url: str) -> str:
    """The URL as it may be shown and written down."""
    scheme, separator, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{user.partition(':')[0]}{at}{place}"
