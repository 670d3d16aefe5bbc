"""Writing what is to be sent, in the transaction that decided it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from care.messages.sms_text import fold, segments, split
from care.storage.tables import BOT, Channel, Outbound, OutboundState

SEGMENTS_A_MESSAGE = 3


@dataclass(frozen=True)
class OutboundText:
    """A text to the patient. `safety`: must not be lost; `compliance`: goes out although the patient opted out."""

    text: str
    key: str = ""
    safety: bool = False
    compliance: bool = False
    author: str = BOT
    quick_replies: list[dict[str, Any]] = field(default_factory=list)


def write(
    session: Session,
    patient_id: str,
    channel: Channel,
    texts: Sequence[OutboundText],
    at: datetime,
    *,
    inbound_id: int | None = None,
    contact_id: str | None = None,
    not_after: datetime | None = None,
) -> None:
    """Puts the texts into the outbox in order. A web reply is there for the browser at once; an SMS is cut, folded and waits to be sent."""
    rows = []
    for text in texts:
        parts = split(fold(text.text), SEGMENTS_A_MESSAGE) if channel is Channel.SMS else [text.text]
        for part in parts:
            rows.append(
                Outbound(
                    patient_id=patient_id,
                    inbound_id=inbound_id,
                    contact_id=contact_id,
                    channel=channel,
                    body=part,
                    key=text.key,
                    author=text.author,
                    safety=text.safety,
                    compliance=text.compliance,
                    quick_replies=text.quick_replies if channel is Channel.WEB else [],
                    segments=segments(part).segments if channel is Channel.SMS else 0,
                    state=OutboundState.PENDING if channel is Channel.SMS else OutboundState.ACCEPTED,
                    created_at=at,
                    not_after=not_after,
                )
            )
    session.add_all(rows)
