"""Consent: a history of grants and revocations; the newest one counts."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from care.audit import record
from care.storage.tables import Consent

ConsentStatus = Literal["unknown", "granted", "revoked"]


def consent_status(session: Session, patient_id: str) -> ConsentStatus:
    """Whether the patient agreed to messages, said no, or was never asked."""
    granted = session.scalar(select(Consent.granted).where(Consent.patient_id == patient_id).order_by(Consent.id.desc()).limit(1))
    if granted is None:
        return "unknown"
    return "granted" if granted else "revoked"


def consent_statuses(session: Session, patient_ids: Collection[str]) -> dict[str, ConsentStatus]:
    """The same of many patients at once; who was never asked is not in it."""
    newest = select(func.max(Consent.id)).where(Consent.patient_id.in_(patient_ids)).group_by(Consent.patient_id)
    rows = session.execute(select(Consent.patient_id, Consent.granted).where(Consent.id.in_(newest)))
    return {row[0]: "granted" if row[1] else "revoked" for row in rows}


def record_consent(session: Session, patient_id: str, *, granted: bool, channel: str, words: str, source: str, at: datetime) -> None:
    """Adds to the history: who agreed or declined, where, in which words, and how we learned of it."""
    session.add(Consent(patient_id=patient_id, granted=granted, channel=channel, words=words, source=source, at=at))
    record(session, actor=f"patient:{patient_id}", action="consent_granted" if granted else "consent_revoked", subject=patient_id, at=at)
