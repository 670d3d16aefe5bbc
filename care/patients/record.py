"""Everything that is kept of one patient: handed over on request, and erased on request."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import delete, inspect, select
from sqlalchemy.orm import Session

from care.audit import record
from care.patients.model import normalise_phone
from care.storage.columns import Base, new_id
from care.storage.crypto import blind_index
from care.storage.tables import (
    Answer,
    ChatLink,
    Consent,
    Contact,
    Conversation,
    Enrollment,
    Escalation,
    EscalationState,
    Inbound,
    Outbound,
    Patient,
    ReportRow,
    Silence,
    WebSession,
)

_OWNED: tuple[type[Base], ...] = (Consent, Enrollment, Contact, Inbound, Outbound, Answer, ReportRow, Escalation, Silence)
"""What is handed over."""
_ERASED: tuple[type[Base], ...] = (ChatLink, Contact, Enrollment, Conversation, Inbound, Outbound, Answer, ReportRow, Escalation, Silence)
"""What is erased; the consents stay, without their words."""


class PatientNotFound(Exception):
    """No patient has this reference."""

    def __init__(self, reference: str) -> None:
        super().__init__(f"no patient has the reference {reference!r}; see `aftercare campaign list`, or the clinic's own record")


class PatientBusy(Exception):
    """The patient has open escalations, which nobody could act on once the record is gone."""

    def __init__(self, number: int) -> None:
        super().__init__(f"the patient has {number} open escalations; resolve them in the console first")


class PatientRecord(BaseModel):
    """The patient's own fields, and by table all rows that are the patient's, oldest first."""

    patient: dict[str, Any]
    rows: dict[str, list[dict[str, Any]]]


def find_patient(session: Session, reference: str) -> Patient:
    """The patient with the clinic's `reference`. Raises `PatientNotFound`."""
    patient = session.scalars(select(Patient).where(Patient.reference == reference)).one_or_none()
    if patient is None:
        raise PatientNotFound(reference)
    return patient


def patient_with(session: Session, sought: str) -> Patient | None:
    """The patient whose reference or phone this is."""
    patient = session.scalars(select(Patient).where(Patient.reference == sought)).one_or_none()
    if patient is not None:
        return patient
    try:
        phone = normalise_phone(sought)
    except ValueError:
        return None
    return session.scalars(select(Patient).where(Patient.phone_index == blind_index(phone))).one_or_none()


def export_patient(session: Session, patient: Patient, *, actor: str, at: datetime) -> PatientRecord:
    """All that is kept of the patient, in plain words; the audit says that it was handed out."""
    record(session, actor=actor, action="patient_exported", subject=patient.id, at=at)
    rows = {
        table.__tablename__: [
            _fields(row) for row in session.scalars(select(table).where(_patient_of(table) == patient.id).order_by(*inspect(table).primary_key))
        ]
        for table in _OWNED
    }
    return PatientRecord(patient=_fields(patient), rows=rows)


def erase_patient(session: Session, patient: Patient, *, actor: str, at: datetime) -> None:
    """Removes the patient's name, number, words, answers and escalations in the caller's transaction. Raises `PatientBusy`.

    What stays names nobody: the audit chain's ids, and when consent was given and taken back.
    """
    busy = session.scalars(select(Escalation.id).where(Escalation.patient_id == patient.id, Escalation.state != EscalationState.RESOLVED)).all()
    if busy:
        raise PatientBusy(len(busy))
    for table in _ERASED:
        session.execute(delete(table).where(_patient_of(table) == patient.id))
    session.execute(delete(WebSession).where(WebSession.subject_id == patient.id))
    for consent in session.scalars(select(Consent).where(Consent.patient_id == patient.id)):
        consent.words = ""
    patient.reference, patient.phone_index = f"erased-{patient.id}", f"erased-{new_id()}"
    patient.name = patient.phone = patient.date_of_birth = ""
    patient.sex = None
    record(session, actor=actor, action="patient_erased", subject=patient.id, at=at)


def _patient_of(table: type[Base]) -> Any:
    return inspect(table).columns["patient_id"]


def _fields(row: Base) -> dict[str, Any]:
    return {name: getattr(row, name) for name in inspect(type(row)).columns.keys() if name not in {"phone_index", "dialogue_state"}}  # noqa: SIM118
