"""Consent: a history of grants and revocations; the newest one counts. Of a number that is said to be somebody else's, only a person restores it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from care.audit import record
from care.storage.tables import Consent

ConsentStatus = Literal["unknown", "granted", "revoked"]
WRONG_NUMBER, NUMBER_CHECKED = "wrong_number", "number_checked"
"""The sources of what is known of whose number it is."""
BY_STAFF = "staff"
_STATUS: dict[bool | None, ConsentStatus] = {True: "granted", False: "revoked", None: "unknown"}


def consent_status(session: Session, patient_id: str) -> ConsentStatus:
    """Whether the patient agreed to messages, said no, or was never asked (at this number)."""
    return _STATUS[session.scalar(select(Consent.granted).where(Consent.patient_id == patient_id).order_by(Consent.id.desc()).limit(1))]


def consent_statuses(session: Session, patient_ids: Collection[str]) -> dict[str, ConsentStatus]:
    """The same of many patients at once; who was never asked is not in it."""
    newest = select(func.max(Consent.id)).where(Consent.patient_id.in_(patient_ids)).group_by(Consent.patient_id)
    rows = session.execute(select(Consent.patient_id, Consent.granted).where(Consent.id.in_(newest)))
    return {row[0]: _STATUS[row[1]] for row in rows}


def consent_history(session: Session, patient_id: str) -> Sequence[Consent]:
    """What was said of it, the newest first."""
    return session.scalars(select(Consent).where(Consent.patient_id == patient_id).order_by(Consent.id.desc())).all()


def number_in_doubt(session: Session, patient_id: str) -> bool:
    """Whether the number was said to be somebody else's, and no person has checked it since: who writes from it may not be the patient."""
    told = select(Consent.source).where(Consent.patient_id == patient_id, Consent.source.in_((WRONG_NUMBER, NUMBER_CHECKED)))
    return session.scalar(told.order_by(Consent.id.desc()).limit(1)) == WRONG_NUMBER


def record_consent(
    session: Session, patient_id: str, *, granted: bool | None, channel: str, words: str, source: str, at: datetime, actor: str | None = None
) -> None:
    """Adds to the history: who agreed or declined, where, in which words, and how we learned of it. `actor`: who wrote it down, where not the patient."""
    session.add(Consent(patient_id=patient_id, granted=granted, channel=channel, words=words, source=source, at=at))
    action = {True: "consent_granted", False: "consent_revoked", None: "consent_reset"}[granted]
    record(session, actor=actor or f"patient:{patient_id}", action=action, subject=patient_id, at=at)
