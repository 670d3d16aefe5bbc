"""Sending the outbox by SMS: head first, one at a time per patient, each routine message at most once.

A row is claimed before Twilio is called and carries its reference in the callback URL. A claim that ended without an answer leaves the row
`unknown`: it is looked up in Twilio's message list before anything is sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.clock import Clock
from care.escalations.service import Cause, raise_escalation
from care.patients.consent import consent_status, record_consent
from care.storage.engine import transaction
from care.storage.tables import Channel, Conversation, Outbound, OutboundState, Patient

log = structlog.get_logger()

OPEN = (OutboundState.PENDING, OutboundState.SENDING, OutboundState.UNKNOWN)
_ATTEMPTS = 5
_OPTED_OUT = 21610
_FAILED_FOR_GOOD = frozenset({21211, 21614, 21612, 21408, 30004, 30005, 30006})


class SmsRefused(Exception):
    """Twilio said no: `code` is its error code, `retry` whether trying again is safe and useful."""

    def __init__(self, code: int, retry: bool) -> None:
        super().__init__(f"Twilio refused the message with code {code}")
        self.code = code
        self.retry = retry


class SmsUnanswered(Exception):
    """It is not known whether Twilio took the message."""


@dataclass(frozen=True)
class SentSms:
    """A message in Twilio's list."""

    external_id: str
    body: str
    sent_at: datetime


class SmsGateway(Protocol):
    """The port to Twilio."""

    def send(self, to: str, body: str, reference: str) -> str:
        """Hands one message over; its sid. Raises `SmsRefused`, `SmsUnanswered`."""
        ...

    def listed(self, to: str, since: datetime) -> list[SentSms]:
        """What Twilio holds to this number since then. Raises `SmsUnanswered`."""
        ...


@dataclass(frozen=True)
class SendPolicy:
    """Real time, not the service's: `lease` of a claim, `doubt` before an unknown message is taken as not sent."""

    lease: timedelta = timedelta(seconds=30)
    doubt: timedelta = timedelta(seconds=60)
    retry: timedelta = timedelta(seconds=2)


class Sender:
    """Sends what is due to a patient. One instance a process; it holds no state between calls."""

    def __init__(self, gateway: SmsGateway, clock: Clock, policy: SendPolicy | None = None) -> None:
        self._gateway = gateway
        self._clock = clock
        self._policy = policy or SendPolicy()

    def run(self, patient_id: str) -> int:
        """Sends from the head until nothing more may go out now; how many Twilio took. Safe to call at any time from any process."""
        taken = 0
        while True:
            with transaction() as session:
                work = self._claim(session, patient_id)
            if work is None:
                return taken
            row_id, to, body, reference, doubtful = work
            if doubtful:
                if not self._reconcile(row_id, to, body):
                    return taken
                continue
            taken += self._send(row_id, to, body, reference)

    def _claim(self, session: Session, patient_id: str) -> tuple[int, str, str, str, bool] | None:
        """The row to act on next, or None. Consent is looked at here, in the claim, not when the row was written."""
        session.scalars(select(Conversation).where(Conversation.patient_id == patient_id).with_for_update()).one()
        now, service_now = datetime.now(UTC), self._clock.now()
        rows = session.scalars(
            select(Outbound).where(Outbound.patient_id == patient_id, Outbound.channel == Channel.SMS, Outbound.state.in_(OPEN)).order_by(Outbound.id)
        ).all()
        revoked = consent_status(session, patient_id) == "revoked"
        patient = session.get_one(Patient, patient_id)
        blocked = False
        for row in rows:
            if row.state is OutboundState.SENDING and row.lease_until is not None and row.lease_until > now:
                return None
            if row.state is OutboundState.SENDING:  # its sender died: nobody knows what Twilio has
                row.state, row.next_at = OutboundState.UNKNOWN, now
            if row.state is OutboundState.UNKNOWN:
                if not blocked and (row.next_at is None or row.next_at <= now):
                    row.next_at = now + self._policy.retry
                    return row.id, patient.phone, row.body, row.reference, True
                blocked = True
                continue
            if (revoked and not row.compliance) or (row.not_after is not None and row.not_after < service_now):
                row.state = OutboundState.CANCELLED
                continue
            if row.next_at is not None and row.next_at > now:
                blocked = True
            if blocked and not row.safety:
                continue
            if row.next_at is not None and row.next_at > now:
                continue
            row.state, row.lease_until, row.sent_at = OutboundState.SENDING, now + self._policy.lease, service_now
            row.attempts += 1
            return row.id, patient.phone, row.body, row.reference, False
        return None

    def _send(self, row_id: int, to: str, body: str, reference: str) -> int:
        try:
            external_id = self._gateway.send(to, body, reference)
        except SmsRefused as refusal:
            with transaction() as session:
                self._refused(session, session.get_one(Outbound, row_id), refusal)
            return 0
        except SmsUnanswered:
            with transaction() as session:
                row = session.get_one(Outbound, row_id)
                if row.state is OutboundState.SENDING:
                    row.state, row.next_at, row.lease_until = OutboundState.UNKNOWN, datetime.now(UTC), None
            log.warning("sms_unanswered", outbound=row_id)
            return 0
        with transaction() as session:
            _taken(session.get_one(Outbound, row_id), external_id)
        return 1

    def _reconcile(self, row_id: int, to: str, body: str) -> bool:
        """Looks an unknown message up in Twilio's list; true where its fate is settled or it may be sent again."""
        now = datetime.now(UTC)
        try:
            listed = self._gateway.listed(to, now - timedelta(hours=2))
        except SmsUnanswered:
            return False
        with transaction() as session:
            row = session.get_one(Outbound, row_id)
            if row.state is not OutboundState.UNKNOWN:
                return True
            ours = set(session.scalars(select(Outbound.external_id).where(Outbound.patient_id == row.patient_id)).all())
            match = next((sms for sms in listed if sms.body == body and sms.external_id not in ours), None)
            if match is not None:
                _taken(row, match.external_id)
                return True
            doubt_since = row.lease_until or now
            row.lease_until = doubt_since
            if now - doubt_since < self._policy.doubt:
                return False
            if row.safety and not row.resent:
                row.resent = True
                self._tell(session, row, "A safety message may not have arrived; it was sent again. Phone the patient.", Acuity.URGENT)
            row.state, row.next_at, row.lease_until = OutboundState.PENDING, None, None
            if row.attempts >= _ATTEMPTS:
                self._give_up(session, row)
            return True

    def _refused(self, session: Session, row: Outbound, refusal: SmsRefused) -> None:
        row.error_code, row.lease_until = refusal.code, None
        if refusal.retry and row.attempts < _ATTEMPTS:
            row.state, row.next_at = OutboundState.PENDING, datetime.now(UTC) + self._policy.retry * 2 ** (row.attempts - 1)
            return
        if refusal.code == _OPTED_OUT:
            record_consent(session, row.patient_id, granted=False, channel="sms", words="", source="carrier", at=self._clock.now())
        self._give_up(session, row)

    def _give_up(self, session: Session, row: Outbound) -> None:
        row.state = OutboundState.FAILED
        acuity = Acuity.URGENT if row.safety else Acuity.ROUTINE
        self._tell(session, row, f"A message could not be sent (code {row.error_code or 'none'}): reach the patient another way.", acuity)

    def _tell(self, session: Session, row: Outbound, summary: str, acuity: Acuity) -> None:
        cause = Cause(f"not_sent:{row.id}:{row.attempts}", "not_sent", acuity, summary, row.inbound_id)
        raise_escalation(session, row.patient_id, cause, self._clock.now())


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
    """Keeps a delivery receipt, whatever the order and repeats; false where the reference or the status is not ours."""
    row = session.scalars(select(Outbound).where(Outbound.reference == reference).with_for_update()).one_or_none()
    state = _STATES.get(status)
    if row is None or state is None:
        return False
    row.external_id = row.external_id or external_id
    if _RANK[state] <= _RANK[row.state]:
        return True
    row.state, row.lease_until = state, None
    if state in (OutboundState.UNDELIVERED, OutboundState.FAILED):
        row.error_code = error_code
        acuity = Acuity.URGENT if row.safety else Acuity.ROUTINE
        dead = " The number does not take SMS." if error_code in _FAILED_FOR_GOOD else ""
        summary = f"A message was not delivered (code {error_code or 'none'}).{dead} Reach the patient another way."
        raise_escalation(session, row.patient_id, Cause(f"undelivered:{row.id}", "not_sent", acuity, summary, row.inbound_id), at)
    return True


def _taken(row: Outbound, external_id: str) -> None:
    row.external_id, row.lease_until = external_id, None
    if _RANK[row.state] < _RANK[OutboundState.ACCEPTED]:
        row.state = OutboundState.ACCEPTED
