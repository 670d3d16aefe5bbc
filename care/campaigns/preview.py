"""What a campaign will send, before it does: who, when in local time, in what words, how many segments, at what price."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from care.campaigns.outreach import first_words, questions_of
from care.campaigns.plan import contacts_of
from care.knowledge import knowledge
from care.messages.outbox import SEGMENTS_A_MESSAGE
from care.messages.sms_text import fold, segments, split
from care.patients.consent import consent_status
from care.patients.model import NewPatient
from care.settings import settings
from care.storage.columns import new_id
from care.storage.tables import Campaign, Contact, ContactState, Enrollment, Patient


class PreviewedContact(BaseModel):
    """One contact that is to come. `local` is the wall clock where the patient is; `price` in US dollars, of the first texts alone, answers not foreseen.
    `problem` says why the contact would be skipped as `failed`, and the remedy."""

    reference: str
    step: str
    at: datetime
    local: str
    texts: list[str]
    segments: int
    price: float
    problem: str = ""


def preview(session: Session, campaign: Campaign) -> Iterator[PreviewedContact]:
    """Every contact that is planned for those enrolled, the soonest first."""
    rows = session.execute(
        select(Contact, Patient)
        .join(Enrollment, Enrollment.id == Contact.enrollment_id)
        .join(Patient, Patient.id == Contact.patient_id)
        .where(Enrollment.campaign_id == campaign.id, Contact.state == ContactState.PLANNED)
        .order_by(Contact.due_at, Contact.id)
        .execution_options(yield_per=500)
    )
    asked: set[str] = set()
    for contact, patient in rows:
        first = patient.id not in asked and consent_status(session, patient.id) == "unknown"
        asked.add(patient.id)
        yield _previewed(contact, patient, asks=first)


def preview_new(campaign: Campaign, new: NewPatient, at: datetime) -> list[PreviewedContact]:
    """The contacts that a patient would get who is not enrolled yet; nothing is stored."""
    patient = Patient(id=new_id(), **new.model_dump(exclude={"anchor", "date_of_birth"}))
    enrollment = Enrollment(id=new_id(), anchor=new.anchor, campaign_id=campaign.id, patient_id=patient.id)
    planned = sorted((contact for contact in contacts_of(campaign, patient, enrollment) if contact.not_after > at), key=lambda contact: contact.due_at)
    return [_previewed(contact, patient, asks=number == 0) for number, contact in enumerate(planned)]


def _previewed(contact: Contact, patient: Patient, *, asks: bool) -> PreviewedContact:
    gone = next((question for question in questions_of(contact) if question not in knowledge().questions), None)
    words = [] if gone else first_words(contact, patient, asks_consent=asks)
    parts = [part for text in words for part in split(fold(text.text), SEGMENTS_A_MESSAGE)]
    count = sum(segments(part).segments for part in parts)
    return PreviewedContact(
        reference=patient.reference,
        step=contact.step,
        at=contact.due_at,
        local=contact.due_at.astimezone(ZoneInfo(patient.timezone)).strftime("%a %Y-%m-%d %H:%M"),
        texts=parts,
        segments=count,
        price=round(count * settings().sms_segment_price, 4),
        problem=f"The question {gone!r} is no longer in the knowledge: put it back, or move the patients with `amend --move`." if gone else "",
    )
