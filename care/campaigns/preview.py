"""What a campaign will send, before it does: who, when in local time, in what words, how many segments, at what price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from care.campaigns.outreach import first_words, questions_of
from care.campaigns.plan import contacts_of
from care.knowledge import knowledge
from care.knowledge.model import StepKind
from care.messages.notice import notice
from care.messages.outbox import SEGMENTS_A_MESSAGE, waits_in_chat
from care.messages.sms_text import fold, segments, split
from care.messages.unsaid import asked_in_a_contact
from care.patients.consent import ConsentStatus, consent_status
from care.patients.model import NewPatient
from care.sessions import sample_url
from care.settings import settings
from care.storage.columns import new_id
from care.storage.engine import reading
from care.storage.tables import Campaign, Contact, ContactState, Enrollment, Patient


class PreviewedContact(BaseModel):
    """One contact that is to come. `local` is the wall clock where the patient is; `price` in US dollars, of the first texts alone, answers not foreseen.
    `problem` says why the contact would be skipped, and the remedy where there is one."""

    reference: str
    step: str
    at: datetime
    local: str
    texts: list[str]
    segments: int
    price: float
    problem: str = ""


@dataclass
class _Consent:
    """A patient's consent as a tick finds it: it is asked for once, with a check-in. A preview takes it that who is asked agrees."""

    status: ConsentStatus
    asked: bool

    def lacks_for(self, contact: Contact) -> bool:
        """Whether the contact is skipped for want of it."""
        return self.status == "unknown" and (self.asked or contact.kind is not StepKind.CHECK_IN)


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
    consents: dict[str, _Consent] = {}
    for contact, patient in rows:
        if patient.id not in consents:
            consents[patient.id] = _consent_of(session, patient.id)
        yield _previewed(contact, patient, consents[patient.id])


def preview_new(campaign: Campaign, new: NewPatient, at: datetime) -> list[PreviewedContact]:
    """The contacts that a patient would get who is not enrolled yet; nothing is stored. One who is known keeps what is known: enrolling changes none of it."""
    with reading() as session:
        known = session.scalars(select(Patient).where(Patient.reference == new.reference)).one_or_none()
        consent = _consent_of(session, known.id) if known else _Consent("unknown", asked=False)
    patient = known or Patient(id=new_id(), **new.model_dump(exclude={"anchor", "date_of_birth"}))
    enrollment = Enrollment(id=new_id(), anchor=new.anchor, campaign_id=campaign.id, patient_id=patient.id)
    planned = sorted((contact for contact in contacts_of(campaign, patient, enrollment) if contact.not_after > at), key=lambda contact: contact.due_at)
    return [_previewed(contact, patient, consent) for contact in planned]


def _consent_of(session: Session, patient_id: str) -> _Consent:
    return _Consent(consent_status(session, patient_id), patient_id in asked_in_a_contact(session, [patient_id]))


def _previewed(contact: Contact, patient: Patient, consent: _Consent) -> PreviewedContact:
    problem = _problem(contact, patient, consent)
    words = [] if problem else first_words(contact, patient, asks_consent=consent.status == "unknown")
    if not problem:
        consent.status = "granted"
    openly = [text.text for text in words if not waits_in_chat(text, shared_phone=patient.shared_phone)]
    if len(openly) < len(words):
        openly.append(notice(patient, sample_url()))
    parts = [part for text in openly for part in split(fold(text), SEGMENTS_A_MESSAGE)]
    count = sum(segments(part).segments for part in parts)
    return PreviewedContact(
        reference=patient.reference,
        step=contact.step,
        at=contact.due_at,
        local=contact.due_at.astimezone(ZoneInfo(patient.timezone)).strftime("%a %Y-%m-%d %H:%M"),
        texts=parts,
        segments=count,
        price=round(count * settings().sms_segment_price, 4),
        problem=problem,
    )


def _problem(contact: Contact, patient: Patient, consent: _Consent) -> str:
    if consent.status == "revoked":
        return "opted out"
    if patient.number_problem is not None:
        return "the number takes no SMS"
    if consent.lacks_for(contact):
        return "has not agreed to messages"
    gone = next((question for question in questions_of(contact) if question not in knowledge().questions), None)
    return f"The question {gone!r} is no longer in the knowledge: put it back, or move the patients with `amend --move`." if gone else ""
