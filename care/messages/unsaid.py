"""What our side was to say in a contact and did not: the contact is accounted for, so that nobody waits for an answer to it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Select, or_, select, update
from sqlalchemy.orm import Session

from care.knowledge.model import StepKind
from care.storage.tables import Channel, Contact, ContactState, Inbound, InboundState, Outbound, OutboundState

ASK_CONSENT, ASKED_FORMERLY = "ask_consent", "ask_former"
"""The trigger of a request for consent, and of one that counts as never made: consent is asked for once, and this frees the next contact to do it."""
_NEVER_ARRIVED = (OutboundState.PENDING, OutboundState.CANCELLED, OutboundState.FAILED, OutboundState.UNDELIVERED)


def consent_was_asked(session: Session, patient_id: str) -> bool:
    """Whether a request for consent has left for the patient's present number and was not lost on the way, or stands in the chat."""
    request = select(Outbound.id).join(Inbound, Inbound.id == Outbound.inbound_id).where(Inbound.patient_id == patient_id, Inbound.trigger == ASK_CONSENT)
    return bool(session.scalar(select(request.where(Outbound.state.not_in(_NEVER_ARRIVED)).exists())))


def asked_in_a_contact(session: Session, patient_ids: Collection[str]) -> set[str]:
    """Which of the patients a contact has asked for consent. A request that answered a START has no contact, so that nobody reminds of it: a contact asks
    again."""
    asked = (Inbound.patient_id.in_(patient_ids), Inbound.trigger == ASK_CONSENT, Inbound.contact_id.is_not(None))
    return set(session.scalars(select(Inbound.patient_id).where(*asked)))


def consent_request_waits(session: Session, patient_id: str) -> bool:
    """Whether a request for consent is on its way to the patient."""
    made = (Inbound.patient_id == patient_id, Inbound.trigger == ASK_CONSENT)
    unsaid = select(Inbound.id).where(*made, Inbound.state == InboundState.ACCEPTED)
    unsent = select(Inbound.id).join(Outbound, Outbound.inbound_id == Inbound.id).where(*made, Outbound.state == OutboundState.PENDING)
    return bool(session.scalar(select(or_(unsaid.exists(), unsent.exists()))))


def take_back_ended(session: Session, rows: Sequence[Outbound], at: datetime) -> None:
    """What our side was to say in a contact that was ended or paused while it was being written is not said."""
    ours = {row.contact_id for row in rows if row.contact_id is not None and row.state is OutboundState.PENDING}
    if not ours:
        return
    over = or_(Contact.state == ContactState.SKIPPED, Contact.held_next_at.is_not(None))
    ended = set(session.scalars(select(Contact.id).where(Contact.id.in_(ours), over)))
    for row in rows:
        if row.contact_id in ended and row.state is OutboundState.PENDING and not (row.safety or row.compliance):
            row.state = OutboundState.CANCELLED
            leave_unsaid(session, row.contact_id, "paused", at)


def leave_unsaid(session: Session, contact_id: str, because: str, at: datetime) -> None:
    """A contact of which Twilio took nothing was not begun: it is skipped, with the reason, and what it asked for may be asked for again."""
    taken = select(Outbound.id).where(Outbound.contact_id == contact_id, Outbound.external_id.is_not(None)).exists()
    begun_with_it = or_(Contact.state == ContactState.STARTED, Contact.kind == StepKind.EDUCATION)
    skipped = session.scalars(
        update(Contact)
        .where(Contact.id == contact_id, begun_with_it, Contact.state != ContactState.SKIPPED, ~taken)
        .values(state=ContactState.SKIPPED, skipped_because=because, completed_at=None, next_at=None, held_next_at=None)
        .returning(Contact.id)
    ).all()
    if skipped:
        forget_words(session, select(Contact.id).where(Contact.id == contact_id), at)


def forget_words(session: Session, contacts: Select[str], at: datetime) -> None:
    """A request for consent that was written in these contacts, and that nobody got, was not made; words that no notice called to wait in no chat."""
    called = (Outbound.contact_id.in_(contacts), Outbound.channel == Channel.WEB)
    session.execute(update(Outbound).where(*called).values(state=OutboundState.CANCELLED))
    made = (Inbound.contact_id.in_(contacts), Inbound.trigger == ASK_CONSENT, Inbound.state == InboundState.SAID)
    session.execute(update(Inbound).where(*made).values(trigger=ASKED_FORMERLY, state=InboundState.HANDLED, handled_at=at))
