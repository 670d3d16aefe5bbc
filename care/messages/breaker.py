"""The breaker: a provider that refuses everything is not asked again and again; the queue is held, and one message a minute tries.

Senders meet here in the same moment, so it is written in single statements: none fails because another one was first.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from care.storage.tables import Breaker, Heartbeat

_SMS, _PROBED = "sms", "sms_probe"
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
    session.execute(delete(Heartbeat).where(Heartbeat.name == _PROBED))


def taken(session: Session) -> None:
    """Twilio took the probe: all is well, where it would have said no at once; else a minute passes for what its receipt says."""
    opened = look(session)
    if opened is None or not _told_by_receipt(opened.code):
        reset(session)
        return
    now = datetime.now(UTC)
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    session.execute(insert(Heartbeat).values(name=_PROBED, at=now).on_conflict_do_update(index_elements=["name"], set_={"at": now}))
    session.execute(update(Breaker).where(Breaker.name == _SMS).values(retry_at=now + _PROBE_EVERY))


def is_over(session: Session, opened: Breaker) -> bool:
    """Whether a probe was taken and its minute has passed without a receipt that says otherwise."""
    return not holds(opened) and session.get(Heartbeat, _PROBED) is not None


def reset(session: Session) -> None:
    """All is well."""
    session.execute(delete(Breaker).where(Breaker.name == _SMS))
    session.execute(delete(Heartbeat).where(Heartbeat.name == _PROBED))


def _told_by_receipt(code: int) -> bool:
    """Twilio's 30xxx are errors of delivery: it takes the message first (twilio.com/docs/api/errors)."""
    return code // 1000 == 30
