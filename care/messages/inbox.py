"""Storing what patients write: once, in few statements, with nothing but the database; `care.messages.acceptance` has the rules read it.

A message that is stored is acknowledged: Twilio waits 15 seconds and hardly tries again, so that nothing slower stands before the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import structlog
from sqlalchemy import Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.clock import service_time
from care.messages.outbox import confirmed_by
from care.redflags import check
from care.storage.crypto import blind_index
from care.storage.tables import Channel, Inbound, InboundState, Patient, Stranger
from care.texts import scripted

log = structlog.get_logger()

_STRANGER_PAUSE, _STRANGER_IN_DANGER_PAUSE = timedelta(hours=24), timedelta(minutes=5)
"""Until an unknown number is answered again: any words of it, and those of an emergency."""
MAX_BODY = 100_000
_FEW_ROWS = {"insertmanyvalues_page_size": 10}
"""A longer statement is read by psycopg anew each time: it remembers those of up to 4,096 characters."""


@dataclass(frozen=True)
class Incoming:
    """A message as it came from a channel. SMS gives the sender's number and `ours` that it was written to, web chat the patient of its session.

    `written_at`, in real time: when Twilio got it, where that may be long ago.
    """

    channel: Channel
    external_id: str
    body: str
    received_at: datetime
    phone: str | None = None
    patient_id: str | None = None
    media: int = 0
    ours: str | None = None
    written_at: datetime | None = None


@dataclass(frozen=True)
class Stored:
    """Whose message it is, and its row unless it is a repeat. `stranger_answer` is the neutral text for a number nobody knows, when one is due."""

    patient_id: str | None
    inbound_id: int | None
    stranger_answer: str | None = None


def store(session: Session, incoming: Sequence[Incoming]) -> list[Stored]:
    """Keeps each message once, for the rules to read; several of one patient in their order."""
    indexes = [None if message.patient_id else blind_index(message.phone or "") for message in incoming]
    asked = [index for index in indexes if index]
    known = dict(session.execute(select(Patient.phone_index, Patient.id).where(Patient.phone_index.in_(asked))).all()) if asked else {}
    senders = [known.get(index) if index else message.patient_id for message, index in zip(incoming, indexes, strict=True)]
    new = _insert_once(session, [_row(patient_id, message, InboundState.STORED) for patient_id, message in zip(senders, incoming, strict=True) if patient_id])
    return [
        Stored(patient_id, new.pop((message.channel, message.external_id), None)) if patient_id else _store_stranger(session, message)
        for patient_id, message in zip(senders, incoming, strict=True)
    ]


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
    more = {"trigger": trigger, "contact_id": contact_id, "not_after": not_after}
    return bool(_insert_once(session, [_row(patient_id, Incoming(channel, occurrence, "", at), InboundState.ACCEPTED, **more)]))


def note_said(session: Session, patient_id: str, trigger: str, contact_id: str | None, occurrence: str, at: datetime) -> int | None:
    """Notes, for the dialogue to hear before the patient's next message, that our side spoke; None where this occurrence was noted before."""
    row = _row(patient_id, Incoming(Channel.SMS, occurrence, "", at), InboundState.SAID, trigger=trigger, contact_id=contact_id)
    return next(iter(_insert_once(session, [row]).values()), None)


def confirmable_until(inbound: Inbound) -> datetime:
    """Until when an opt-out in this message may be confirmed by text: of a patient's message that was found late, its `not_after`."""
    return inbound.not_after or confirmed_by(inbound.received_at)


def storable(body: str) -> str:
    """The text without NUL and lone surrogates, at most `MAX_BODY` characters."""
    return body.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")[:MAX_BODY]


def _row(patient_id: str, incoming: Incoming, state: InboundState, **more: Any) -> dict[str, Any]:
    return {
        "patient_id": patient_id,
        "channel": incoming.channel,
        "external_id": incoming.external_id,
        "body": storable(incoming.body),
        "media": incoming.media,
        "ours": incoming.ours,
        "received_at": incoming.received_at,
        "not_after": _found_late(incoming),
        "state": state,
        "attempts": 0,
        **more,
    }


def _found_late(incoming: Incoming) -> datetime | None:
    """Of a message that Twilio got before we did, until when an opt-out in it may be confirmed."""
    if incoming.written_at is None:
        return None
    return confirmed_by(incoming.received_at - service_time(datetime.now(UTC) - incoming.written_at))


def _insert_once(session: Session, rows: list[dict[str, Any]]) -> dict[tuple[Channel, str], int]:
    """The ids of the rows that were not there yet, by channel and external id."""
    if not rows:
        return {}
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    table = cast(Table, Inbound.__table__)
    statement = insert(table).on_conflict_do_nothing(index_elements=["channel", "external_id"])
    stored = session.execute(statement.returning(table.c.channel, table.c.external_id, table.c.id), rows, execution_options=_FEW_ROWS)
    return {(row[0], row[1]): row[2] for row in stored}


def _store_stranger(session: Session, incoming: Incoming) -> Stored:
    """A number nobody knows gets one neutral answer a day, which names the emergency number, and again where its words are an emergency; only its keyed hash is
    kept."""
    index = blind_index(incoming.phone or "")
    known = session.get(Stranger, index)
    answer = scripted("stranger")
    if known is None:
        session.add(Stranger(phone_index=index, external_id=incoming.external_id, answered_at=incoming.received_at))
        session.flush()
        return Stored(None, None, answer)
    repeat = known.external_id == incoming.external_id
    known.messages += 0 if repeat else 1
    since = incoming.received_at - known.answered_at
    due = not repeat and (since >= _STRANGER_PAUSE or (since >= _STRANGER_IN_DANGER_PAUSE and _is_emergency(incoming.body)))
    if due:
        known.answered_at = incoming.received_at
    known.external_id = incoming.external_id
    return Stored(None, None, answer if due else None)


def _is_emergency(words: str) -> bool:
    """What the rules fail on is taken for one: no message of others is lost with it."""
    try:
        return any(hit.acuity is Acuity.EMERGENCY for hit in check(words))
    except Exception as error:
        log.error("rules_failed", error=type(error).__name__)
        return True
