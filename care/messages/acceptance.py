"""Accepting what is stored: the keyword and red-flag rules read each message (alone, and joined with those of the last five minutes), and what they
call for, an escalation, a warning, an opt-out, is written in the transaction that accepts it.

It needs nothing but the database. The web process that stored a message accepts it at once, and every few seconds what was left: by a process that died, or
because the patient was busy.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, load_only

from care.acuity import Acuity
from care.escalations.service import Cause, raise_escalation
from care.messages.conversation import lock_conversations
from care.messages.inbox import Incoming, accept_trigger, store
from care.messages.on_acceptance import JOIN_WINDOW, clear_number_problem, joined, obey_keyword, raise_red_flags, tell_of_pictures, wanted_keyword
from care.patients.context import clinical_contexts
from care.redflags import check
from care.storage.engine import transaction
from care.storage.tables import Conversation, Inbound, InboundState, Patient
from care.triage.model import PatientContext, RedFlagHit

log = structlog.get_logger()
_MOST_JOINED = _MOST_AT_ONCE = 20
_OF_MESSAGE = load_only(
    Inbound.id,
    Inbound.patient_id,
    Inbound.channel,
    Inbound.body,
    Inbound.media,
    Inbound.ours,
    Inbound.received_at,
    Inbound.not_after,
    Inbound.state,
    Inbound.flagged,
    Inbound.handled_at,
)
_OF_PATIENT = load_only(Patient.id, Patient.date_of_birth, Patient.sex, Patient.language, Patient.timezone, Patient.number_problem, Patient.shared_phone)


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
    """Accepts what is stored of these patients, in transactions of its own: together, then one after another those who were busy. A patient for whom that
    fails keeps no other back, and is told of to a person."""
    wanted = list(dict.fromkeys(patient_ids))
    try:
        with transaction() as session:
            done = accept_stored(session, wanted)
            session.flush()
            left = set(session.scalars(select(Inbound.patient_id).where(Inbound.patient_id.in_(wanted), Inbound.state == InboundState.STORED)))
    except Exception as error:
        log.warning("accepting_one_by_one", patients=len(wanted), error=type(error).__name__)
        done, left = [], set(wanted)
    return done + [accepted for patient_id in wanted if patient_id in left for accepted in _accept_alone(patient_id)]


def _accept_alone(patient_id: str) -> list[Accepted]:
    try:
        with transaction() as session:
            return accept_stored(session, [patient_id], wait=True)
    except OperationalError as error:  # the database is away, or two transactions stood in each other's way: it is tried again
        log.warning("accepting_later", error=type(error).__name__)
        return []
    except Exception as error:
        log.error("message_unread", patient=patient_id, error=type(error).__name__)
    with transaction() as session:
        unread = select(Inbound.id, Inbound.received_at).where(Inbound.patient_id == patient_id, Inbound.state == InboundState.STORED)
        for inbound_id, received_at in session.execute(unread).all():
            _call_person(session, patient_id, inbound_id, received_at)
    return []


def accept_stored(session: Session, patient_ids: Collection[str], *, wait: bool = False) -> list[Accepted]:
    """Accepts what is stored of these patients, in order, at most twenty of each. A patient who is busy in another transaction is left out, unless told to
    `wait`."""
    waiting = _stored(session, patient_ids)
    if not waiting:
        return []
    writers = {message.patient_id: message for message in waiting}
    patients = {each.id: each for each in session.scalars(select(Patient).options(_OF_PATIENT).where(Patient.id.in_(writers)))}
    contexts = clinical_contexts(session, {patient_id: (patients[patient_id], message.received_at) for patient_id, message in writers.items()})
    own = {message.id: _read(message.body, contexts[message.patient_id]) for message in waiting}  # before the rows are locked: this takes longest
    held = {each.patient_id: each for each in lock_conversations(session, writers, skip_locked=not wait)}  # one message after another
    still = set(session.scalars(select(Inbound.id).where(Inbound.patient_id.in_(held), Inbound.state == InboundState.STORED)))
    before = _lately(session, waiting)
    done = []
    for message in waiting:
        if message.id not in still:
            continue
        patient_id, conversation = message.patient_id, held[message.patient_id]
        conversation.channel, conversation.sender = message.channel, message.ours or conversation.sender
        earlier = [each.body for each in before[patient_id] if each.received_at >= message.received_at - JOIN_WINDOW]
        together = [_read(text, contexts[patient_id]) for text in joined(earlier[-_MOST_JOINED:], message.body)]
        if None in (own[message.id], *together):
            _call_person(session, patient_id, message.id, message.received_at)
        hits = [hit for found in together for hit in found or ()]
        done.append(_follow_rules(session, patients[patient_id], message, own[message.id] or (), hits))
        before[patient_id].append(message)
    return done


def _read(text: str, context: PatientContext) -> list[RedFlagHit] | None:
    """The red flags of a text; None where the rules themselves fail on it."""
    try:
        return check(text, context)
    except Exception as error:
        log.error("rules_failed", error=type(error).__name__)
        return None


def _call_person(session: Session, patient_id: str, inbound_id: int, at: datetime) -> None:
    cause = Cause(f"unread:{inbound_id}", "engine_failure", Acuity.URGENT, "The red-flag rules failed on a message: read it now.", inbound_id=inbound_id)
    raise_escalation(session, patient_id, cause, at)


def _follow_rules(session: Session, patient: Patient, message: Inbound, own: Sequence[RedFlagHit], together: Sequence[RedFlagHit]) -> Accepted:
    """Does what the rules call for."""
    message.state = InboundState.ACCEPTED
    clear_number_problem(session, patient, message)
    hit = wanted_keyword(session, patient.id, message.channel, message.body)
    settled = hit is not None and obey_keyword(session, patient, message, hit, ask_again=accept_trigger)
    raise_red_flags(session, patient, message, own, together)
    tell_of_pictures(session, patient, message)
    if settled:
        message.state, message.handled_at = InboundState.HANDLED, message.received_at
    warned = message.flagged is Acuity.EMERGENCY
    return Accepted(patient.id, message.id, answered=settled or warned, warned=warned)


def _stored(session: Session, patient_ids: Collection[str]) -> list[Inbound]:
    """What is stored of the patients who are there; that of one who was erased meanwhile goes after the patient."""
    there = set(session.scalars(select(Conversation.patient_id).where(Conversation.patient_id.in_(patient_ids))))
    if gone := set(patient_ids) - there:
        erased = select(Patient.id).where(Patient.id.in_(gone), Patient.reference.startswith("erased-"))
        session.execute(delete(Inbound).where(Inbound.patient_id.in_(erased), Inbound.state == InboundState.STORED))
    asked = select(Inbound).options(_OF_MESSAGE).where(Inbound.patient_id.in_(there), Inbound.state == InboundState.STORED)
    number: Counter[str] = Counter()
    found = []
    for message in session.scalars(asked.order_by(Inbound.id)):
        number[message.patient_id] += 1
        if number[message.patient_id] <= _MOST_AT_ONCE:
            found.append(message)
    return found


def _lately(session: Session, messages: Sequence[Inbound]) -> defaultdict[str, list[Inbound]]:
    """What each patient wrote, and was accepted, in the minutes before; the oldest first."""
    since = min(message.received_at for message in messages) - JOIN_WINDOW
    asked = select(Inbound).options(_OF_MESSAGE).where(Inbound.patient_id.in_({message.patient_id for message in messages}), Inbound.received_at >= since)
    found: defaultdict[str, list[Inbound]] = defaultdict(list)
    for each in session.scalars(asked.where(Inbound.trigger.is_(None), Inbound.state != InboundState.STORED).order_by(Inbound.id)):
        found[each.patient_id].append(each)
    return found
