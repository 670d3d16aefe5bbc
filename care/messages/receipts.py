"""Delivery receipts: what became of a message that Twilio took, whatever the order and repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import and_, case, or_, select, update
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.clock import service_time
from care.escalations.service import Cause, raise_escalation
from care.messages import breaker
from care.messages.pool import leave_full_number
from care.messages.twilio_errors import ErrorClass, Handling, handling
from care.patients.consent import record_consent
from care.settings import settings
from care.storage.tables import Channel, Escalation, Outbound, OutboundState, Patient

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


_BAD_ENDS = (OutboundState.UNDELIVERED, OutboundState.FAILED)
UNCONFIRMED = (OutboundState.ACCEPTED, OutboundState.SENT)
WARNING_LATE, GIVEN_UP = timedelta(minutes=5), timedelta(hours=48)
"""How long, in real time, a warning may be without its last receipt before a person is told, and after what no receipt is waited for any more."""


@dataclass(frozen=True)
class Told:
    """A delivery receipt: of the message that has our `reference`, under Twilio's sid."""

    reference: str
    external_id: str
    status: str
    error_code: int | None = None


def take_usual_receipts(session: Session, receipts: Sequence[Told]) -> list[bool]:
    """Keeps, in a statement a status, those of messages that are known under their sid and go forward; false for every other, which needs `take_receipt`."""
    moved: set[tuple[str, str | None, OutboundState]] = set()
    # In the order that the sender locks in.
    session.execute(select(Outbound.id).where(Outbound.reference.in_([told.reference for told in receipts])).order_by(Outbound.id).with_for_update()).all()
    states = [_STATES.get(told.status) for told in receipts]
    for state in sorted({state for state in states if state is not None and state not in _BAD_ENDS}, key=_RANK.__getitem__):
        sids = {told.reference: told.external_id for told, each in zip(receipts, states, strict=True) if each is state}
        sid = case(sids, value=Outbound.reference)
        earlier = [each for each, rank in _RANK.items() if 0 < rank < _RANK[state]]
        # The receipt may come before Twilio's answer to the request is kept.
        unanswered = and_(Outbound.external_id.is_(None), Outbound.state.in_((OutboundState.SENDING, OutboundState.UNKNOWN)))
        done = session.execute(
            update(Outbound)
            .where(Outbound.reference.in_(sids), or_(unanswered, and_(Outbound.external_id == sid, Outbound.state.in_(earlier))))
            .values(state=state, external_id=sid, lease_until=None)
            .returning(Outbound.reference, Outbound.external_id)
            .execution_options(synchronize_session=False)
        )
        moved |= {(row[0], row[1], state) for row in done}
    return [state is not None and (told.reference, told.external_id, state) in moved for told, state in zip(receipts, states, strict=True)]


def take_receipt(session: Session, told: Told, at: datetime) -> bool:
    """Keeps a delivery receipt; false where the reference or the status is not ours.

    A message that did not arrive is tried again where its error's class says so, while it is still worth sending and nothing newer went out;
    else a person is told, and a number that takes no SMS is marked.
    """
    state = _STATES.get(told.status)
    if state is None:
        return False
    row = session.scalars(select(Outbound).where(Outbound.reference == told.reference).with_for_update()).one_or_none()
    if row is None:
        return False
    if _of_an_earlier_try(row, told.external_id):
        return True
    row.external_id = row.external_id or told.external_id
    if _RANK[state] <= _RANK[row.state]:
        return True
    row.state, row.lease_until = state, None
    if state in _BAD_ENDS:
        row.error_code = told.error_code
        _not_delivered(session, row, handling(told.error_code or 0), at)
    return True


def tell_of_unconfirmed(session: Session, at: datetime) -> int:
    """Has a person phone each patient of whose warning nobody knows whether it arrived, though Twilio was asked, once for all its parts; how many were told of
    now. Not where a person has closed the message's red flag since, nor of a safe reply, which a person hears of anyway."""
    closed = select(Escalation.id).where(
        Escalation.patient_id == Outbound.patient_id,
        Escalation.inbound_id == Outbound.inbound_id,
        Escalation.reason == "red_flag",
        Escalation.resolved_at >= Outbound.sent_at,
    )
    asked = select(Outbound.patient_id, Outbound.inbound_id, Outbound.reference).where(
        Outbound.state.in_(UNCONFIRMED),
        Outbound.channel == Channel.SMS,
        Outbound.safety,
        Outbound.key != "safe_reply",
        Outbound.sent_at > at - service_time(GIVEN_UP),
        Outbound.sent_at <= at - service_time(WARNING_LATE),
        Outbound.next_at > datetime.now(UTC),  # Twilio was asked; one that was tried again before it was sent has one that is over
        ~closed.exists(),
    )
    late = {f"unconfirmed:{inbound_id or reference}": (patient_id, inbound_id) for patient_id, inbound_id, reference in session.execute(asked)}
    known = set(session.scalars(select(Escalation.key).where(Escalation.key.in_(late))))
    minutes = int(WARNING_LATE.total_seconds() // 60)
    summary = f"A safety message may not have arrived: Twilio took it {minutes} minutes ago and has not said that it was delivered. Phone the patient."
    for key, (patient_id, inbound_id) in late.items():
        if key not in known:
            raise_escalation(session, patient_id, Cause(key, "not_sent", Acuity.URGENT, summary, inbound_id), at)
    return len(late.keys() - known)


def _of_an_earlier_try(row: Outbound, external_id: str) -> bool:
    """A receipt for a try that is over: of another sid, or of the one that failed while the row waits to be sent again."""
    again = row.state is OutboundState.PENDING and row.error_code is not None
    return row.external_id is not None and (row.external_id != external_id or again)


def _not_delivered(session: Session, row: Outbound, how: Handling, at: datetime) -> None:
    if how.kind is ErrorClass.PROVIDER:
        breaker.trip(session, row.error_code or 0)
    if how.kind is ErrorClass.FULL:
        leave_full_number(session, row.patient_id, settings().our_numbers, row.error_code or 0)
    wait = how.wait(row.attempts)
    if wait is not None and not _overtaken(session, row) and (row.not_after is None or at + wait < row.not_after):
        row.state, row.next_at = OutboundState.PENDING, datetime.now(UTC) + wait
        if not row.safety:
            return
    if how.kind is ErrorClass.DEAD_NUMBER:
        session.get_one(Patient, row.patient_id).number_problem = row.error_code
    if row.compliance and (how.kind is ErrorClass.OPTED_OUT or row.not_after is not None):  # of an opt-out: the carrier confirms it, or it is now or never
        return
    if how.kind is ErrorClass.OPTED_OUT:
        record_consent(session, row.patient_id, granted=False, channel="sms", words="", source="carrier", at=at)
    acuity = Acuity.URGENT if row.safety else Acuity.ROUTINE
    summary = f"A message was not delivered. {how.told} (code {row.error_code or 'none'}). Reach the patient another way."
    raise_escalation(session, row.patient_id, Cause(f"undelivered:{row.id}", "not_sent", acuity, summary, row.inbound_id), at)


def _overtaken(session: Session, row: Outbound) -> bool:
    newer = select(Outbound.id).where(Outbound.patient_id == row.patient_id, Outbound.channel == row.channel, Outbound.id > row.id)
    return session.scalar(newer.limit(1)) is not None
