"""The breaker: a provider that refuses everything is not asked again and again; the queue is held, and one message a minute tries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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


def claim_probe(breaker: Breaker) -> None:
    """Who sends now is the probe."""
    breaker.retry_at = datetime.now(UTC) + _PROBE_EVERY


def trip(session: Session, code: int) -> None:
    """Holds the queue for a minute from now."""
    now = datetime.now(UTC)
    breaker = session.get(Breaker, _SMS)
    if breaker is None:
        session.add(Breaker(name=_SMS, code=code, opened_at=now, retry_at=now + _PROBE_EVERY))
    else:
        breaker.code, breaker.retry_at = code, now + _PROBE_EVERY


def reset(session: Session) -> None:
    """A message was taken: all is well."""
    breaker = session.get(Breaker, _SMS)
    if breaker is not None:
        session.delete(breaker)
