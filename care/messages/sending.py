"""Sending the outbox by SMS: head first, in order for each patient, each routine message at most once.

A row is claimed, and the claim committed, before Twilio is called; it carries its reference in the callback URL. A claim that ended without an
answer leaves the row `unknown`: it is looked up in Twilio's message list before anything is sent again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import case, select, update
from sqlalchemy.orm import Session, load_only

from care.acuity import Acuity
from care.clock import Clock
from care.escalations.service import Cause, raise_escalation
from care.messages import breaker
from care.messages.conversation import lock_conversations
from care.messages.gateway import SmsGateway, SmsUnanswered
from care.messages.handing_over import Answer, Claim, HandingOver, SendPolicy
from care.messages.late_answers import hold_late
from care.messages.outbox import hide_waiting, must_hide
from care.messages.pace import Haste
from care.messages.pool import leave_full_number, sticky_number
from care.messages.twilio_errors import ErrorClass, handling
from care.messages.unsaid import leave_unsaid, take_back_ended
from care.patients.consent import consent_statuses, record_consent
from care.storage.engine import transaction
from care.storage.tables import BOT, Breaker, Channel, Conversation, Inbound, InboundState, Outbound, OutboundState, Patient

log = structlog.get_logger()

OPEN = (OutboundState.PENDING, OutboundState.SENDING, OutboundState.UNKNOWN)
_UNANSWERED_TRIES = 5
_SILENT_AFTER, _SILENCE = 5, 503
"""After so many messages without an answer, and none with one, Twilio is taken to be away, as if it had refused with this code."""
_TOO_LONG_FOR_SAFETY = timedelta(minutes=1)
_TOGETHER = 3
"""So many messages of a patient are claimed at once."""
_OF_PATIENT = load_only(Patient.id, Patient.phone, Patient.number_problem, Patient.shared_phone, Patient.timezone, Patient.state)


class Sender:
    """Sends what is due to patients. One instance a process; it holds no state between calls."""

    def __init__(self, gateway: SmsGateway, clock: Clock, policy: SendPolicy | None = None) -> None:
        self._gateway = gateway
        self._clock = clock
        self._policy = policy or SendPolicy()
        self._handing_over = HandingOver(gateway, self._policy)

    def run(self, patient_id: str) -> int:
        """Sends from the head until nothing more may go out now; how many Twilio took. Safe to call at any time from any process."""
        return self.run_each([patient_id])

    def run_each(self, patient_ids: Sequence[str]) -> int:
        """The same for several patients: a few messages of each are claimed, all in one transaction; they are handed over in order; the answers are kept in one
        transaction, which claims the next of each. A patient who is busy in another transaction is left to the sweep."""
        taken = 0
        with transaction() as session:
            claims = self._claim_each(session, patient_ids)
        while claims:
            answers = self._handing_over.hand_over([claim for claim in claims if not claim.doubtful])
            doubtful = [claim for claim in claims if claim.doubtful]
            taken += sum(bool(answer.external_id) for _, answer in answers)
            with transaction() as session:
                # In the order that acceptance locks in: the conversation before what a refusal changes below.
                lock_conversations(session, [claim.patient_id for claim, _ in answers])
                self._keep(session, answers)
                session.flush()
                more = [claim.patient_id for claim, _ in answers]
                claims = [] if doubtful else self._claim_each(session, list(dict.fromkeys(more)))
            if doubtful:  # each may take seconds: not between a message and what is kept of it
                more += [claim.patient_id for claim in doubtful if self._reconcile(claim)]
                with transaction() as session:
                    claims = self._claim_each(session, list(dict.fromkeys(more)))
        return taken

    def _keep(self, session: Session, answers: Sequence[tuple[Claim, Answer]]) -> None:
        """Writes down what became of each message. Its receipt may come meanwhile, or have come before the answer: the rows are locked, in the order that
        receipts lock in."""
        ours = select(Outbound.id, Outbound.state).where(Outbound.id.in_([claim.row_id for claim, _ in answers])).order_by(Outbound.id)
        states = {row[0]: row[1] for row in session.execute(ours.with_for_update())}
        taken = {claim.row_id: answer.external_id for claim, answer in answers if answer.external_id}
        if taken:
            state = case((Outbound.state.in_(OPEN), OutboundState.ACCEPTED), else_=Outbound.state)
            session.execute(
                update(Outbound)
                .where(Outbound.id.in_(taken))
                .values(external_id=case(taken, value=Outbound.id), lease_until=None, state=state)
                .execution_options(synchronize_session=False)
            )
        if any(claim.probe and answer.external_id and states.get(claim.row_id) is OutboundState.SENDING for claim, answer in answers):
            breaker.taken(session)
        for claim, answer in answers:
            if answer.external_id:
                continue
            row = session.get(Outbound, claim.row_id)
            if row is None:  # the patient's record was erased meanwhile
                continue
            still_ours = row.state is OutboundState.SENDING and row.lease_until == claim.lease_until
            if answer.refused is not None:
                self._refused(session, row, answer.refused)
            elif still_ours and answer.held_back:
                row.state, row.lease_until, row.attempts, row.next_at = OutboundState.PENDING, None, row.attempts - 1, answer.next_at
            elif still_ours:
                row.state, row.next_at, row.lease_until = OutboundState.UNKNOWN, datetime.now(UTC), None
        if any(not answer.external_id and answer.refused is None and not answer.held_back for _, answer in answers):
            self._hold_if_silent(session)

    def _hold_if_silent(self, session: Session) -> None:
        """Holds the queue where Twilio answers none any more: each message would be tried to no end."""
        unanswered = select(Outbound.sent_at).where(Outbound.state == OutboundState.UNKNOWN).order_by(Outbound.sent_at.desc()).limit(_SILENT_AFTER)
        silent = session.scalars(unanswered).all()
        if len(silent) < _SILENT_AFTER:
            return
        answered = select(Outbound.id).where(Outbound.external_id.is_not(None), Outbound.sent_at >= silent[-1]).limit(1)
        if session.scalar(answered) is None:
            breaker.trip(session, _SILENCE)
            log.error("sms_held", code=_SILENCE)

    def _claim_each(self, session: Session, patient_ids: Sequence[str]) -> list[Claim]:
        """The rows to act on next, of those patients first to whom a warning is to go."""
        if not patient_ids:
            return []
        conversations = lock_conversations(session, patient_ids, skip_locked=len(patient_ids) > 1)
        waiting: dict[str, list[Outbound]] = {conversation.patient_id: [] for conversation in conversations}
        opened = select(Outbound).where(Outbound.patient_id.in_(waiting), Outbound.channel == Channel.SMS, Outbound.state.in_(OPEN)).order_by(Outbound.id)
        for row in session.scalars(opened):
            waiting[row.patient_id].append(row)
        ids = [patient_id for patient_id, rows in waiting.items() if rows]
        if not ids:
            return []
        consent = consent_statuses(session, ids)
        unread = set(session.scalars(select(Inbound.patient_id).where(Inbound.patient_id.in_(ids), Inbound.state == InboundState.STORED)))
        patients = {patient.id: patient for patient in session.scalars(select(Patient).options(_OF_PATIENT).where(Patient.id.in_(ids)))}
        held = breaker.look(session)
        if held is not None and breaker.is_over(session, held):
            breaker.reset(session)
            held = None
        take_back_ended(session, [row for rows in waiting.values() for row in rows], self._clock.now())
        for patient in patients.values():
            # Also what was on its way when the phone was marked shared, and came back.
            if patient.shared_phone and any(must_hide(row) for row in waiting[patient.id]):
                hide_waiting(session, patient, self._clock.now())
                waiting[patient.id] = list(session.scalars(opened.where(Outbound.patient_id == patient.id)))
        hold_late(session, waiting, patients, self._clock.now())
        claims: list[Claim] = []
        for conversation in conversations:
            rows = waiting[conversation.patient_id]
            if conversation.patient_id in unread:  # it may say STOP: the rules read it first
                rows = [row for row in rows if row.safety or row.state is not OutboundState.PENDING]
            if rows:
                revoked = consent.get(conversation.patient_id) == "revoked"
                claims += self._claim(session, patients[conversation.patient_id], conversation, rows, revoked, held)
        warned = {claim.patient_id for claim in claims if claim.haste is Haste.WARNING}
        return sorted(claims, key=lambda claim: claim.patient_id not in warned)

    def _claim(
        self, session: Session, patient: Patient, conversation: Conversation, rows: Sequence[Outbound], revoked: bool, opened: Breaker | None
    ) -> list[Claim]:
        """The rows to act on next: one to look up, or a few to send. Consent, and whether a person answers, is looked at here, not when the row was written."""
        now, service_now, sender = datetime.now(UTC), self._clock.now(), sticky_number(conversation, self._gateway.numbers)
        blocked, claims = False, list[Claim]()
        for row in rows:
            if len(claims) == (_TOGETHER if opened is None else 1):
                break
            if row.state is OutboundState.SENDING and row.lease_until is not None and row.lease_until > now:
                break
            if row.state is OutboundState.SENDING:  # its sender died: nobody knows what Twilio has
                row.state, row.next_at = OutboundState.UNKNOWN, now
            if row.state is OutboundState.UNKNOWN:
                if not blocked and not claims and (row.next_at is None or row.next_at <= now):
                    row.next_at = now + self._policy.retry
                    return [Claim(row.id, patient.id, patient.phone, sender, row.body, row.reference, doubtful=True)]
                blocked = True
                continue
            if row.state is OutboundState.CANCELLED:
                continue
            if (revoked and not row.compliance) or (row.not_after is not None and row.not_after < service_now):
                row.state = OutboundState.CANCELLED
                if row.contact_id is not None:
                    leave_unsaid(session, row.contact_id, "opted_out" if revoked else "not_sent", service_now)
                continue
            if conversation.coordinator_id is not None and row.author == BOT and not (row.safety or row.compliance):
                continue  # a person answers: the bot holds still
            if patient.number_problem is not None:
                row.error_code = patient.number_problem
                self._give_up(session, row)
                continue
            goes_in_silence = opened is not None and row.safety and opened.code == _SILENCE
            if opened is not None and breaker.holds(opened) and not goes_in_silence:
                if row.safety:
                    self._tell(session, row, f"SMS is held (Twilio's code {opened.code}) and a safety message waits: phone the patient.", Acuity.URGENT, "held")
                continue
            waits = row.next_at is not None and row.next_at > now
            # One that is tried again hours later because the phone was off does not keep back what is newer.
            blocked = blocked or (waits and not _redelivery(row))
            if waits or (blocked and not row.safety):
                continue
            if opened is not None and not breaker.claim_probe(session) and not goes_in_silence:
                continue
            row.state, row.lease_until, row.sent_at = OutboundState.SENDING, now + self._policy.lease, service_now
            row.attempts += 1
            claims.append(
                Claim(
                    row.id,
                    patient.id,
                    patient.phone,
                    sender,
                    row.body,
                    row.reference,
                    row.segments,
                    _haste(row),
                    probe=opened is not None,
                    lease_until=row.lease_until,
                )
            )
        return claims

    def _reconcile(self, claim: Claim) -> bool:
        """Looks an unknown message up in Twilio's list; true where its fate is settled or it may be sent again.

        Where Twilio has not got it for a while it is sent again. Where the list is away too nobody can know: a routine message waits, a safety message is sent
        once more and a person is told.
        """
        now = datetime.now(UTC)
        try:
            listed = self._gateway.listed(claim.to)
        except SmsUnanswered:
            listed = None
        with transaction() as session:
            row = session.get_one(Outbound, claim.row_id, with_for_update=True)
            if row.state is not OutboundState.UNKNOWN:
                return True
            ours = set(session.scalars(select(Outbound.external_id).where(Outbound.patient_id == row.patient_id)).all())
            match = next((sms for sms in listed or () if sms.body == claim.body and sms.external_id not in ours), None)
            if match is not None:
                _taken(row, match.external_id)
                return True
            doubt_since = row.lease_until or now
            row.lease_until = doubt_since
            if now - doubt_since < self._policy.doubt or (listed is None and (row.resent or not row.safety)):
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
        if how.kind is ErrorClass.FULL:
            leave_full_number(session, row.patient_id, self._gateway.numbers, code)
        wait = how.wait(row.attempts)
        if wait is not None and (row.not_after is None or self._clock.now() + wait < row.not_after):
            row.state, row.next_at = OutboundState.PENDING, datetime.now(UTC) + wait * random.uniform(1, 1.3)  # noqa: S311
            if row.safety and wait >= _TOO_LONG_FOR_SAFETY:
                self._tell(session, row, f"A safety message waits. {how.told} (code {code}). Phone the patient.", Acuity.URGENT, "waits")
            return
        patient = session.get_one(Patient, row.patient_id)
        if how.kind is ErrorClass.DEAD_NUMBER:
            patient.number_problem = code
        if row.compliance and (how.kind is ErrorClass.OPTED_OUT or row.not_after is not None):  # of an opt-out: the carrier confirms it, or it is now or never
            row.state = OutboundState.FAILED
            return
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


def _haste(row: Outbound) -> Haste:
    if row.safety:
        return Haste.WARNING
    return Haste.ANSWER if row.not_after is None or row.compliance else Haste.OUTREACH


def _redelivery(row: Outbound) -> bool:
    return row.error_code is not None and handling(row.error_code).kind is ErrorClass.UNREACHED


def _taken(row: Outbound, external_id: str) -> None:
    row.external_id, row.lease_until = external_id, None
    if row.state in OPEN:
        row.state = OutboundState.ACCEPTED
