"""What our side says first. It is written at once, without an engine; the dialogue hears of it when the patient answers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.knowledge import knowledge
from care.knowledge.model import StepKind
from care.messages.inbox import accept_trigger, note_said
from care.messages.outbox import OutboundText, write
from care.storage.tables import Channel, Contact, ContactState, Inbound, InboundState, Patient
from care.texts import local_day_and_hour, scripted

INTROS = {
    StepKind.CHECK_IN: "check_in_intro",
    StepKind.MEDICINE: "medicine_intro",
    StepKind.APPOINTMENT: "appointment_intro",
    StepKind.SURVEY: "survey_intro",
}

NOT_WATCHED = ("not_watched", "consent_request", "consent_needed", "start_confirmed")
"""The texts that say so."""


def first_words(contact: Contact, patient: Patient, *, asks_consent: bool) -> list[OutboundText]:
    """How the contact begins: the request for consent, an advice statement, or its first question with some words before it."""
    if asks_consent:
        return [_scripted("consent_request", patient)]
    if contact.advice:
        return [OutboundText(knowledge().advice[contact.advice].said(patient.language), key=f"advice_{contact.advice}")]
    visit = local_day_and_hour(contact.appointment_at, patient.timezone, patient.language) if contact.appointment_at else ""
    return [_scripted(INTROS[contact.kind], patient, appointment=visit), _first_question(contact, patient)]


def not_watched(patient: Patient) -> OutboundText:
    """That nobody watches the messages round the clock, as the first one said."""
    return _scripted(NOT_WATCHED[0], patient)


def questions_of(contact: Contact) -> list[str]:
    """The questions as they were planned; of a contact planned before these were kept, the protocol's."""
    return list(contact.questions) or knowledge().protocols[contact.protocol].questions_on(contact.day)


def begin(session: Session, contact: Contact, patient: Patient, *, asks_consent: bool, notice: bool, at: datetime, not_after: datetime) -> bool:
    """Says the first words by SMS, after the `notice` that nobody watches where it is due; false where they were said before."""
    trigger = "ask_consent" if asks_consent else "start_check_in"
    notices = [not_watched(patient)] if notice else []
    return _say(session, contact, trigger, notices + first_words(contact, patient, asks_consent=asks_consent), at, not_after)


def remind(session: Session, contact: Contact, patient: Patient, *, asks_consent: bool, at: datetime, not_after: datetime) -> bool:
    """Says them once more, in short; where the patient has answered something meanwhile, the dialogue says it, since it knows which question is open."""
    trigger = "ask_consent" if asks_consent else "remind"
    if not _unanswered(session, contact):
        return accept_trigger(session, patient.id, trigger, contact.id, _key(contact), at, not_after)
    words = [_scripted("consent_needed", patient)] if asks_consent else [_scripted("reminder", patient), _first_question(contact, patient)]
    return _say(session, contact, trigger, words, at, not_after)


def say(session: Session, contact: Contact, texts: list[OutboundText], at: datetime, not_after: datetime) -> None:
    """Says something that wants no answer."""
    write(session, contact.patient_id, Channel.SMS, texts, at, contact_id=contact.id, not_after=not_after)


def _say(session: Session, contact: Contact, trigger: str, texts: list[OutboundText], at: datetime, not_after: datetime) -> bool:
    with session.no_autoflush:  # what a tick has changed is written together at its end
        inbound_id = note_said(session, contact.patient_id, trigger, contact.id, _key(contact), at)
    if inbound_id is None:
        return False
    write(session, contact.patient_id, Channel.SMS, texts, at, inbound_id=inbound_id, contact_id=contact.id, not_after=not_after)
    return True


def _unanswered(session: Session, contact: Contact) -> bool:
    """Whether the dialogue has not heard of the contact yet, since no message came after it."""
    first = select(Inbound.state).where(Inbound.channel == Channel.SMS, Inbound.external_id == f"contact:{contact.id}:{ContactState.STARTED}")
    return session.scalar(first) is InboundState.SAID


def _key(contact: Contact) -> str:
    return f"contact:{contact.id}:{contact.state}"


def _first_question(contact: Contact, patient: Patient) -> OutboundText:
    question = knowledge().questions[questions_of(contact)[0]]
    return OutboundText(question.text.get(patient.language, question.text["en"]), key=f"question_{question.id}")


def _scripted(key: str, patient: Patient, **values: str) -> OutboundText:
    return OutboundText(scripted(key, patient.language, first_name=patient.first_name, **values), key=key)
