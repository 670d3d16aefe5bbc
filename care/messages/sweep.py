"""Finding what is still to do from the rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import or_, select, true
from sqlalchemy.orm import Session

from care.messages import breaker
from care.messages.sending import OPEN
from care.storage.tables import Channel, Conversation, Inbound, InboundState, Outbound, OutboundState

_BATCH = 500
SWEPT = "aftercare:swept"
"""The Redis key that the last sweep left."""


def with_a_turn(session: Session, patient_ids: Sequence[str]) -> set[str]:
    """Those of the patients who have an accepted message."""
    return set(session.scalars(select(Inbound.patient_id).where(Inbound.patient_id.in_(patient_ids), Inbound.state == InboundState.ACCEPTED)))


def unread_patients(session: Session) -> list[str]:
    """Patients with a message that is stored and that the rules have not read, the oldest first."""
    stored = select(Inbound.patient_id).where(Inbound.state == InboundState.STORED).order_by(Inbound.id).limit(_BATCH)
    return list(dict.fromkeys(session.scalars(stored)))


def waiting_patients(session: Session) -> tuple[list[str], list[str]]:
    """Patients with an accepted message that no process is at, and patients with an SMS that is due; warnings and the oldest first."""
    now = datetime.now(UTC)
    # Nothing overtakes a message that is to be tried again later.
    paused = select(Inbound.patient_id).where(Inbound.state == InboundState.ACCEPTED, Inbound.retry_at > now)
    turns = session.scalars(
        select(Inbound.patient_id)
        .join(Conversation, Conversation.patient_id == Inbound.patient_id)
        .where(Inbound.state == InboundState.ACCEPTED)
        .where(Inbound.patient_id.not_in(paused))
        .where(or_(Conversation.lease_until.is_(None), Conversation.lease_until <= now))
        .order_by(Inbound.id)
        .limit(_BATCH)
    ).all()
    opened = breaker.look(session)
    worth_a_try = or_(Outbound.safety, Outbound.state != OutboundState.PENDING) if opened and breaker.holds(opened) else true()
    sends = session.scalars(
        select(Outbound.patient_id)
        .where(Outbound.channel == Channel.SMS, Outbound.state.in_(OPEN))
        .where(worth_a_try)
        .where(or_(Outbound.next_at.is_(None), Outbound.next_at <= now))
        .where(or_(Outbound.state != OutboundState.SENDING, Outbound.lease_until <= now))
        .order_by(Outbound.safety.desc(), Outbound.id)
        .limit(_BATCH)
    ).all()
    return list(dict.fromkeys(turns)), list(dict.fromkeys(sends))
