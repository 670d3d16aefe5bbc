"""Accepting messages: one database transaction that needs nothing but the database.

A message is stored once, the keyword and red-flag rules are run on it (alone, and joined with those of the last five minutes), and what
they call for, an escalation, a warning, an opt-out, is written with it. Messages of several patients may share a transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Table, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, load_only

from care.acuity import Acuity
from care.messages.on_acceptance import JOIN_WINDOW, joined, obey_keyword, raise_red_flags, wanted_keyword
from care.patients.context import clinical_contexts
from care.redflags import check
from care.storage.crypto import blind_index
from care.storage.tables import Channel, Conversation, Inbound, InboundState, Patient, Stranger
from care.texts import scripted
from care.triage.model import PatientContext, RedFlagHit

_STRANGER_PAUSE = timedelta(hours=24)
_MOST_JOINED = 20
MAX_BODY = 100_000
_OF_PATIENT = load_only(Patient.id, Patient.phone_index, Patient.date_of_birth, Patient.sex, Patient.language, Patient.timezone)
_OF_CONVERSATION = load_only(Conversation.patient_id, Conversation.channel, Conversation.sender)


@dataclass(frozen=True)
class Incoming:
    """A message as it came from a channel. SMS gives the sender's number and `ours` that it was written to, web chat the patient of its session."""

    channel: Channel
    external_id: str
    body: str
    received_at: datetime
    phone: str | None = None
    patient_id: str | None = None
    media: int = 0
    not_after: datetime | None = None
    ours: str | None = None


@dataclass(frozen=True)
class Accepted:
    """`new` is false for a repeat. `answered`: a rule wrote a text that must not wait for the turn; `warned`: one that must not wait for other texts
    either. `stranger_answer` is the neutral text for a number nobody knows, when one is due."""

    patient_id: str | None
    inbound_id: int | None
    new: bool
    answered: bool = False
    warned: bool = False
    stranger_answer: str | None = None


@dataclass
class _Known:
    """A message of a patient, with the red flags in its own words, before it is stored."""

    place: int
    incoming: Incoming
    patient: Patient
    protocol: str | None
    own: list[RedFlagHit]


def accept(session: Session, incoming: Incoming) -> Accepted:
    """Stores the message once and runs the rules on it, in the caller's transaction; waits for whoever holds the patient's conversation."""
    return _accept(session, [incoming], wait=True)[0] or Accepted(None, None, new=False)


def accept_together(session: Session, incoming: Sequence[Incoming]) -> list[Accepted | None]:
    """The same for several messages, in few statements. None where one must be accepted by itself: its patient wrote another of them, or is busy in
    another transaction, for which the others do not wait."""
    return _accept(session, incoming, wait=False)


def accept_trigger(
    session: Session,
    patient_id: str,
    trigger: str,
    contact_id: str | None,
    occurrence: str,
    at: datetime,
    not_after: datetime | None = None,
    channel: Channel = Channel.SMS,
) -> bool:
    """Queues a turn in which our side speaks first; false where this occurrence was queued before. Nothing is said after `not_after`."""
    incoming = Incoming(channel, occurrence, "", at, not_after=not_after)
    return bool(_insert_once(session, [_row(patient_id, incoming, trigger=trigger, contact_id=contact_id)]))


def note_said(session: Session, patient_id: str, trigger: str, contact_id: str, occurrence: str, at: datetime) -> int | None:
    """Notes, for the dialogue to hear before the patient's next message, that our side spoke; None where this occurrence was noted before."""
    row = _row(patient_id, Incoming(Channel.SMS, occurrence, "", at), trigger=trigger, contact_id=contact_id, state=InboundState.SAID)
    return next(iter(_insert_once(session, [row]).values()), None)


def storable(body: str) -> str:
    """The text without NUL and lone surrogates, at most `MAX_BODY` characters."""
    return body.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")[:MAX_BODY]


def _accept(session: Session, incoming: Sequence[Incoming], *, wait: bool) -> list[Accepted | None]:
    done: list[Accepted | None] = [None] * len(incoming)
    known: dict[str, _Known] = {}
    for place, message, patient in _senders(session, incoming):
        if patient is None:
            done[place] = _accept_stranger(session, message)
        elif patient.id not in known:
            known[patient.id] = _Known(place, message, patient, None, [])
    contexts = clinical_contexts(session, {patient_id: (each.patient, each.incoming.received_at) for patient_id, each in known.items()})
    for patient_id, each in known.items():  # before the rows are locked: this takes longest
        each.protocol = contexts[patient_id].protocol
        each.own = check(storable(each.incoming.body), contexts[patient_id])
    held = _conversations(session, known, wait=wait)
    known = {patient_id: each for patient_id, each in known.items() if patient_id in held}
    before = _lately(session, known.values())
    stored = _insert_once(session, [_row(patient_id, each.incoming) for patient_id, each in known.items()])
    for patient_id, each in known.items():
        message = each.incoming
        inbound_id = stored.get((message.channel, message.external_id))
        if inbound_id is None:
            done[each.place] = Accepted(patient_id, None, new=False)
            continue
        conversation = held[patient_id]
        conversation.channel = message.channel
        conversation.sender = message.ours or conversation.sender
        done[each.place] = _follow_rules(session, each, inbound_id, before.get(patient_id, []), contexts[patient_id])
    return done


def _follow_rules(session: Session, known: _Known, inbound_id: int, before: list[str], context: PatientContext) -> Accepted:
    """Does what the rules call for."""
    body = storable(known.incoming.body)
    hit = wanted_keyword(session, known.patient.id, known.incoming.channel, body)
    together = [found for text in joined(before, body) for found in check(text, context)]
    if not (hit or known.own or together):
        return Accepted(known.patient.id, inbound_id, new=True)
    inbound = session.get_one(Inbound, inbound_id)
    if hit:
        obey_keyword(session, known.patient, inbound, hit, ask_again=accept_trigger)
    raise_red_flags(session, known.patient, inbound, known.own, together)
    if hit and not hit.rest:
        inbound.state, inbound.handled_at = InboundState.HANDLED, inbound.received_at
    warned = inbound.flagged is Acuity.EMERGENCY
    return Accepted(known.patient.id, inbound_id, new=True, answered=bool(hit) or warned, warned=warned)


def _senders(session: Session, incoming: Sequence[Incoming]) -> list[tuple[int, Incoming, Patient | None]]:
    """Each message with its place and who wrote it; None for a number nobody knows."""
    indexes = [None if message.patient_id else blind_index(message.phone or "") for message in incoming]
    ids = {message.patient_id for message in incoming if message.patient_id}
    asked = or_(Patient.phone_index.in_([index for index in indexes if index]), Patient.id.in_(ids)) if ids else Patient.phone_index.in_(indexes)
    found = session.scalars(select(Patient).options(_OF_PATIENT).where(asked)).all()
    by_index, by_id = {patient.phone_index: patient for patient in found}, {patient.id: patient for patient in found}
    return [
        (place, message, by_index.get(index) if index else by_id.get(message.patient_id or ""))
        for place, (message, index) in enumerate(zip(incoming, indexes, strict=True))
    ]


def _conversations(session: Session, patients: Collection[str], *, wait: bool) -> dict[str, Conversation]:
    """The conversations, locked: each patient's messages are accepted one after another."""
    asked = select(Conversation).options(_OF_CONVERSATION).where(Conversation.patient_id.in_(patients)).order_by(Conversation.patient_id)
    return {each.patient_id: each for each in session.scalars(asked.with_for_update(skip_locked=not wait))}


def _lately(session: Session, known: Collection[_Known]) -> dict[str, list[str]]:
    """What each patient wrote in the minutes before the message, the oldest first."""
    if not known:
        return {}
    since = {each.patient.id: each.incoming.received_at - JOIN_WINDOW for each in known}
    rows = session.execute(
        select(Inbound.patient_id, Inbound.external_id, Inbound.received_at, Inbound.body)
        .where(Inbound.patient_id.in_(since), Inbound.trigger.is_(None), Inbound.received_at >= min(since.values()))
        .order_by(Inbound.id)
    )
    own = {each.patient.id: each.incoming.external_id for each in known}
    found: dict[str, list[str]] = {}
    for patient_id, external_id, received_at, body in rows:
        if received_at >= since[patient_id] and external_id != own[patient_id]:
            found.setdefault(patient_id, []).append(body)
    return {patient_id: bodies[-_MOST_JOINED:] for patient_id, bodies in found.items()}


def _row(
    patient_id: str, incoming: Incoming, trigger: str | None = None, contact_id: str | None = None, state: InboundState = InboundState.ACCEPTED
) -> dict[str, Any]:
    return {
        "patient_id": patient_id,
        "channel": incoming.channel,
        "external_id": incoming.external_id,
        "trigger": trigger,
        "contact_id": contact_id,
        "body": storable(incoming.body),
        "media": incoming.media,
        "received_at": incoming.received_at,
        "not_after": incoming.not_after,
        "state": state,
        "attempts": 0,
    }


def _insert_once(session: Session, rows: list[dict[str, Any]]) -> dict[tuple[Channel, str], int]:
    """The ids of the rows that were not there yet, by channel and external id."""
    if not rows:
        return {}
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    table = cast(Table, Inbound.__table__)
    statement = insert(table).on_conflict_do_nothing(index_elements=["channel", "external_id"])
    return {(row[0], row[1]): row[2] for row in session.execute(statement.returning(table.c.channel, table.c.external_id, table.c.id), rows)}


def _accept_stranger(session: Session, incoming: Incoming) -> Accepted:
    """A number nobody knows gets one neutral answer a day; only its keyed hash is kept."""
    index = blind_index(incoming.phone or "")
    known = session.get(Stranger, index)
    answer = scripted("stranger")
    if known is None:
        session.add(Stranger(phone_index=index, external_id=incoming.external_id, answered_at=incoming.received_at))
        return Accepted(None, None, new=True, stranger_answer=answer)
    repeat = known.external_id == incoming.external_id
    known.messages += 0 if repeat else 1
    due = not repeat and incoming.received_at - known.answered_at >= _STRANGER_PAUSE
    if due:
        known.answered_at = incoming.received_at
    known.external_id = incoming.external_id
    return Accepted(None, None, new=not repeat, stranger_answer=answer if due else None)
