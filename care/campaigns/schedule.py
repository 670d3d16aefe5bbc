"""The campaign's clockwork: a tick claims the contacts that are due and queues our side's turns."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.campaigns.service import outside_quiet_hours
from care.escalations.service import Cause, raise_escalation
from care.knowledge import knowledge
from care.messages.inbox import accept_trigger
from care.patients.consent import consent_status
from care.storage.tables import Contact, ContactState, Enrollment, EnrollmentState, Inbound, Patient

_BATCH = 100


def tick(session: Session, at: datetime) -> list[str]:
    """Moves every contact that is due one step; the patients who now have a turn waiting.

    Two ticks at once are safe: rows are claimed with `SKIP LOCKED` (SQLite has one writer), and each step's key is unique.
    """
    due = session.scalars(select(Contact).where(Contact.next_at <= at).order_by(Contact.next_at).limit(_BATCH).with_for_update(skip_locked=True)).all()
    return [contact.patient_id for contact in due if _step(session, contact, at)]


def _step(session: Session, contact: Contact, at: datetime) -> bool:
    patient = session.get_one(Patient, contact.patient_id)
    enrollment = session.get_one(Enrollment, contact.enrollment_id)
    consent = consent_status(session, patient.id)
    if enrollment.state is not EnrollmentState.ACTIVE or consent == "revoked" or _stale(contact, at):
        contact.state, contact.next_at = ContactState.SKIPPED, None
        return False
    allowed = outside_quiet_hours(at, patient.timezone)
    if allowed > at:
        contact.next_at = allowed
        return False
    asked = consent == "unknown"
    if asked and contact.state is ContactState.PLANNED and _consent_was_asked_for(session, patient.id):
        contact.state, contact.next_at = ContactState.SKIPPED, None
        return False
    ladder = knowledge().protocols[contact.protocol].no_answer
    match contact.state:
        case ContactState.PLANNED:
            contact.state, contact.started_at = ContactState.STARTED, at
            contact.next_at = at + timedelta(hours=ladder.reminder_after_hours)
            trigger = "ask_consent" if asked else "start_check_in"
        case ContactState.STARTED:
            contact.state = ContactState.REMINDED
            contact.next_at = at + timedelta(hours=ladder.escalate_after_hours)
            trigger = "ask_consent" if asked else "remind"
        case _:
            contact.state, contact.next_at = ContactState.MISSED, None
            wanted = "the request for consent" if asked else f"the check-in of day {contact.day}"
            summary = f"No answer to {wanted}, although a reminder was sent."
            raise_escalation(session, patient.id, Cause(f"no_answer:{contact.id}", "no_answer", Acuity.ROUTINE, summary), at)
            return False
    return accept_trigger(session, patient.id, trigger, contact.id, f"contact:{contact.id}:{contact.state}", at)


def _consent_was_asked_for(session: Session, patient_id: str) -> bool:
    """Consent is asked for once and reminded of once, in all campaigns together; after that a person has been told."""
    return session.scalar(select(Inbound.id).where(Inbound.patient_id == patient_id, Inbound.trigger == "ask_consent").limit(1)) is not None


def _stale(contact: Contact, at: datetime) -> bool:
    return contact.state is ContactState.PLANNED and at > contact.not_after
