"""Accepting what is stored: the keyword and red-flag rules read each message (alone, and joined with those of the last five minutes), and what they
call for, an escalation, a warning, an opt-out, is written in the transaction that accepts it.

It needs nothing but the database. Whoever stored a message accepts it at once; the sweep does it where that process died.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session, load_only

from care.acuity import Acuity
from care.escalations.service import Cause, raise_escalation
from care.messages.inbox import Incoming, accept_trigger, store
from care.messages.on_acceptance import JOIN_WINDOW, joined, obey_keyword, raise_red_flags, wanted_keyword
from care.patients.context import clinical_contexts
from care.redflags import check
from care.storage.engine import transaction
from care.storage.tables import Conversation, Inbound, InboundState, Patient
from care.triage.model import RedFlagHit

log = structlog.get_logger()
_MOST_JOINED = 20
_UNREAD = "The red-flag rules failed on a message: read it now."
_OF_MESSAGE = load_only(
    Inbound.id, Inbound.patient_id, Inbound.channel, Inbound.body, Inbound.ours, Inbound.received_at, Inbound.state, Inbound.flagged, Inbound.handled_at
)
_OF_PATIENT = load_only(Patient.id, Patient.date_of_birth, Patient.sex, Patient.language, Patient.timezone)
_OF_CONVERSATION = load_only(Conversation.patient_id, Conversation.channel, Conversation.sender)


@dataclass(frozen=True)
class Accepted:
    """A message that the rules have read. `answered`: a rule wrote a text that must not wait for the turn; `warned`: one that must not wait for other texts
    either."""

    patient_id: str
    inbound_id: int
    answered: bool = False
    warned: bool = False


def accept(session: Session, incoming: Incoming) -> Accepted | None:
    """Stores the message and accepts it, after what the patient wrote before it; None for a repeat and for a number nobody knows. Waits for whoever holds the
    patient's conversation."""
    stored = store(session, [incoming])[0]
    if stored.patient_id is None:
        return None
    return next((each for each in accept_stored(session, [stored.patient_id], wait=True) if each.inbound_id == stored.inbound_id), None)


def accept_waiting(patient_ids: Sequence[str]) -> list[Accepted]:
    """Accepts what is stored of these patients, in transactions of its own: together, or where that fails one patient after another. A message that the rules
    cannot read goes to a person, and to the dialogue unread. Raises `OperationalError`, `InterfaceError` where the database is away."""
    try:
        with transaction() as session:
            return accept_stored(session, patient_ids)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.warning("accepting_one_by_one", patients=len(patient_ids), error=type(error).__name__)
    return [accepted for patient_id in dict.fromkeys(patient_ids) for accepted in _accept_or_pass_on(patient_id)]


def _accept_or_pass_on(patient_id: str) -> list[Accepted]:
    try:
        with transaction() as session:
            return accept_stored(session, [patient_id])
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        log.error("message_unread", patient=patient_id, error=type(error).__name__)
    with transaction() as session:
        _conversations(session, [patient_id], wait=True)
        unread = _stored(session, [patient_id])
        for message in unread:
            message.state = InboundState.ACCEPTED
            cause = Cause(f"unread:{message.id}", "engine_failure", Acuity.URGENT, _UNREAD, inbound_id=message.id)
            raise_escalation(session, patient_id, cause, message.received_at)
        return [Accepted(patient_id, message.id) for message in unread]


def accept_stored(session: Session, patient_ids: Collection[str], *, wait: bool = False) -> list[Accepted]:
    """Accepts everything that is stored of these patients, in order. A patient who is busy in another transaction is left out, unless told to `wait`."""
    waiting = _stored(session, patient_ids)
    if not waiting:
        return []
    writers = {message.patient_id: message for message in waiting}
    patients = {each.id: each for each in session.scalars(select(Patient).options(_OF_PATIENT).where(Patient.id.in_(writers)))}
    contexts = clinical_contexts(session, {patient_id: (patients[patient_id], message.received_at) for patient_id, message in writers.items()})
    own = {message.id: check(message.body, contexts[message.patient_id]) for message in waiting}  # before the rows are locked: this takes longest
    held = _conversations(session, writers, wait=wait)
    still = set(session.scalars(select(Inbound.id).where(Inbound.patient_id.in_(held), Inbound.state == InboundState.STORED)))
    before = _lately(session, waiting)
    done = []
    for message in waiting:
        if message.id not in still:
            continue
        patient_id, conversation = message.patient_id, held[message.patient_id]
        conversation.channel, conversation.sender = message.channel, message.ours or conversation.sender
        earlier = [each.body for each in before[patient_id] if each.received_at >= message.received_at - JOIN_WINDOW]
        together = [hit for text in joined(earlier[-_MOST_JOINED:], message.body) for hit in check(text, contexts[patient_id])]
        done.append(_follow_rules(session, patients[patient_id], message, own[message.id], together))
        before[patient_id].append(message)
    return done


def _follow_rules(session: Session, patient: Patient, message: Inbound, own: Sequence[RedFlagHit], together: Sequence[RedFlagHit]) -> Accepted:
    """Does what the rules call for."""
    message.state = InboundState.ACCEPTED
    hit = wanted_keyword(session, patient.id, message.channel, message.body)
    if hit:
        obey_keyword(session, patient, message, hit, ask_again=accept_trigger)
    raise_red_flags(session, patient, message, own, together)
    if hit and not hit.rest:
        message.state, message.handled_at = InboundState.HANDLED, message.received_at
    warned = message.flagged is Acuity.EMERGENCY
    return Accepted(patient.id, message.id, answered=bool(hit) or warned, warned=warned)


def _stored(session: Session, patient_ids: Collection[str]) -> Sequence[Inbound]:
    asked = select(Inbound).options(_OF_MESSAGE).where(Inbound.patient_id.in_(patient_ids), Inbound.state == InboundState.STORED)
    return session.scalars(asked.order_by(Inbound.id)).all()


def _conversations(session: Session, patient_ids: Collection[str], *, wait: bool) -> dict[str, Conversation]:
    """The conversations, locked: each patient's messages are accepted one after another."""
    asked = select(Conversation).options(_OF_CONVERSATION).where(Conversation.patient_id.in_(patient_ids)).order_by(Conversation.patient_id)
    return {each.patient_id: each for each in session.scalars(asked.with_for_update(skip_locked=not wait))}


def _lately(session: Session, messages: Sequence[Inbound]) -> defaultdict[str, list[Inbound]]:
    """What each patient wrote, and was accepted, in the minutes before; the oldest first."""
    since = min(message.received_at for message in messages) - JOIN_WINDOW
    asked = select(Inbound).options(_OF_MESSAGE).where(Inbound.patient_id.in_({message.patient_id for message in messages}), Inbound.received_at >= since)
    found: defaultdict[str, list[Inbound]] = defaultdict(list)
    for each in session.scalars(asked.where(Inbound.trigger.is_(None), Inbound.state != InboundState.STORED).order_by(Inbound.id)):
        found[each.patient_id].append(each)
    return found
