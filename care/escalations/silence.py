"""Silence after a question that could show danger: a row with a due time, that is looked at every 15 s."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.escalations.service import Cause, raise_escalation
from care.storage.tables import Inbound, Silence

TIME_TO_ANSWER = timedelta(minutes=10)
_AT_ONCE = 200


def await_answer(session: Session, inbound: Inbound, question: str, acuity: Acuity, at: datetime) -> None:
    """Remembers that `question` was asked in the turn of `inbound`; one that repeats the turn changes nothing."""
    if session.scalar(select(Silence.id).where(Silence.inbound_id == inbound.id)) is None:
        session.add(Silence(patient_id=inbound.patient_id, inbound_id=inbound.id, question=question, acuity=acuity, due_at=at + TIME_TO_ANSWER))


def call_for_silent(session: Session, at: datetime) -> int:
    """Calls a person, once, for each patient who has written nothing since a due question was asked; how many were called.

    What came before the question, though it was read after it, is no answer. Safe to run twice and beside itself.
    """
    due = session.scalars(
        select(Silence).where(Silence.settled_at.is_(None), Silence.due_at <= at).order_by(Silence.due_at).limit(_AT_ONCE).with_for_update(skip_locked=True)
    ).all()
    called = 0
    for silence in due:
        if silence.settled_at is not None:
            continue
        silence.settled_at = at
        asked_at = silence.due_at - TIME_TO_ANSWER
        answered = exists().where(Inbound.patient_id == silence.patient_id, Inbound.received_at > asked_at, Inbound.trigger.is_(None))
        if not session.scalar(select(answered)):
            minutes = int(TIME_TO_ANSWER.total_seconds() // 60)
            summary = f"A report could be dangerous and the question that would tell has had no answer for {minutes} minutes: {silence.question}"
            cause = Cause(f"silence:{silence.inbound_id}", "silent_after_question", silence.acuity, summary, silence.inbound_id)
            called += raise_escalation(session, silence.patient_id, cause, at) is not None
            session.execute(update(Silence).where(Silence.patient_id == silence.patient_id, Silence.settled_at.is_(None)).values(settled_at=at))
    return called
