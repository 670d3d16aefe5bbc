"""The breaker: a provider that refuses everything is not asked again and again; the queue is held, and one message a minute tries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.storage.tables import Breaker

_SMS = "sms"
_PROBE_EVERY = timedelta(minutes=1)


def held(session: Session) -> Breaker | None:
    """The open breaker, where nothing may be sent now."""
    breaker = session.get(Breaker, _SMS)
    return breaker if breaker is not None and breaker.retry_at > datetime.now(UTC) else None


def trip(session: Session, code: int) -> None:
    """Holds the queue for a minute from now."""
    now = datetime.now(UTC)
    breaker = session.get(Breaker, _SMS)
    if breaker is None:
        session.add(Breaker(name=_SMS, code=code, opened_at=now, retry_at=now + _PROBE_EVERY))
    else:
        breaker.code, breaker.retry_at = code, now + _PROBE_EVERY


def claim_probe(session: Session) -> None:
    """Who sends while the breaker is open is the one probe of this minute."""
    breaker = session.scalars(select(Breaker).where(Breaker.name == _SMS).with_for_update()).one_or_none()
    if breaker is not None:
        breaker.retry_at = datetime.now(UTC) + _PROBE_EVERY


def reset(session: Session) -> None:
    """A message was taken: all is well."""
    breaker = session.get(Breaker, _SMS)
    if breaker is not None:
        session.delete(breaker)
