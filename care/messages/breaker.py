"""The breaker: a provider that refuses everything is not asked again and again; the queue is held, and one message a minute tries.

Senders meet here in the same moment, so it is written in single statements: none fails because another one was first.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from care.storage.tables import Breaker

_SMS = "sms"
_PROBE_EVERY = timedelta(minutes=1)


def look(session: Session) -> Breaker | None:
    """The breaker, where it is open."""
    return session.get(Breaker, _SMS)


def holds(breaker: Breaker) -> bool:
    """Whether nothing may be sent now; else one message may, as the probe of this minute."""
    return breaker.retry_at > datetime.now(UTC)


def claim_probe(session: Session) -> bool:
    """Whether who asks is the probe of this minute; another one was first where it is not."""
    now = datetime.now(UTC)
    free = update(Breaker).where(Breaker.name == _SMS, Breaker.retry_at <= now)
    return cast(CursorResult[Any], session.execute(free.values(retry_at=now + _PROBE_EVERY))).rowcount == 1


def trip(session: Session, code: int) -> None:
    """Holds the queue for a minute from now."""
    now = datetime.now(UTC)
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    opened = insert(Breaker).values(name=_SMS, code=code, opened_at=now, retry_at=now + _PROBE_EVERY)
    again = {"code": opened.excluded.code, "retry_at": opened.excluded.retry_at}
    session.execute(opened.on_conflict_do_update(index_elements=["name"], set_=again))


def reset(session: Session) -> None:
    """A message was taken: all is well."""
    session.execute(delete(Breaker).where(Breaker.name == _SMS))
