"""Asking Twilio for what no webhook brought: it tries a webhook once or twice, and then only its own records know of the message or the receipt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select

from care.clock import Clock
from care.messages.acceptance import accept
from care.messages.inbox import Incoming
from care.messages.receipts import Told, take_receipt
from care.messages.sending import SmsUnanswered
from care.messages.twilio_gateway import TwilioGateway
from care.storage.engine import transaction
from care.storage.tables import Channel, Outbound, OutboundState

_WINDOW = timedelta(hours=2)
_RECEIPT_LATE, _RECEIPT_GIVEN_UP = timedelta(minutes=10), timedelta(hours=48)
_ASKED_AT_ONCE, _ASK_AGAIN = 50, timedelta(minutes=30)


def poll(gateway: TwilioGateway, clock: Clock) -> list[str]:
    """Accepts every inbound message of the last two hours that is not stored; the patients who now have a turn waiting.

    Raises `SmsUnanswered` where Twilio's list is away; the next poll's window overlaps this one's.
    """
    waiting = []
    for message in sorted(gateway.received(datetime.now(UTC) - _WINDOW), key=lambda each: each.date_created or datetime.now(UTC)):
        with transaction() as session:
            accepted = accept(
                session,
                Incoming(
                    Channel.SMS,
                    str(message.sid),
                    message.body or "",
                    clock.now(),
                    phone=str(message.from_),
                    media=int(message.num_media or 0),
                    ours=str(message.to),
                ),
            )
        if accepted:
            waiting.append(accepted.patient_id)
    return waiting


def ask_for_receipts(gateway: TwilioGateway, clock: Clock) -> int:
    """Looks up at Twilio what became of messages whose last receipt is ten minutes late; of how many it now knows the end."""
    now = clock.now()
    with transaction() as session:
        late = session.scalars(
            select(Outbound)
            .where(Outbound.state.in_((OutboundState.ACCEPTED, OutboundState.SENT)), Outbound.channel == Channel.SMS)
            .where(Outbound.sent_at < now - _RECEIPT_LATE, Outbound.sent_at > now - _RECEIPT_GIVEN_UP)
            .where(or_(Outbound.next_at.is_(None), Outbound.next_at <= datetime.now(UTC)))
            .order_by(Outbound.sent_at)
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
