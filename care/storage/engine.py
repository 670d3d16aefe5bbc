"""Connections: SQLite in WAL mode with full synchronous writes, or PostgreSQL; one transaction at a time through `transaction`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session, sessionmaker

from care.settings import Settings, settings

_MIGRATIONS = Path(__file__).parent / "migrations"
_SQLITE_BUSY_MS = 30_000
_POSTGRES_OPTIONS = "idle_in_transaction_session_timeout=30s"
"""A process that hangs inside a transaction loses it, and with it the rows that the patient's next message waits for."""


def build_engine(url: str) -> Engine:
    """An engine for `url`. On SQLite every transaction takes the write lock at its start, so that none fails half-way for a lock."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        return create_engine(
            parsed, hide_parameters=True, pool_pre_ping=True, pool_size=10, max_overflow=20, connect_args={"options": f"-c {_POSTGRES_OPTIONS}"}
        )
    Path(parsed.database or "").parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed, hide_parameters=True, connect_args={"check_same_thread": False, "timeout": _SQLITE_BUSY_MS / 1000}, pool_size=10, max_overflow=20
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={_SQLITE_BUSY_MS}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Any) -> None:
        options = connection.get_execution_options()
        if not options.get("read_only"):
            connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options.get('durable', True) else 'NORMAL'}")
        connection.exec_driver_sql(f"BEGIN {'DEFERRED' if options.get('read_only') else 'IMMEDIATE'}")

    return engine


@cache
def engine() -> Engine:
    """This process's engine."""
    return build_engine(settings().database)


@cache
def _sessions() -> sessionmaker[Session]:
    return sessionmaker(engine(), expire_on_commit=False)


@contextmanager
def transaction(*, durable: bool = True) -> Iterator[Session]:
    """A session in one transaction: committed at the end of the block, rolled back when it raises.

    One that is not `durable` outlives the process but perhaps not a power failure: for claims, which are then simply free again.
    """
    with _sessions().begin() as session:
        if not durable:
            connection = session.connection(execution_options={"durable": False})
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
        yield session


@contextmanager
def reading() -> Iterator[Session]:
    """A session that only reads; it never waits for a writer."""
    with _sessions()() as session:
        session.connection(execution_options={"read_only": True})
        yield session


def migrate(current: Settings, revision: str = "head") -> None:
    """Brings the database to the newest revision, or up to an older one; safe to run again, and from several processes on PostgreSQL."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("sqlalchemy.url", current.database.replace("%", "%%"))
    command.upgrade(config, revision)
