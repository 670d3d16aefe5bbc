"""What a person writes down for a patient: a wish to get no more messages, said by another way, the number that was checked to be the patient's, and whether
others read the phone."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.audit import record
from care.escalations.service import Cause, raise_escalation
from care.messages.conversation import lock_conversations
from care.messages.outbox import hide_waiting
from care.messages.unsaid import ASK_CONSENT, ASKED_FORMERLY
from care.patients.consent import BY_STAFF, NUMBER_CHECKED, ConsentStatus, consent_history, consent_status, number_in_doubt, record_consent
from care.patients.model import OptOut
from care.storage.crypto import blind_index
from care.storage.tables import Channel, ChatLink, Conversation, Inbound, InboundState, Outbound, OutboundState, Patient


class PhoneConflict(Exception):
    """The number cannot be kept; the message names the field and the remedy."""


def opt_out(session: Session, patient: Patient, wish: OptOut, *, actor: str, at: datetime) -> None:
    """Ends all messages, as the patient asked by a way that is not ours. Nothing confirms it: the patient has an answer already."""
    record_consent(session, patient.id, granted=False, channel=wish.way, words=wish.words, source=BY_STAFF, at=at, actor=actor)


def set_phone(session: Session, patient: Patient, phone: str, *, actor: str, at: datetime) -> ConsentStatus:
    """Keeps the number (E.164) that a person checked to be the patient's, the one on record or another; the consent that now holds.

    Consent at another number, or at one that was in doubt, is asked for anew; what the patient ended stays ended until START. What waits to be sent goes to
    neither number. Raises `PhoneConflict`.
    """
    index, in_doubt = blind_index(phone), number_in_doubt(session, patient.id)
    other = index != patient.phone_index
    if other and session.scalar(select(Patient.id).where(Patient.phone_index == index)):
        raise PhoneConflict("phone: another patient has this number; give each patient a number of their own")
    if not other and not in_doubt and patient.number_problem is None:
        raise PhoneConflict("phone: this number is on record already and nothing is known against it; give the new one")
    patient.number_problem = None
    if other:
        patient.phone, patient.phone_index, patient.carrier = phone, index, None
    if other or in_doubt:
        _begin_anew(session, patient, in_doubt=in_doubt, actor=actor, at=at)
    record(session, actor=actor, action="phone_changed" if other else "phone_confirmed", subject=patient.id, at=at)
    return consent_status(session, patient.id)


def set_phone_use(session: Session, patient: Patient, *, shared: bool, actor: str, at: datetime) -> None:
    """Keeps whether others read the patient's phone. To a shared one nothing of the patient's health is sent from now on, nor what waits to be sent."""
    if patient.shared_phone == shared:
        return
    lock_conversations(session, [patient.id])
    patient.shared_phone = shared
    if shared:
        hide_waiting(session, patient, at)
    record(session, actor=actor, action="phone_shared" if shared else "phone_not_shared", subject=patient.id, at=at)


def _begin_anew(session: Session, patient: Patient, *, in_doubt: bool, actor: str, at: datetime) -> None:
    """What was asked, agreed and begun at the former number does not count at this one, and nothing that was meant for it is sent."""
    talk = session.scalars(select(Conversation).where(Conversation.patient_id == patient.id).with_for_update()).one()
    talk.fence, talk.lease_until = talk.fence + 1, None  # a turn that is under way writes nothing more
    talk.dialogue_state, talk.dialogue_version = None, talk.dialogue_version + 1
    newest = next(iter(consent_history(session, patient.id)), None)
    ended = newest is not None and newest.granted is False and (newest.source == BY_STAFF or not in_doubt)
    record_consent(session, patient.id, granted=False if ended else None, channel=Channel.SMS, words="", source=NUMBER_CHECKED, at=at, actor=actor)
    session.execute(
        update(Inbound)
        .where(Inbound.patient_id == patient.id, Inbound.trigger == ASK_CONSENT)
        .values(trigger=ASKED_FORMERLY, state=InboundState.HANDLED, handled_at=at)
    )
    session.execute(delete(ChatLink).where(ChatLink.patient_id == patient.id))
    waiting = (Outbound.patient_id == patient.id, Outbound.channel == Channel.SMS, Outbound.state.in_((OutboundState.PENDING, OutboundState.UNKNOWN)))
    warnings = session.scalars(select(Outbound.id).where(*waiting, Outbound.safety)).all()
    session.execute(update(Outbound).where(*waiting).values(state=OutboundState.CANCELLED))
    if warnings:
        told = "A safety message to the former number was not sent: phone the patient."
        raise_escalation(session, patient.id, Cause(f"number_checked:{warnings[-1]}", "not_sent", Acuity.URGENT, told), at)
