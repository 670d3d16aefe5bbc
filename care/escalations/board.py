"""What the console shows: open escalations by acuity and deadline, and one of them with everything a coordinator needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import case, select
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.escalations.service import EscalationNotFound
from care.messages.conversation import Line, conversation
from care.storage.tables import Answer, Conversation, Escalation, EscalationState, Patient, ReportRow, User

_RANK = case({acuity.value: -acuity.rank for acuity in Acuity}, value=Escalation.acuity)


@dataclass(frozen=True)
class BoardRow:
    """One escalation in the list."""

    id: int
    acuity: Acuity
    state: EscalationState
    reason: str
    summary: str
    patient: str
    deadline: datetime
    overdue: bool
    taken_by: str


@dataclass(frozen=True)
class AnswerPoint:
    """A numeric answer at a moment."""

    at: datetime
    value: float


@dataclass(frozen=True)
class Case:
    """One escalation with the patient, the conversation, the evidence, and the numeric answers by question."""

    escalation: Escalation
    patient: Patient
    answering: str
    lines: list[Line]
    triage: dict[str, Any] | None
    series: dict[str, list[AnswerPoint]]


def board(session: Session, at: datetime, limit: int = 300) -> list[BoardRow]:
    """Escalations that are not resolved: the most serious first, then the nearest deadline."""
    rows = session.execute(
        select(Escalation, Patient, User.username)
        .join(Patient, Patient.id == Escalation.patient_id)
        .outerjoin(User, User.id == Escalation.acknowledged_by)
        .where(Escalation.state != EscalationState.RESOLVED)
        .order_by(_RANK, Escalation.deadline)
        .limit(limit)
    ).all()
    return [
        BoardRow(row.id, row.acuity, row.state, row.reason, row.summary, patient.name, row.deadline, row.deadline < at, username or "")
        for row, patient, username in rows
    ]


def case_of(session: Session, escalation_id: int) -> Case:
    """Everything on one escalation. Raises `EscalationNotFound`."""
    escalation = session.get(Escalation, escalation_id)
    if escalation is None:
        raise EscalationNotFound(escalation_id)
    patient = session.get_one(Patient, escalation.patient_id)
    talk = session.get_one(Conversation, patient.id)
    user = session.get(User, talk.coordinator_id) if talk.coordinator_id else None
    report = session.scalars(select(ReportRow).where(ReportRow.inbound_id == escalation.inbound_id)).one_or_none() if escalation.inbound_id else None
    answers = session.scalars(select(Answer).where(Answer.patient_id == patient.id).order_by(Answer.at)).all()
    series: dict[str, list[AnswerPoint]] = {}
    for answer in answers:
        if isinstance(answer.value, int | float) and not isinstance(answer.value, bool):
            series.setdefault(answer.question, []).append(AnswerPoint(answer.at, float(answer.value)))
    return Case(
        escalation,
        patient,
        user.username if user else "",
        conversation(session, patient.id),
        report.triage if report else escalation.evidence.get("triage"),
        series,
    )
