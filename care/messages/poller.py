"""Asking Twilio for what no webhook brought: it tries a webhook once or twice, and then only its own records know of the message or the receipt."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import and_, or_, select

from care.clock import Clock, service_time
from care.messages.acceptance import accept_waiting
from care.messages.gateway import SmsUnanswered
from care.messages.inbox import Incoming, store
from care.messages.receipts import GIVEN_UP, UNCONFIRMED, WARNING_LATE, Told, take_receipt
from care.messages.twilio_gateway import TwilioGateway
from care.storage.crypto import blind_index
from care.storage.engine import reading, transaction
from care.storage.tables import Channel, Heartbeat, Inbound, Outbound, Patient

_OVERLAP = timedelta(hours=2)
"""Twilio's list may show a message late."""
_READ_AT_ONCE, _STORED_AT_ONCE = 500, 20
_POLLED = "sms.polled"
_RECEIPT_LATE = timedelta(minutes=10)
_ASKED_AT_ONCE, _ASK_AGAIN = 50, timedelta(minutes=30)


def poll(gateway: TwilioGateway, clock: Clock) -> list[str]:
    """Stores every message of our patients since two hours before the last poll that came to its end, however long ago, that is not stored, and accepts them;
    the patients who now have a turn waiting.

    Raises `SmsUnanswered` where Twilio's list is away; the next poll begins where this one did.
    """
    began = datetime.now(UTC)
    with reading() as session:
        last = session.get(Heartbeat, _POLLED)
    listed, missing = gateway.received((last.at if last else began) - _OVERLAP), list[Any]()
    while some := list(islice(listed, _READ_AT_ONCE)):
        missing += _not_stored(some)
    missing.sort(key=lambda message: message.date_created or began)
    waiting = []
    for first in range(0, len(missing), _STORED_AT_ONCE):
        with transaction() as session:
            stored = store(session, [_incoming(message, clock.now()) for message in missing[first : first + _STORED_AT_ONCE]])
        waiting += [each.patient_id for each in accept_waiting([each.patient_id for each in stored if each.patient_id])]
    with transaction() as session:
        session.merge(Heartbeat(name=_POLLED, at=began))
    return list(dict.fromkeys(waiting))


def _not_stored(listed: Sequence[Any]) -> list[Any]:
    """Those of Twilio's messages that are of our patients and not in the database. A number nobody knows gets its answer by webhook or not at all."""
    indexes = {str(message.sid): blind_index(str(message.from_)) for message in listed}
    with reading() as session:
        stored = set(session.scalars(select(Inbound.external_id).where(Inbound.channel == Channel.SMS, Inbound.external_id.in_(indexes))))
        known = set(session.scalars(select(Patient.phone_index).where(Patient.phone_index.in_(set(indexes.values())))))
    return [message for message in listed if str(message.sid) not in stored and indexes[str(message.sid)] in known]


def _incoming(message: Any, now: datetime) -> Incoming:
    ours, media = str(message.to), int(message.num_media or 0)
    return Incoming(Channel.SMS, str(message.sid), message.body or "", now, phone=str(message.from_), media=media, ours=ours, written_at=message.date_created)


def ask_for_receipts(gateway: TwilioGateway, clock: Clock) -> int:
    """Looks up at Twilio what became of messages whose last receipt is ten minutes late, and of warnings after five; of how many it now knows the end.

    A row that was looked up, or could not be, is not asked for again before its `next_at`.
    """
    now = clock.now()
    warning_late = now - service_time(WARNING_LATE)
    late_by_now = or_(Outbound.sent_at < now - service_time(_RECEIPT_LATE), and_(Outbound.safety, Outbound.sent_at <= warning_late))
    with transaction() as session:
        late = session.scalars(
            select(Outbound)
            .where(Outbound.state.in_(UNCONFIRMED), Outbound.channel == Channel.SMS)
            .where(late_by_now, Outbound.sent_at <= warning_late, Outbound.sent_at > now - service_time(GIVEN_UP))
            .where(or_(Outbound.next_at.is_(None), Outbound.next_at <= datetime.now(UTC)))
            .order_by(Outbound.safety.desc(), Outbound.sent_at)
            .limit(_ASKED_AT_ONCE)
            .with_for_update(skip_locked=True)
        ).all()
        for row in late:
            row.next_at = datetime.now(UTC) + _ASK_AGAIN
        asked = [(row.reference, row.external_id) for row in late if row.external_id]
    ended = 0
    for reference, sid in asked:
        try:
            status, code = gateway.status(sid)
        except SmsUnanswered:
            break
        with transaction() as session:
            take_receipt(session, Told(reference, sid, status, code), now)
        ended += status in ("delivered", "read", "undelivered", "failed")
    return ended
