"""What the console shows: open escalations by acuity and deadline, and one of them with everything a coordinator needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, case, exists, func, select
from sqlalchemy.orm import Session, load_only

from care.acuity import Acuity
from care.audit import record
from care.escalations.service import EscalationNotFound
from care.messages.conversation import Line, conversation
from care.patients.consent import ConsentStatus, consent_status, number_in_doubt
from care.patients.context import clinical_context
from care.storage.tables import Answer, AuditEntry, Conversation, Escalation, EscalationState, Patient, ReportRow, User
from care.triage.model import PatientContext

_RANK = case({acuity.value: -acuity.rank for acuity in Acuity}, value=Escalation.acuity)
LONGEST = 500
_NEWEST = 10
"""So many resolved escalations of a patient are listed."""
_READ, _ONE_READING = "case_read", timedelta(hours=1)
"""Who has a case open reads it; what is fetched so soon after is the same reading."""


_OF_ROW = load_only(*(getattr(Escalation, name) for name in ("id", "acuity", "state", "reason", "summary", "deadline")))
"""What a row shows: the rest would be deciphered for nothing, every two seconds."""


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
    """The rows that are shown, how many there are of each kind, how many open ones of each acuity, and how many emergencies nobody has taken."""

    rows: list[BoardRow]
    show: Show
    counts: dict[Show, int]
    acuities: dict[Acuity, int]
    untaken_emergencies: int
    hidden: int


@dataclass(frozen=True)
class AnswerPoint:
    """A numeric answer at a moment."""

    at: datetime
    value: float


@dataclass(frozen=True)
class Talk:
    """A patient's conversation by the clock where the patient is. `raised_by`: the id of the line that raised the escalation, empty where it is not shown."""

    patient_id: str
    zone: str
    lines: list[Line]
    raised_by: str


@dataclass(frozen=True)
class CaseLine:
    """One of a patient's escalations in a list. `age`: how long ago it was raised."""

    id: int
    reason: str
    acuity: Acuity
    state: EscalationState
    outcome: str
    age: timedelta


@dataclass(frozen=True)
class Case:
    """One escalation with what decides the call, the conversation, the evidence, and the numeric answers by question.

    `here` and `deadline` are by the clock where the patient is; `left`: how long until the deadline, less than nothing where it has passed; `taken_by` and
    `answering` are names of users; `others` are the patient's other open escalations.
    """

    escalation: Escalation
    patient: Patient
    context: PatientContext
    here: datetime
    deadline: datetime
    left: timedelta
    consent: ConsentStatus
    in_doubt: bool
    taken_by: str
    answering: str
    others: list[CaseLine]
    talk: Talk
    triage: dict[str, Any] | None
    series: dict[str, list[AnswerPoint]]


def board(session: Session, at: datetime, user: User, show: Show = Show.ALL) -> Board:
    """What is not resolved: the most serious first, then the nearest deadline. At most `LONGEST` rows are shown."""
    open_ones = Escalation.state.in_((EscalationState.OPEN, EscalationState.ACKNOWLEDGED))
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
        .options(_OF_ROW, load_only(Patient.id, Patient.name))
    ).all()
    counts = {each: session.scalar(select(func.count()).select_from(Escalation).where(where)) or 0 for each, where in wanted.items()}
    per_acuity = session.execute(select(Escalation.acuity, func.count()).where(open_ones).group_by(Escalation.acuity))
    by_acuity = {row[0]: row[1] for row in per_acuity}
    emergencies = select(func.count()).where(wanted[Show.UNTAKEN], Escalation.acuity == Acuity.EMERGENCY)
    shown = [
        BoardRow(row.id, row.acuity, row.state, row.reason, row.summary, patient.name, row.deadline, row.deadline - at, username or "")
        for row, patient, username in rows
    ]
    return Board(
        rows=shown,
        show=show,
        counts=counts,
        acuities={acuity: by_acuity.get(acuity, 0) for acuity in reversed(Acuity)},
        untaken_emergencies=session.scalar(emergencies) or 0,
        hidden=counts[show] - len(shown),
    )


def next_untaken(session: Session, after: int) -> int | None:
    """The escalation to take next: the most serious, most pressing one that nobody has taken, other than `after`."""
    return session.scalars(
        select(Escalation.id)
        .where(Escalation.state == EscalationState.OPEN, Escalation.id != after)
        .order_by(_RANK, Escalation.deadline, Escalation.id)
        .limit(1)
    ).one_or_none()


def case_of(session: Session, escalation_id: int, at: datetime) -> Case:
    """Everything on one escalation as it stands at `at`. Raises `EscalationNotFound`."""
    escalation = escalation_of(session, escalation_id)
    patient = session.get_one(Patient, escalation.patient_id)
    zone = ZoneInfo(patient.timezone)
    return Case(
        escalation=escalation,
        patient=patient,
        context=clinical_context(session, patient, at),
        here=at.astimezone(zone),
        deadline=escalation.deadline.astimezone(zone),
        left=escalation.deadline - at,
        consent=consent_status(session, patient.id),
        in_doubt=number_in_doubt(session, patient.id),
        taken_by=_name(session, escalation.acknowledged_by),
        answering=_name(session, session.get_one(Conversation, patient.id).coordinator_id),
        others=[each for each in open_cases(session, patient.id, at) if each.id != escalation.id],
        talk=_talk(session, escalation, patient),
        triage=_triage(session, escalation),
        series=_series(session, patient.id, zone),
    )


def talk_of(session: Session, escalation_id: int) -> Talk:
    """The conversation of an escalation's patient alone. Raises `EscalationNotFound`."""
    escalation = escalation_of(session, escalation_id)
    return _talk(session, escalation, session.get_one(Patient, escalation.patient_id))


def escalation_of(session: Session, escalation_id: int) -> Escalation:
    """The escalation alone. Raises `EscalationNotFound`."""
    escalation = session.get(Escalation, escalation_id)
    if escalation is None:
        raise EscalationNotFound(escalation_id)
    return escalation


def open_cases(session: Session, patient_id: str, at: datetime) -> list[CaseLine]:
    """The patient's escalations that are not resolved, as the board orders them."""
    theirs = select(Escalation).where(Escalation.patient_id == patient_id, Escalation.state != EscalationState.RESOLVED)
    return _listed(session.scalars(theirs.order_by(_RANK, Escalation.deadline, Escalation.id)), at)


def resolved_cases(session: Session, patient_id: str, at: datetime) -> list[CaseLine]:
    """The patient's escalations that were resolved last."""
    theirs = select(Escalation).where(Escalation.patient_id == patient_id, Escalation.state == EscalationState.RESOLVED)
    return _listed(session.scalars(theirs.order_by(Escalation.resolved_at.desc(), Escalation.id.desc()).limit(_NEWEST)), at)


def note_reading(session: Session, user: User, patient_id: str, at: datetime) -> None:
    """The user opened a case of the patient."""
    record(session, actor=f"user:{user.id}", action=_READ, subject=patient_id, at=at)


def reading_is_noted(session: Session, user: User, patient_id: str, at: datetime) -> bool:
    """Whether it is on record that the user reads the patient's cases at `at`."""
    noted = exists().where(
        AuditEntry.subject == patient_id, AuditEntry.actor == f"user:{user.id}", AuditEntry.action == _READ, AuditEntry.at > at - _ONE_READING
    )
    return bool(session.scalar(select(noted)))


def _name(session: Session, user_id: str | None) -> str:
    user = session.get(User, user_id) if user_id else None
    return user.username if user else ""


def _listed(escalations: Iterable[Escalation], at: datetime) -> list[CaseLine]:
    return [CaseLine(each.id, each.reason, each.acuity, each.state, each.outcome or "", at - each.created_at) for each in escalations]


def _talk(session: Session, escalation: Escalation, patient: Patient) -> Talk:
    zone = ZoneInfo(patient.timezone)
    lines = [replace(line, at=line.at.astimezone(zone)) for line in conversation(session, patient.id)]
    raised_by = f"in{escalation.inbound_id}"
    return Talk(patient.id, patient.timezone, lines, raised_by if any(line.id == raised_by for line in lines) else "")


def _triage(session: Session, escalation: Escalation) -> dict[str, Any] | None:
    report = session.scalars(select(ReportRow).where(ReportRow.inbound_id == escalation.inbound_id)).one_or_none() if escalation.inbound_id else None
    triage: dict[str, Any] | None = report.triage if report else escalation.evidence.get("triage")
    return triage


def _series(session: Session, patient_id: str, zone: ZoneInfo) -> dict[str, list[AnswerPoint]]:
    series: dict[str, list[AnswerPoint]] = {}
    for answer in session.scalars(select(Answer).where(Answer.patient_id == patient_id).order_by(Answer.at)):
        if isinstance(answer.value, int | float) and not isinstance(answer.value, bool):
            series.setdefault(answer.question, []).append(AnswerPoint(answer.at.astimezone(zone), float(answer.value)))
    return series
