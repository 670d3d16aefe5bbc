"""A new field key: everything encrypted is read with the old one and written with the new."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Table, inspect, select, update
from sqlalchemy.orm import Session

from care.keys import add_field_key, drop_retired_keys
from care.settings import Settings
from care.storage.columns import Base
from care.storage.crypto import Encrypted, EncryptedJson
from care.storage.engine import transaction

_BATCH = 500


def rotate_field_key(current: Settings) -> int:
    """Makes a new field key, writes every encrypted row again and drops the old key; how many rows were written.

    Nothing may run meanwhile. Cut off half-way it loses nothing: the old key is kept until the end, and another run does all rows again.
    """
    add_field_key(current)
    written = sum(_write_again(table) for table in Base.metadata.sorted_tables if _encrypted(table))
    drop_retired_keys(current)
    return written


def _encrypted(table: Table) -> list[Any]:
    return [column for column in table.columns if isinstance(column.type, Encrypted | EncryptedJson)]


def _write_again(table: Table) -> int:
    """Each batch in a transaction of its own."""
    written = 0
    for batch in _batches(table):
        with transaction() as session:
            for key in batch:
                _write_row(session, table, key)
        written += len(batch)
    return written


def _batches(table: Table) -> Iterator[list[Any]]:
    (key,) = inspect(table).primary_key.columns
    with transaction() as session:
        keys = list(session.scalars(select(key).order_by(key)))
    yield from (keys[start : start + _BATCH] for start in range(0, len(keys), _BATCH))


def _write_row(session: Session, table: Table, row: Any) -> None:
    (key,) = inspect(table).primary_key.columns
    columns = _encrypted(table)
    values = session.execute(select(*columns).where(key == row)).one()
    sealed = {column.name: value for column, value in zip(columns, values, strict=True) if value is not None}
    if sealed:
        session.execute(update(table).where(key == row).values(sealed))
