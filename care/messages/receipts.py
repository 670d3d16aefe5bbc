"""Delivery receipts: what became of a message that Twilio took, whatever the order and repeats."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.escalations.service import Cause, raise_escalation
from care.messages.twilio_errors import ErrorClass, Handling, handling
from care.storage.tables import Outbound, OutboundState, Patient

# The order of delivery states; a later report never takes a message back.
_RANK = {
    OutboundState.PENDING: 0,
    OutboundState.SENDING: 0,
    OutboundState.UNKNOWN: 0,
    OutboundState.ACCEPTED: 1,
    OutboundState.SENT: 2,
    OutboundState.DELIVERED: 3,
    OutboundState.UNDELIVERED: 3,
    OutboundState.FAILED: 3,
    OutboundState.CANCELLED: 3,
}
_STATES = {
    "accepted": OutboundState.ACCEPTED,
    "scheduled": OutboundState.ACCEPTED,
    "queued": OutboundState.ACCEPTED,
    "sending": OutboundState.ACCEPTED,
    "sent": OutboundState.SENT,
    "delivered": OutboundState.DELIVERED,
    "read": OutboundState.DELIVERED,
    "undelivered": OutboundState.UNDELIVERED,
    "failed": OutboundState.FAILED,
    "canceled": OutboundState.FAILED,
}


def take_receipt(session: Session, reference: str, external_id: str, status: str, error_code: int | None, at: datetime) -> bool:
    """Keeps a delivery receipt; false where the reference or the status is not ours.

    A message that did not arrive is tried again where its error's class says so, while it is still worth sending and nothing newer went out;
    else a person is told, and a number that takes no SMS is marked.
    """
    state = _STATES.get(status)
    if state is None:
        return False
    if state not in (OutboundState.UNDELIVERED, OutboundState.FAILED) and _moved_on(session, reference, external_id, state):
        return True
    row = session.scalars(select(Outbound).where(Outbound.reference == reference).with_for_update()).one_or_none()
    if row is None:
        return False
    if _of_an_earlier_try(row, external_id):
        return True
    row.external_id = row.external_id or external_id
    if _RANK[state] <= _RANK[row.state]:
        return True
    row.state, row.lease_until = state, None
    if state in (OutboundState.UNDELIVERED, OutboundState.FAILED):
        row.error_code = error_code
        _not_delivered(session, row, handling(error_code or 0), at)
    return True


def _moved_on(session: Session, reference: str, external_id: str, state: OutboundState) -> bool:
    """The usual receipt, of a message that is known under this sid and goes forward: one statement."""
    earlier = [each for each, rank in _RANK.items() if 0 < rank < _RANK[state]]
    done = session.execute(
        update(Outbound)
        .where(Outbound.reference == reference, Outbound.external_id == external_id, Outbound.state.in_(earlier))
        .values(state=state)
        .returning(Outbound.id)
        .execution_options(synchronize_session=False)
    )
    return done.first() is not None


def _of_an_earlier_try(row: Outbound, external_id: str) -> bool:
    """A receipt for a try that is over: of another sid, or of the one that failed while the row waits to be sent again."""
    again = row.state is OutboundState.PENDING and row.error_code is not None
    return row.external_id is not None and (row.external_id != external_id or again)


def _not_delivered(session: Session, row: Outbound, how: Handling, at: datetime) -> None:
    if how.kind is ErrorClass.UNREACHED and row.attempts <= len(how.retries) and not _overtaken(session, row):
        wait = how.retries[row.attempts - 1]
        if row.not_after is None or at + wait < row.not_after:
            row.state, row.next_at = OutboundState.PENDING, datetime.now(UTC) + wait
            if not row.safety:
                return
    if how.kind is ErrorClass.DEAD_NUMBER:
        session.get_one(Patient, row.patient_id).number_problem = row.error_code
    acuity = Acuity.URGENT if row.safety else Acuity.ROUTINE
    summary = f"A message was not delivered. {how.told} (code {row.error_code or 'none'}). Reach the patient another way."
    raise_escalation(session, row.patient_id, Cause(f"undelivered:{row.id}", "not_sent", acuity, summary, row.inbound_id), at)


def _overtaken(session: Session, row: Outbound) -> bool:
    newer = select(Outbound.id).where(Outbound.patient_id == row.patient_id, Outbound.channel == row.channel, Outbound.id > row.id)
    return session.scalar(newer.limit(1)) is not None
