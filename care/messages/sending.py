"""Sending the outbox by SMS: head first, one at a time per patient, each routine message at most once.

A row is claimed before Twilio is called and carries its reference in the callback URL. A claim that ended without an answer leaves the row
`unknown`: it is looked up in Twilio's message list before anything is sent again.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Protocol

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.clock import Clock
from care.escalations.service import Cause, raise_escalation
from care.messages import breaker
from care.messages.twilio_errors import ErrorClass, handling
from care.patients.consent import consent_status, record_consent
from care.storage.engine import transaction
from care.storage.tables import Channel, Conversation, Outbound, OutboundState, Patient

log = structlog.get_logger()

OPEN = (OutboundState.PENDING, OutboundState.SENDING, OutboundState.UNKNOWN)
_UNANSWERED_TRIES = 5


class SmsRefused(Exception):
    """Twilio said no: `code` is its error code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Twilio refused the message with code {code}")
        self.code = code


class SmsUnanswered(Exception):
    """It is not known whether Twilio took the message."""


@dataclass(frozen=True)
class SentSms:
    """A message in Twilio's list."""

    external_id: str
    body: str
    sent_at: datetime


class SmsGateway(Protocol):
    """The port to Twilio. `numbers` are ours."""

    numbers: list[str]

    def send(self, to: str, body: str, reference: str, sender: str) -> str:
        """Hands one message over, from our number `sender`; its sid. Raises `SmsRefused`, `SmsUnanswered`."""
        ...

    def listed(self, to: str, since: datetime) -> list[SentSms]:
        """What Twilio holds to this number since then. Raises `SmsUnanswered`."""
        ...


@dataclass(frozen=True)
class SendPolicy:
    """Real time, not the service's: `lease` of a claim, `doubt` before an unknown message is taken as not sent, `retry` before it is looked up again."""

    lease: timedelta = timedelta(seconds=30)
    doubt: timedelta = timedelta(seconds=60)
    retry: timedelta = timedelta(seconds=2)


@dataclass(frozen=True)
class _Claim:
    """The row to act on: to send (perhaps as the breaker's `probe`), or (`doubtful`) to look up."""

    row_id: int
    to: str
    sender: str
    body: str
    reference: str
    doubtful: bool = False
    probe: bool = False


class Sender:
    """Sends what is due to a patient. One instance a process; it holds no state between calls."""

    def __init__(self, gateway: SmsGateway, clock: Clock, policy: SendPolicy | None = None) -> None:
        self._gateway = gateway
        self._clock = clock
        self._policy = policy or SendPolicy()

    def run(self, patient_id: str) -> int:
        """Sends from the head until nothing more may go out now; how many Twilio took. Safe to call at any time from any process."""
        taken = 0
        with transaction() as session:
            claim = self._claim(session, patient_id)
        while claim is not None:
            if claim.doubtful:
                if not self._reconcile(claim):
                    return taken
                with transaction() as session:
                    claim = self._claim(session, patient_id)
                continue
            sent, claim = self._send(claim, patient_id)
            taken += sent
        return taken

    def _claim(self, session: Session, patient_id: str) -> _Claim | None:
        """The row to act on next, or None. Consent is looked at here, in the claim, not when the row was written."""
        conversation = session.scalars(select(Conversation).where(Conversation.patient_id == patient_id).with_for_update()).one()
        now, service_now = datetime.now(UTC), self._clock.now()
        rows = session.scalars(
            select(Outbound).where(Outbound.patient_id == patient_id, Outbound.channel == Channel.SMS, Outbound.state.in_(OPEN)).order_by(Outbound.id)
        ).all()
        if not rows:
            return None
        revoked = consent_status(session, patient_id) == "revoked"
        patient = session.get_one(Patient, patient_id)
        sender = self._sticky_number(conversation)
        opened = breaker.look(session)
        blocked = False
        for row in rows:
            if row.state is OutboundState.SENDING and row.lease_until is not None and row.lease_until > now:
                return None
            if row.state is OutboundState.SENDING:  # its sender died: nobody knows what Twilio has
                row.state, row.next_at = OutboundState.UNKNOWN, now
            if row.state is OutboundState.UNKNOWN:
                if not blocked and (row.next_at is None or row.next_at <= now):
                    row.next_at = now + self._policy.retry
                    return _Claim(row.id, patient.phone, sender, row.body, row.reference, doubtful=True)
                blocked = True
                continue
            if (revoked and not row.compliance) or (row.not_after is not None and row.not_after < service_now):
                row.state = OutboundState.CANCELLED
                continue
            if patient.number_problem is not None:
                row.error_code = patient.number_problem
                self._give_up(session, row)
                continue
            if opened is not None and breaker.holds(opened):
                if row.safety:
                    self._tell(session, row, f"SMS is held (Twilio's code {opened.code}) and a safety message waits: phone the patient.", Acuity.URGENT, "held")
                continue
            waits = row.next_at is not None and row.next_at > now
            # One that is tried again hours later because the phone was off does not keep back what is newer.
            blocked = blocked or (waits and not _redelivery(row))
            if waits or (blocked and not row.safety):
                continue
            row.state, row.lease_until, row.sent_at = OutboundState.SENDING, now + self._policy.lease, service_now
            row.attempts += 1
            if opened is not None:
                breaker.claim_probe(opened)
            return _Claim(row.id, patient.phone, sender, row.body, row.reference, probe=opened is not None)
        return None

    def _sticky_number(self, conversation: Conversation) -> str:
        """The number of ours that the patient knows; the first time one of the pool."""
        numbers = self._gateway.numbers
        if conversation.sender not in numbers:
            digest = blake2b(conversation.patient_id.encode(), digest_size=4).digest()
            conversation.sender = numbers[int.from_bytes(digest, "big") % len(numbers)]
        return str(conversation.sender)

    def _send(self, claim: _Claim, patient_id: str) -> tuple[int, _Claim | None]:
        """Hands one message to Twilio, and claims the next; how many it took, and the next."""
        external_id, refused = "", None
        try:
            external_id = self._gateway.send(claim.to, claim.body, claim.reference, claim.sender)
        except SmsRefused as refusal:
            refused = refusal.code
        except SmsUnanswered:
            log.warning("sms_unanswered", outbound=claim.row_id)
        with transaction() as session:
            row = session.get_one(Outbound, claim.row_id)
            if external_id:
                _taken(row, external_id)
                if claim.probe:
                    breaker.reset(session)
            elif refused is not None:
                self._refused(session, row, refused)
            elif row.state is OutboundState.SENDING:
                row.state, row.next_at, row.lease_until = OutboundState.UNKNOWN, datetime.now(UTC), None
            session.flush()
            return (1 if external_id else 0), self._claim(session, patient_id)

    def _reconcile(self, claim: _Claim) -> bool:
        """Looks an unknown message up in Twilio's list; true where its fate is settled or it may be sent again."""
        now = datetime.now(UTC)
        try:
            listed = self._gateway.listed(claim.to, now - timedelta(hours=2))
        except SmsUnanswered:
            return False
        with transaction() as session:
            row = session.get_one(Outbound, claim.row_id)
            if row.state is not OutboundState.UNKNOWN:
                return True
            ours = set(session.scalars(select(Outbound.external_id).where(Outbound.patient_id == row.patient_id)).all())
            match = next((sms for sms in listed if sms.body == claim.body and sms.external_id not in ours), None)
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
            if row.attempts >= _UNANSWERED_TRIES:
                self._give_up(session, row)
            return True

    def _refused(self, session: Session, row: Outbound, code: int) -> None:
        """By the class of the error: later, never, or not before Twilio takes anything from us again."""
        row.error_code, row.lease_until = code, None
        how = handling(code)
        if how.kind is ErrorClass.PROVIDER:
            row.state, row.next_at, row.attempts = OutboundState.PENDING, None, row.attempts - 1
            breaker.trip(session, code)
            log.error("sms_held", code=code)
            return
        if row.attempts <= len(how.retries):
            wait = how.retries[row.attempts - 1]
            row.state, row.next_at = OutboundState.PENDING, datetime.now(UTC) + wait * random.uniform(1, 1.3)  # noqa: S311
            return
        patient = session.get_one(Patient, row.patient_id)
        if how.kind is ErrorClass.DEAD_NUMBER:
            patient.number_problem = code
        if how.kind is ErrorClass.OPTED_OUT:
            record_consent(session, row.patient_id, granted=False, channel="sms", words="", source="carrier", at=self._clock.now())
        self._give_up(session, row)

    def _give_up(self, session: Session, row: Outbound) -> None:
        row.state = OutboundState.FAILED
        acuity = Acuity.URGENT if row.safety else Acuity.ROUTINE
        why = f"{handling(row.error_code).told} (code {row.error_code})" if row.error_code else "Twilio gave no answer"
        self._tell(session, row, f"A message could not be sent. {why}. Reach the patient another way.", acuity)

    def _tell(self, session: Session, row: Outbound, summary: str, acuity: Acuity, why: str = "not_sent") -> None:
        cause = Cause(f"{why}:{row.id}:{row.attempts}", "not_sent", acuity, summary, row.inbound_id)
        raise_escalation(session, row.patient_id, cause, self._clock.now())


def _redelivery(row: Outbound) -> bool:
    return row.error_code is not None and handling(row.error_code).kind is ErrorClass.UNREACHED


def _taken(row: Outbound, external_id: str) -> None:
    row.external_id, row.lease_until = external_id, None
    if row.state in OPEN:
        row.state = OutboundState.ACCEPTED
