"""What our side was to say in a contact and did not: the contact is accounted for, so that nobody waits for an answer to it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from care.knowledge.model import StepKind
from care.storage.tables import Contact, ContactState, Outbound, OutboundState


def take_back_ended(session: Session, rows: Sequence[Outbound]) -> None:
    """What our side was to say in a contact that was ended or paused while it was being written is not said."""
    ours = {row.contact_id for row in rows if row.contact_id is not None and row.state is OutboundState.PENDING}
    if not ours:
        return
    over = or_(Contact.state == ContactState.SKIPPED, Contact.held_next_at.is_not(None))
    ended = set(session.scalars(select(Contact.id).where(Contact.id.in_(ours), over)))
    for row in rows:
        if row.contact_id in ended and row.state is OutboundState.PENDING and not (row.safety or row.compliance):
            row.state = OutboundState.CANCELLED
            leave_unsaid(session, row.contact_id, "paused")


def leave_unsaid(session: Session, contact_id: str, because: str) -> None:
    """A contact of which Twilio took nothing was not begun: it is skipped, with the reason."""
    taken = select(Outbound.id).where(Outbound.contact_id == contact_id, Outbound.external_id.is_not(None)).exists()
    begun_with_it = or_(Contact.state == ContactState.STARTED, Contact.kind == StepKind.EDUCATION)
    session.execute(
        update(Contact)
        .where(Contact.id == contact_id, begun_with_it, Contact.state != ContactState.SKIPPED, ~taken)
        .values(state=ContactState.SKIPPED, skipped_because=because, completed_at=None, next_at=None, held_next_at=None)
    )
