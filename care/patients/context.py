"""What is known of a patient at a moment: the protocol and the day, age and sex; never who it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.storage.tables import Campaign, Enrollment, EnrollmentState, Patient
from care.triage.model import PatientContext


def clinical_context(session: Session, patient: Patient, at: datetime) -> PatientContext:
    """The context of the patient's newest active enrollment at `at`, in the patient's own time zone."""
    return clinical_contexts(session, {patient.id: (patient, at)})[patient.id]


def clinical_contexts(session: Session, patients: Mapping[str, tuple[Patient, datetime]]) -> dict[str, PatientContext]:
    """The same of several patients, each at a moment of its own."""
    if not patients:
        return {}
    rows = session.execute(
        select(Enrollment.patient_id, Enrollment.anchor, Campaign.protocol)
        .join(Campaign, Campaign.id == Enrollment.campaign_id)
        .where(Enrollment.patient_id.in_(patients), Enrollment.state == EnrollmentState.ACTIVE)
        .order_by(Enrollment.created_at)
    )
    newest: dict[str, tuple[date, str]] = {row[0]: (row[1], row[2]) for row in rows}
    return {patient_id: _context(patient, at, newest.get(patient_id)) for patient_id, (patient, at) in patients.items()}


def _context(patient: Patient, at: datetime, enrolled: tuple[date, str] | None) -> PatientContext:
    today = at.astimezone(ZoneInfo(patient.timezone)).date()
    return PatientContext(
        protocol=enrolled[1] if enrolled else None,
        day=(today - enrolled[0]).days if enrolled else None,
        age=_age(date.fromisoformat(patient.date_of_birth), today),
        sex=patient.sex if patient.sex in ("female", "male", "other") else None,
        language=patient.language,
    )


def _age(born: date, today: date) -> int:
    return max(0, today.year - born.year - ((today.month, today.day) < (born.month, born.day)))
