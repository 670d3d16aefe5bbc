"""Raising, working and resolving escalations."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.audit import record
from care.storage.tables import BOT, Conversation, Escalation, EscalationState, Outbound, OutboundState

# How long a coordinator has; the clinic's hours are not taken into account.
TIME_TO_ACT = {
    Acuity.EMERGENCY: timedelta(minutes=15),
    Acuity.URGENT: timedelta(hours=2),
    Acuity.ROUTINE: timedelta(hours=24),
    Acuity.SELF_CARE: timedelta(hours=72),
}

_EMERGENCY_LASTS = timedelta(hours=12)
PATIENT_WROTE = "patient_wrote"
"""The reason of an escalation that asks no more than to read what a patient wrote while the bot held still."""


class Outcome(StrEnum):
    """How an escalation ended; none is closed without one."""

    REACHED_SAFE = "reached_safe"
    ANSWERED = "answered"
    SENT_TO_EMERGENCY = "sent_to_emergency"
    CLINICIAN_TOLD = "clinician_told"
    APPOINTMENT_MADE = "appointment_made"
    NOT_REACHED = "not_reached"
    FALSE_ALARM = "false_alarm"
    OTHER = "other"


class EscalationNotFound(Exception):
    """No escalation has this id."""

    def __init__(self, escalation_id: int) -> None:
        super().__init__(f"there is no escalation {escalation_id}")


class EscalationConflict(Exception):
    """The escalation's state does not allow this; the message says what it is."""


@dataclass(frozen=True)
class Cause:
    """Why a person is needed. `key` names the cause, so that a repeat raises nothing new."""

    key: str
    reason: str
    acuity: Acuity
    summary: str
    inbound_id: int | None = None
    evidence: dict[str, Any] = field(default_factory=dict)


def raise_escalation(session: Session, patient_id: str, cause: Cause, at: datetime) -> Escalation | None:
    """Puts the cause in front of the coordinators; None where the same cause was raised before."""
    if session.scalar(select(Escalation.id).where(Escalation.key == cause.key)) is not None:
        return None
    escalation = Escalation(
        key=cause.key,
        patient_id=patient_id,
        inbound_id=cause.inbound_id,
        reason=cause.reason,
        acuity=cause.acuity,
        summary=cause.summary,
        evidence=cause.evidence,
        deadline=at + TIME_TO_ACT[cause.acuity],
        created_at=at,
    )
    session.add(escalation)
    session.flush()
    record(session, actor="service", action="escalation_raised", subject=str(escalation.id), at=at)
    return escalation


def raise_once(session: Session, patient_id: str, cause: Cause, at: datetime) -> None:
    """As `raise_escalation`, but not while one for the same reason, and no less serious, waits untaken for this patient."""
    waits = select(Escalation.acuity).where(Escalation.patient_id == patient_id, Escalation.reason == cause.reason, Escalation.state == EscalationState.OPEN)
    if all(acuity.rank < cause.acuity.rank for acuity in session.scalars(waits)):
        raise_escalation(session, patient_id, cause, at)


def acknowledge(session: Session, escalation_id: int, user_id: str, at: datetime) -> Escalation:
    """The coordinator takes it on. Raises `EscalationNotFound`, `EscalationConflict`."""
    escalation = _locked(session, escalation_id)
    if escalation.state is not EscalationState.OPEN:
        raise EscalationConflict(f"escalation {escalation_id} is {escalation.state} already")
    escalation.state = EscalationState.ACKNOWLEDGED
    escalation.acknowledged_by, escalation.acknowledged_at = user_id, at
    record(session, actor=f"user:{user_id}", action="escalation_acknowledged", subject=str(escalation_id), at=at)
    return escalation


def in_danger(session: Session, patient_ids: Collection[str], at: datetime) -> set[str]:
    """Those of the patients who have an emergency of the last hours that no person has resolved."""
    unresolved = (Escalation.acuity == Acuity.EMERGENCY, Escalation.state != EscalationState.RESOLVED, Escalation.created_at > at - _EMERGENCY_LASTS)
    return set(session.scalars(select(Escalation.patient_id).where(Escalation.patient_id.in_(patient_ids), *unresolved)))


def take_from(session: Session, escalation_id: int, user_id: str, at: datetime) -> Escalation:
    """The coordinator takes it from a colleague, with the conversation. Raises `EscalationNotFound`, and `EscalationConflict` where nobody has it."""
    escalation, conversation = _locked_with_talk(session, escalation_id)
    if escalation.state is not EscalationState.ACKNOWLEDGED:
        raise EscalationConflict(f"escalation {escalation_id} is {escalation.state}: there is nobody to take it from")
    former, escalation.acknowledged_by = escalation.acknowledged_by, user_id
    if conversation.coordinator_id == former:
        conversation.coordinator_id = user_id
    record(session, actor=f"user:{user_id}", action="escalation_taken_over", subject=str(escalation_id), at=at)
    return escalation


def resolve(session: Session, escalation_id: int, user_id: str, outcome: Outcome, note: str, at: datetime) -> Escalation:
    """Closes an acknowledged escalation with its outcome and a note; with the patient's last one the bot answers again, so that nobody is left to silence.

    Raises `EscalationNotFound`, and `EscalationConflict` where it was not acknowledged first or the note is empty.
    """
    escalation, _ = _locked_with_talk(session, escalation_id)
    if escalation.state is not EscalationState.ACKNOWLEDGED:
        raise EscalationConflict(f"escalation {escalation_id} is {escalation.state}: acknowledge it before you resolve it")
    if not note.strip():
        raise EscalationConflict("write in a few words what was done")
    escalation.state = EscalationState.RESOLVED
    escalation.resolved_by, escalation.resolved_at = user_id, at
    escalation.outcome, escalation.note = outcome, note.strip()
    record(session, actor=f"user:{user_id}", action="escalation_resolved", subject=str(escalation_id), at=at)
    session.flush()
    waits = select(Escalation.id).where(Escalation.patient_id == escalation.patient_id, Escalation.state != EscalationState.RESOLVED)
    if session.scalar(waits.limit(1)) is None:
        release(session, escalation.patient_id, user_id, at)
    return escalation


def take_over(session: Session, patient_id: str, user_id: str, at: datetime) -> None:
    """The coordinator answers from now on; the bot holds still, and its answers that wait are not sent. Raises `EscalationConflict` where another one already
    does."""
    conversation = _conversation(session, patient_id)
    if conversation.coordinator_id not in (None, user_id):
        raise EscalationConflict("another coordinator is answering this patient")
    if conversation.coordinator_id is None:
        conversation.coordinator_id = user_id
        record(session, actor=f"user:{user_id}", action="handoff_started", subject=patient_id, at=at)
    of_the_bot = (Outbound.author == BOT, Outbound.safety.is_(False), Outbound.compliance.is_(False), Outbound.contact_id.is_(None))
    session.execute(
        update(Outbound).where(Outbound.patient_id == patient_id, Outbound.state == OutboundState.PENDING, *of_the_bot).values(state=OutboundState.CANCELLED)
    )


def answer(session: Session, escalation_id: int, user_id: str, at: datetime) -> Escalation:
    """The coordinator writes to the patient: takes the escalation on where nobody has, and the conversation over; that the patient had written is settled.

    Raises `EscalationNotFound`, and `EscalationConflict` where another coordinator is at it or it was resolved.
    """
    escalation, _ = _locked_with_talk(session, escalation_id)
    if escalation.state is EscalationState.RESOLVED:
        raise EscalationConflict("this escalation was resolved meanwhile; write in one that is open")
    if escalation.state is EscalationState.ACKNOWLEDGED and escalation.acknowledged_by != user_id:
        raise EscalationConflict("another coordinator has taken this escalation; take it over first")
    take_over(session, escalation.patient_id, user_id, at)
    if escalation.state is EscalationState.OPEN:
        acknowledge(session, escalation_id, user_id, at)
    wrote = select(Escalation).where(
        Escalation.patient_id == escalation.patient_id, Escalation.reason == PATIENT_WROTE, Escalation.state != EscalationState.RESOLVED
    )
    for other in session.scalars(wrote.where(Escalation.id != escalation_id)).all():
        if other.state is EscalationState.OPEN:
            acknowledge(session, other.id, user_id, at)
        resolve(session, other.id, user_id, Outcome.ANSWERED, "answered in writing", at)
    return escalation


def release(session: Session, patient_id: str, user_id: str, at: datetime) -> None:
    """Hands the conversation back to the bot."""
    conversation = _conversation(session, patient_id)
    if conversation.coordinator_id is not None:
        conversation.coordinator_id = None
        record(session, actor=f"user:{user_id}", action="handoff_ended", subject=patient_id, at=at)


def _conversation(session: Session, patient_id: str) -> Conversation:
    return session.scalars(select(Conversation).where(Conversation.patient_id == patient_id).with_for_update()).one()


def _locked_with_talk(session: Session, escalation_id: int) -> tuple[Escalation, Conversation]:
    """The conversation first, as whoever has a turn locks them."""
    patient_id = session.scalar(select(Escalation.patient_id).where(Escalation.id == escalation_id))
    if patient_id is None:
        raise EscalationNotFound(escalation_id)
    conversation = _conversation(session, patient_id)
    return _locked(session, escalation_id), conversation


def _locked(session: Session, escalation_id: int) -> Escalation:
    escalation = session.scalars(select(Escalation).where(Escalation.id == escalation_id).with_for_update()).one_or_none()
    if escalation is None:
        raise EscalationNotFound(escalation_id)
    return escalation
