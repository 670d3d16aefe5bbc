"""Comparing Twilio's message list with ours: Twilio tries a webhook once or twice, and then only its list knows of the message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from care.clock import Clock
from care.messages.inbox import Incoming, accept
from care.messages.twilio_gateway import TwilioGateway
from care.storage.engine import transaction
from care.storage.tables import Channel

_WINDOW = timedelta(hours=2)


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
        if accepted.new and accepted.patient_id:
            waiting.append(accepted.patient_id)
    return waiting
