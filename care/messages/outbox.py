"""Writing what is to be sent, in the transaction that decided it: the one place where a text gets its channel.

What may not stand in an SMS (to a shared phone, or too long for one) waits in the web chat, and the phone gets a notice with a link to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.clock import service_time
from care.messages.notice import NOTICE, is_due, new_notice
from care.messages.sms_text import fold, segments, split
from care.storage.tables import BOT, Channel, Outbound, OutboundState, Patient

SEGMENTS_A_MESSAGE = 3
SAID_OPENLY = frozenset(
    [NOTICE, "consent_request", "consent_needed", "consent_thanks", "not_watched", "offer_chat", "change_language", "bot_challenge"],
)
"""The scripted texts that tell nothing of the patient's health, beside those marked `compliance`."""
_CONFIRMED_WITHIN = timedelta(minutes=5)


@dataclass(frozen=True)
class OutboundText:
    """A text to the patient. `safety`: must not be lost; `compliance`: goes out although the patient opted out."""

    text: str
    key: str = ""
    safety: bool = False
    compliance: bool = False
    author: str = BOT
    quick_replies: list[dict[str, Any]] = field(default_factory=list)


def waits_in_chat(text: OutboundText, *, shared_phone: bool) -> bool:
    """Whether the text may not stand in an SMS. Warnings and what the law asks for always may: safety goes before privacy."""
    if text.safety or text.compliance or text.key in SAID_OPENLY:
        return False
    return shared_phone or segments(fold(text.text)).segments > SEGMENTS_A_MESSAGE


def confirmed_by(opted_out: datetime) -> datetime:
    """Until when an opt-out may be confirmed by text: five minutes of real time. Source: 47 CFR 64.1200(a)(12)."""
    return opted_out + service_time(_CONFIRMED_WITHIN)


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
    """Puts the texts into the outbox in order. A web reply is there for the browser at once; an SMS is cut, folded and waits to be sent.

    Whoever has left the chat is called back to it where a person wrote, or where the phone is shared and the words can come no other way.
    """
    if not texts:
        return
    patient = session.get_one(Patient, patient_id)
    rows, unheard = list[Outbound](), list[OutboundText]()
    for text in texts:
        hidden = channel is Channel.SMS and waits_in_chat(text, shared_phone=patient.shared_phone)
        to_be_called = channel is Channel.WEB and not text.compliance and (patient.shared_phone or text.author != BOT)
        unheard += [text] if hidden or to_be_called else []
        rows += _rows(patient_id, Channel.WEB if hidden else channel, text, at)
    if unheard and is_due(session, patient_id, channel, unheard[-1].author, at, unasked=contact_id is not None):
        rows += _rows(patient_id, Channel.SMS, OutboundText(new_notice(session, patient, at), key=NOTICE, author=unheard[-1].author), at)
    for row in rows:
        row.inbound_id, row.contact_id, row.not_after = inbound_id, contact_id, not_after
    session.add_all(rows)


def must_hide(row: Outbound) -> bool:
    """Whether the row waits to say on a shared phone what may not stand there."""
    return row.state is OutboundState.PENDING and waits_in_chat(_text(row), shared_phone=True)


def hide_waiting(session: Session, patient: Patient, at: datetime) -> None:
    """What waits to be sent by SMS, and may not stand in one any more, goes to the web chat, and a notice leaves in its place: one that is
    taken back, or comes too late, only where that is so of all of them."""
    waiting = select(Outbound).where(
        Outbound.patient_id == patient.id, Outbound.channel == Channel.SMS, Outbound.state.in_((OutboundState.PENDING, OutboundState.UNKNOWN))
    )
    hidden = [row for row in session.scalars(waiting.order_by(Outbound.id)) if waits_in_chat(_text(row), shared_phone=patient.shared_phone)]
    for row in hidden:
        row.channel, row.state, row.segments = Channel.WEB, OutboundState.ACCEPTED, 0
    if hidden:
        author = next((row.author for row in hidden if row.author != BOT), BOT)
        (told,) = _rows(patient.id, Channel.SMS, OutboundText(new_notice(session, patient, at), key=NOTICE, author=author), at)
        contacts, ends = {row.contact_id for row in hidden}, {row.not_after for row in hidden}
        told.inbound_id = hidden[-1].inbound_id
        told.contact_id = contacts.pop() if len(contacts) == 1 else None
        told.not_after = ends.pop() if len(ends) == 1 else None
        session.add(told)


def _rows(patient_id: str, channel: Channel, text: OutboundText, at: datetime) -> list[Outbound]:
    by_sms = channel is Channel.SMS
    return [
        Outbound(
            patient_id=patient_id,
            channel=channel,
            body=part,
            key=text.key,
            author=text.author,
            safety=text.safety,
            compliance=text.compliance,
            quick_replies=[] if by_sms else text.quick_replies,
            segments=segments(part).segments if by_sms else 0,
            state=OutboundState.PENDING if by_sms else OutboundState.ACCEPTED,
            created_at=at,
        )
        for part in (split(fold(text.text), SEGMENTS_A_MESSAGE) if by_sms else [text.text])
    ]


def _text(row: Outbound) -> OutboundText:
    return OutboundText(row.body, key=row.key, safety=row.safety, compliance=row.compliance, author=row.author)
