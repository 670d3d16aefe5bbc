"""A patient's conversation: its messages, both ways, as people read them, and its row, which whoever accepts or sends locks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from care.messages.notice import WITH_LINK
from care.sessions import without_tokens
from care.storage.tables import Conversation, Inbound, Outbound, OutboundState


@dataclass(frozen=True)
class Line:
    """One message: `id` is unique in the conversation, `author` is patient, bot or user:<id>; a link in `text` opens nothing.

    `in_chat`: whether the patient sees it in the web chat, where what was not said and the links that led there have no place.
    """

    id: str
    author: str
    text: str
    at: datetime
    channel: str
    state: str
    quick_replies: list[dict[str, Any]]
    in_chat: bool = True


def conversation(session: Session, patient_id: str, *, limit: int = 200) -> list[Line]:
    """The newest `limit` messages each way, the oldest first."""
    received = session.scalars(
        select(Inbound).where(Inbound.patient_id == patient_id, Inbound.trigger.is_(None)).order_by(Inbound.id.desc()).limit(limit)
    ).all()
    sent = session.scalars(select(Outbound).where(Outbound.patient_id == patient_id).order_by(Outbound.id.desc()).limit(limit)).all()
    lines = [(row.received_at, 0, row.id, _from_patient(row)) for row in received] + [(row.created_at, 1, row.id, _to_patient(row)) for row in sent]
    return [line for *_, line in sorted(lines, key=lambda entry: entry[:3])]


def sent_since(session: Session, patient_id: str, after: int) -> tuple[list[Line], int]:
    """What was written to the patient after the outbound id `after`, and the newest id."""
    rows = session.scalars(select(Outbound).where(Outbound.patient_id == patient_id, Outbound.id > after).order_by(Outbound.id)).all()
    return [_to_patient(row) for row in rows], rows[-1].id if rows else after


def _from_patient(row: Inbound) -> Line:
    return Line(f"in{row.id}", "patient", row.body, row.received_at, row.channel, row.state, [])


def _to_patient(row: Outbound) -> Line:
    in_chat = row.state is not OutboundState.CANCELLED and row.key not in WITH_LINK
    return Line(f"out{row.id}", row.author, without_tokens(row.body), row.created_at, row.channel, row.state, row.quick_replies, in_chat)


def lock_conversations(session: Session, patient_ids: Collection[str], *, skip_locked: bool = False) -> Sequence[Conversation]:
    """The patients' rows, locked in the same order by all, without the dialogue's state."""
    asked = select(Conversation).options(load_only(Conversation.patient_id, Conversation.channel, Conversation.sender, Conversation.coordinator_id))
    locked = asked.where(Conversation.patient_id.in_(patient_ids)).order_by(Conversation.patient_id).with_for_update(skip_locked=skip_locked)
    return session.scalars(locked).all()
