"""Calling a person who is not at the console, while an emergency waits that nobody has taken or something urgent is overdue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.storage.tables import Escalation, EscalationState, Heartbeat

_TIMEOUT_S = 5.0
_CALLED = "on_call"


@dataclass(frozen=True)
class Untaken:
    """What nobody has taken on: emergencies, urgent ones whose deadline has passed, how long the oldest has waited, and the newest."""

    emergencies: int
    overdue: int
    oldest: timedelta
    newest: timedelta

    @property
    def text(self) -> str:
        """What the person on call reads: nothing of any patient."""
        return (
            f"Aftercare: {self.emergencies} emergencies and {self.overdue} overdue urgent escalations wait for a person, "
            f"the oldest for {int(self.oldest.total_seconds() // 60)} minutes."
        )


def untaken(session: Session, at: datetime) -> Untaken | None:
    """What a person is needed for; None where there is nothing."""
    late = and_(Escalation.acuity == Acuity.URGENT, Escalation.deadline < at)
    waiting = select(Escalation).where(Escalation.state == EscalationState.OPEN, or_(Escalation.acuity == Acuity.EMERGENCY, late))
    rows = session.scalars(waiting).all()
    if not rows:
        return None
    emergencies, waits = sum(row.acuity is Acuity.EMERGENCY for row in rows), [at - row.created_at for row in rows]
    return Untaken(emergencies, len(rows) - emergencies, max(waits), min(waits))


def to_call_for(session: Session, every: timedelta, at: datetime) -> Untaken | None:
    """What a person is to be called for now: what came since the last call at once, all of it again after `every`."""
    found, last = untaken(session, at), session.get(Heartbeat, _CALLED)
    if found is None or last is None:
        return found
    since = at - last.at
    return found if since >= every or found.newest < since else None


def was_called(session: Session, at: datetime) -> None:
    """A call was taken at its address."""
    session.merge(Heartbeat(name=_CALLED, at=at))


def call(url: str, found: Untaken, console: str) -> None:
    """Posts the call as JSON; its field `text` is what chat services' incoming webhooks show. Raises `httpx.HTTPError`."""
    body = {
        "text": f"{found.text} {console}",
        "emergencies": found.emergencies,
        "overdue": found.overdue,
        "oldest_minutes": int(found.oldest.total_seconds() // 60),
        "console": console,
    }
    httpx.post(url, json=body, timeout=_TIMEOUT_S).raise_for_status()
