"""Calling a person who is not at the console, while an emergency waits that nobody has taken or something urgent is overdue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session, load_only

from care.acuity import Acuity
from care.storage.tables import Escalation, EscalationState
from care.texts import counted

_TIMEOUT_S = 5.0
_SHORT = load_only(Escalation.id, Escalation.acuity, Escalation.created_at, Escalation.called_at)


@dataclass(frozen=True)
class Untaken:
    """What nobody has taken on: emergencies, urgent ones whose deadline has passed, how long the oldest has waited, and the ids of all."""

    emergencies: int
    overdue: int
    oldest: timedelta
    ids: list[int]

    @property
    def text(self) -> str:
        """What the person on call reads: nothing of any patient."""
        emergencies = counted(self.emergencies, "emergency", "emergencies")
        overdue = counted(self.overdue, "overdue urgent escalation", "overdue urgent escalations")
        waited = counted(int(self.oldest.total_seconds() // 60), "minute", "minutes")
        return f"Aftercare: {emergencies} and {overdue} wait for a person, the oldest for {waited}."


def to_call_for(session: Session, every: timedelta, at: datetime) -> Untaken | None:
    """What a person is to be called for now: at once where nobody was called for one of them yet, and for all again after `every`; else None."""
    late = and_(Escalation.acuity == Acuity.URGENT, Escalation.deadline < at)
    waiting = select(Escalation).where(Escalation.state == EscalationState.OPEN, or_(Escalation.acuity == Acuity.EMERGENCY, late))
    rows = session.scalars(waiting.options(_SHORT)).all()
    if all(row.called_at is not None and timedelta(0) <= at - row.called_at < every for row in rows):
        return None
    emergencies = sum(row.acuity is Acuity.EMERGENCY for row in rows)
    return Untaken(emergencies, len(rows) - emergencies, max(at - row.created_at for row in rows), [row.id for row in rows])


def were_called_for(session: Session, found: Untaken, at: datetime) -> None:
    """The call was taken at its address."""
    session.execute(update(Escalation).where(Escalation.id.in_(found.ids)).values(called_at=at))


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
