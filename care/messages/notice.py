"""The notice on a phone that words wait in the web chat: who writes, for whom, and a link that the date of birth opens; nothing of what they say."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session

from care.sessions import UNASKED_LINK_LIFE, chat_url, has_live_link, in_chat
from care.storage.tables import Channel, Outbound, OutboundState, Patient
from care.texts import scripted

NOTICE = "message_waits"
WITH_LINK = (NOTICE, "chat_link")
"""The texts that hold a link."""
_BURST = timedelta(minutes=10)
_WAITS = (OutboundState.PENDING, OutboundState.SENDING, OutboundState.UNKNOWN)
_LEFT = (OutboundState.ACCEPTED, OutboundState.SENT, OutboundState.DELIVERED)


def notice(patient: Patient, link: str) -> str:
    """Its words."""
    return scripted(NOTICE, patient.language, first_name=patient.first_name, link=link)


def new_notice(session: Session, patient: Patient, at: datetime) -> str:
    """Its words with a link of its own, which lives for a day: the patient may read it hours later."""
    return notice(patient, chat_url(session, patient.id, at, UNASKED_LINK_LIFE))


def is_due(session: Session, patient_id: str, channel: Channel, author: str, at: datetime, *, unasked: bool) -> bool:
    """Whether the patient must be told that words of `author` wait: not who is in the chat and writes there, nor, of an answer, who was sent a link just now
    and has not opened it.

    What our side begins (`unasked`) is always told: a reminder of which nothing is heard is none.
    """
    if channel is Channel.WEB and in_chat(session, patient_id):
        return False
    return unasked or not (_told_lately(session, patient_id, author, at) and has_live_link(session, patient_id))


def _told_lately(session: Session, patient_id: str, author: str, at: datetime) -> bool:
    """Whether a link has left, or waits and is not taken back: one of a contact, or of the bot while a person answers, may be."""
    is_sent = and_(Outbound.state.in_(_WAITS), Outbound.contact_id.is_(None), Outbound.not_after.is_(None), Outbound.author == author)
    told = (Outbound.patient_id == patient_id, Outbound.key.in_(WITH_LINK), Outbound.created_at > at - _BURST)
    return bool(session.scalar(select(exists().where(*told, or_(Outbound.state.in_(_LEFT), is_sent)))))
