"""What the console shows: open escalations by acuity and deadline, and one of them with everything a coordinator needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.escalations.service import EscalationNotFound
from care.messages.conversation import Line, conversation
from care.storage.tables import Answer, Conversation, Escalation, EscalationState, Patient, ReportRow, User

_RANK = case({acuity.value: -acuity.rank for acuity in Acuity}, value=Escalation.acuity)
LONGEST = 500


class Show(StrEnum):
    """Which part of the board a coordinator looks at."""

    ALL = "all"
    UNTAKEN = "untaken"
    MINE = "mine"
    OVERDUE = "overdue"


@dataclass(frozen=True)
class BoardRow:
    """One escalation in the list. `left`: how long until the deadline, less than nothing where it has passed."""

    id: int
    acuity: Acuity
    state: EscalationState
    reason: str
    summary: str
    patient: str
    deadline: datetime
    left: timedelta
    taken_by: str

    @property
    def overdue(self) -> bool:
        """Whether the deadline has passed."""
        return self.left < timedelta(0)


@dataclass(frozen=True)
class Board:
    """The rows that are shown, how many there are of each kind, and how many open ones of each acuity."""

    rows: list[BoardRow]
    show: Show
    counts: dict[Show, int]
    acuities: dict[Acuity, int]
    hidden: int


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


def board(session: Session, at: datetime, user: User, show: Show = Show.ALL) -> Board:
    """What is not resolved: the most serious first, then the nearest deadline. At most `LONGEST` rows are shown."""
    open_ones = Escalation.state != EscalationState.RESOLVED
    wanted = {
        Show.ALL: open_ones,
        Show.UNTAKEN: Escalation.state == EscalationState.OPEN,
        Show.MINE: and_(open_ones, Escalation.acknowledged_by == user.id),
        Show.OVERDUE: and_(open_ones, Escalation.deadline < at),
    }
    rows = session.execute(
        select(Escalation, Patient, User.username)
        .join(Patient, Patient.id == Escalation.patient_id)
        .outerjoin(User, User.id == Escalation.acknowledged_by)
        .where(wanted[show])
        .order_by(_RANK, Escalation.deadline, Escalation.id)
        .limit(LONGEST)
    ).all()
    counts = {each: session.scalar(select(func.count()).select_from(Escalation).where(where)) or 0 for each, where in wanted.items()}
    per_acuity = session.execute(select(Escalation.acuity, func.count()).where(open_ones).group_by(Escalation.acuity))
    by_acuity = {row[0]: row[1] for row in per_acuity}
    shown = [
        BoardRow(row.id, row.acuity, row.state, row.reason, row.summary, patient.name, row.deadline, row.deadline - at, username or "")
        for row, patient, username in rows
    ]
    return Board(shown, show, counts, {acuity: by_acuity.get(acuity, 0) for acuity in reversed(Acuity)}, counts[show] - len(shown))


def next_untaken(session: Session, after: int) -> int | None:
    """The escalation to take next: the most serious, most pressing one that nobody has taken, other than `after`."""
    return session.scalars(
        select(Escalation.id)
        .where(Escalation.state == EscalationState.OPEN, Escalation.id != after)
        .order_by(_RANK, Escalation.deadline, Escalation.id)
        .limit(1)
    ).one_or_none()


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
