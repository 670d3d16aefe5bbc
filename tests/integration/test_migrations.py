"""The migrations on a database in use: what is kept in it stays."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import MetaData, select

from care.settings import Settings
from care.storage.engine import build_engine, engine, migrate
from tests.conftest import add_patient, postgres_database

_FILLED = ("patients", "campaigns", "enrollments", "conversations", "contacts", "consents")


@pytest.fixture
def other_database(database: str, tmp_path: Path) -> Iterator[str]:
    """An empty database of the same kind, without tables; its URL."""
    with ExitStack() as stack:
        yield stack.enter_context(postgres_database()) if database.startswith("postgresql") else f"sqlite:///{tmp_path / 'old.db'}"


def test_a_database_in_use_goes_on_from_revision_0008(other_database: str) -> None:
    add_patient()
    old = Settings(database_url=other_database)
    migrate(old, "0008")
    target, newest, kept = build_engine(other_database), MetaData(), MetaData()
    newest.reflect(engine())
    kept.reflect(target)
    with engine().begin() as source, target.begin() as connection:
        for table in kept.sorted_tables:
            if table.name in _FILLED:
                columns = [newest.tables[table.name].c[column.name] for column in table.c]
                rows = source.execute(select(*columns)).mappings().all()
                assert rows
                connection.execute(table.insert(), [dict(row) for row in rows])
    migrate(old)
    with target.connect() as connection:
        for name in _FILLED:
            assert connection.execute(select(newest.tables[name])).all(), name
        assert connection.scalars(select(newest.tables["patients"].c.shared_phone)).all() == [False]
    target.dispose()
