"""What is known of a patient at a moment: the protocol and the day, age and sex; never who it is."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.storage.tables import Campaign, Enrollment, EnrollmentState, Patient
from care.triage.model import PatientContext


def clinical_context(session: Session, patient: Patient, at: datetime) -> PatientContext:
    """The context of the patient's newest active enrollment at `at`, in the patient's own time zone."""
    today = at.astimezone(ZoneInfo(patient.timezone)).date()
    row = session.execute(
        select(Enrollment.anchor, Campaign.protocol)
        .join(Campaign, Campaign.id == Enrollment.campaign_id)
        .where(Enrollment.patient_id == patient.id, Enrollment.state == EnrollmentState.ACTIVE)
        .order_by(Enrollment.created_at.desc())
        .limit(1)
    ).first()
    sex = patient.sex if patient.sex in ("female", "male", "other") else None
    return PatientContext(
        protocol=row.protocol if row else None,
        day=(today - row.anchor).days if row else None,
        age=_age(date.fromisoformat(patient.date_of_birth), today),
        sex=sex,
        language=patient.language,
    )


def _age(born: date, today: date) -> int:
    return max(0, today.year - born.year - ((today.month, today.day) < (born.month, born.day)))
