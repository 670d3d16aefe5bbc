"""The turn: every accepted message of a patient, in order, one at a time, repeated until done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.campaigns.outreach import questions_of
from care.clock import Clock
from care.escalations.service import PATIENT_WROTE, Cause, in_danger, raise_escalation, raise_once
from care.knowledge.model import Earlier
from care.messages.inbox import confirmable_until
from care.messages.outbox import OutboundText, write
from care.patients.consent import consent_status, number_in_doubt
from care.patients.context import clinical_context
from care.redflags import shortened
from care.settings import Settings
from care.storage.engine import transaction
from care.storage.tables import Answer, Contact, ContactState, Conversation, Inbound, InboundState, Outbound, Patient
from care.texts import local_day_and_hour, scripted
from care.turns import lease as leases
from care.turns.dialogue import ConsentEffect, Dialogue, DialogueContext, DialogueFailed, DialogueRequest, DialogueResponse
from care.turns.effects import carry_out
from care.turns.front_desk import front_desk
from care.turns.lease import Lease, LeaseLost, real_now

log = structlog.get_logger()

ATTEMPTS = 3
_TO_DO = (InboundState.ACCEPTED, InboundState.SAID)
_BACK_OFF = (timedelta(seconds=5), timedelta(seconds=20))
_WHILE_AWAY = (timedelta(seconds=5), timedelta(seconds=30))
"""The shortest and the longest pause while Rasa, or what it needs, is away: a tenth of the time that the message has waited. In a long outage hundreds wait."""
_READ_BY_DIALOGUE = 4_000
_SAFE_REPLY_PAUSE = timedelta(minutes=10)


@dataclass(frozen=True)
class _Work:
    """A claimed turn: what Rasa is asked, and the dialogue's state before it."""

    inbound_id: int
    request: DialogueRequest
    state: dict[str, Any] | None


class TurnRunner:
    """Runs the turns of a patient. One instance a process; it holds no state between calls."""

    def __init__(self, dialogue: Dialogue, clock: Clock, settings: Settings) -> None:
        self._dialogue = dialogue
        self._clock = clock
        self._settings = settings

    def run(self, patient_id: str) -> int:
        """Handles what is accepted and due for the patient; how many turns were finished.

        Safe to call at any time from any process: where another one holds the patient, it leaves quietly. When it dies half-way, the lease
        runs out and the next call repeats the turn, which Rasa answers from its record.
        """
        # A claim that a power failure takes back is claimed again: only the turn's end has to be on the disk.
        with transaction(durable=False) as session:
            if _next(session, patient_id) is None:
                return 0
            lease = leases.take(session, patient_id)
            if lease is None:
                return 0
            finished, work = self._claim(session, leases.held(session, lease))
        try:
            while work is not None:
                more, work = self._turn(lease, work)
                finished += more
        except LeaseLost:
            log.warning("lease_lost", patient=patient_id)
        return finished

    def _claim(self, session: Session, conversation: Conversation) -> tuple[int, _Work | None]:
        """Settles what needs no dialogue, and gives the next turn for Rasa; without one the lease is given back."""
        settled = 0
        while (inbound := _next(session, conversation.patient_id)) is not None and (inbound.retry_at is None or inbound.retry_at <= real_now()):
            if inbound.attempts >= ATTEMPTS:
                self._set_aside(session, inbound)
                settled += 1
                continue
            patient = session.get_one(Patient, conversation.patient_id)
            if inbound.trigger is not None and self._too_late(session, inbound):
                self._handled(inbound)
                settled += 1
                continue
            consent = consent_status(session, patient.id)
            desk = front_desk(patient, conversation, inbound, consent)
            if desk.settled:
                if desk.told and not number_in_doubt(session, patient.id):  # a stranger's words: a person was told to find the patient
                    self._tell_that_they_wrote(session, inbound, desk.acuity, desk.told)
                write(session, patient.id, inbound.channel, desk.replies, self._clock.now(), inbound_id=inbound.id)
                self._handled(inbound)
                settled += 1
                continue
            inbound.attempts += 1
            if inbound.contact_id and inbound.trigger in ("start_check_in", "ask_consent"):
                conversation.contact_id = inbound.contact_id
            leases.renew(conversation)
            return settled, _Work(inbound.id, self._request(session, patient, conversation, inbound, consent), conversation.dialogue_state)
        leases.give_back(conversation)
        return settled, None

    def _turn(self, lease: Lease, work: _Work) -> tuple[int, _Work | None]:
        """One turn with Rasa, and the claim of the next; how many turns were finished, and the next."""
        try:
            response = self._dialogue.turn(work.request, work.state, self._settings.reply_deadline_s)
        except DialogueFailed as failure:
            with transaction() as session:
                conversation = leases.held(session, lease)
                given_up = self._failed(session, session.get_one(Inbound, work.inbound_id), failure)
                settled, following = self._claim(session, conversation)
                return settled + given_up, following
        with transaction() as session:
            conversation = leases.held(session, lease)
            inbound = session.get_one(Inbound, work.inbound_id)
            if inbound.state in _TO_DO:
                self._write(session, conversation, inbound, response)
            settled, following = self._claim(session, conversation)
            return settled + 1, following

    def _request(self, session: Session, patient: Patient, conversation: Conversation, inbound: Inbound, consent: str) -> DialogueRequest:
        now = self._clock.now()
        contact = session.get(Contact, conversation.contact_id) if conversation.contact_id else None
        open_contact = contact if contact is not None and contact.completed_at is None else None
        questions = questions_of(open_contact) if open_contact else []
        clinical = clinical_context(session, patient, now)
        context = DialogueContext(
            patient=patient.id,
            first_name=patient.first_name,
            clinic=self._settings.clinic_name,
            clinic_phone=self._settings.clinic_phone,
            channel=inbound.channel.value,
            consent="granted" if consent == "granted" else "unknown",
            clinical=clinical,
            contact=open_contact.id if open_contact else None,
            questions=questions,
            kind=open_contact.kind if open_contact else None,
            appointment=_told_appointment(open_contact, patient) if open_contact else "",
            earlier=_earlier_answers(session, open_contact, questions, now) if open_contact else {},
            today=now.astimezone(ZoneInfo(patient.timezone)).date(),
            emergency=bool(in_danger(session, [patient.id], now)),
        )
        return DialogueRequest(
            message_id=f"{inbound.channel}:{inbound.id}",
            sender=patient.id,
            text=shortened(inbound.body, clinical, _READ_BY_DIALOGUE) if inbound.trigger is None else "",
            trigger=inbound.trigger,
            context=context,
            state_version=conversation.dialogue_version,
        )

    def _write(self, session: Session, conversation: Conversation, inbound: Inbound, response: DialogueResponse) -> None:
        """Replies, escalations, answers and the dialogue's state, in the transaction that marks the message handled."""
        now = self._clock.now()
        carry_out(session, inbound, response.effects, now)
        # A red flag is answered when the message is accepted; the same warning is not said twice.
        warned = session.scalar(select(Outbound.id).where(Outbound.inbound_id == inbound.id, Outbound.safety).limit(1)) is not None
        parting = any(isinstance(effect, ConsentEffect) and not effect.granted for effect in response.effects)  # the one confirmation still goes out
        replies = [
            OutboundText(
                reply.text, key=reply.key, safety=reply.safety, compliance=parting, quick_replies=[button.model_dump() for button in reply.quick_replies]
            )
            for reply in response.replies
            if not (reply.safety and warned)
        ]
        if conversation.coordinator_id is None and inbound.state is not InboundState.SAID:
            until = confirmable_until(inbound) if parting else inbound.not_after if inbound.trigger else None
            write(session, inbound.patient_id, inbound.channel, replies, now, inbound_id=inbound.id, contact_id=inbound.contact_id, not_after=until)
        elif conversation.coordinator_id is not None and inbound.trigger is None:  # a person took over while Rasa was thinking
            self._tell_that_they_wrote(session, inbound, Acuity.URGENT, "The patient wrote as a person took over: read it.")
        conversation.dialogue_state = response.state
        conversation.dialogue_version = response.state_version
        self._handled(inbound)

    def _failed(self, session: Session, inbound: Inbound, failure: DialogueFailed) -> bool:
        """The patient gets the safe reply, a person is told, and the turn is tried again later; true where it was given up. While Rasa, or what it needs, is
        away that is no fault of the message, and it is not given up."""
        log.warning("turn_failed", inbound=inbound.id, reason=failure.reason)
        if failure.reached and inbound.attempts >= ATTEMPTS:
            self._set_aside(session, inbound)
            return True
        if failure.reached:
            pause = _BACK_OFF[min(inbound.attempts, len(_BACK_OFF)) - 1]
        else:
            shortest, longest = _WHILE_AWAY
            pause = min(max(shortest, (self._clock.now() - inbound.received_at) / 10), longest)
            inbound.attempts -= 1
        inbound.retry_at = real_now() + pause
        waiting = _waiting_messages(session, inbound.patient_id)
        for each in waiting:
            self._tell_person(session, each, f"The message could not be answered: {failure.reason}.")
        if waiting:
            self._safe_reply(session, waiting[-1])
        return False

    def _set_aside(self, session: Session, inbound: Inbound) -> None:
        inbound.state, inbound.handled_at = InboundState.SET_ASIDE, self._clock.now()
        if inbound.trigger is None:
            self._safe_reply(session, inbound)
        self._tell_person(session, inbound, f"A turn failed {ATTEMPTS} times and was set aside: read it and answer the patient.", "set_aside")
        log.error("turn_set_aside", inbound=inbound.id)

    def _safe_reply(self, session: Session, inbound: Inbound) -> None:
        """Says once for a message, and for those that come soon after, that it cannot be answered now."""
        now = self._clock.now()
        since = min(inbound.received_at, now - _SAFE_REPLY_PAUSE)
        said = session.scalar(
            select(Outbound.id).where(Outbound.patient_id == inbound.patient_id, Outbound.key == "safe_reply", Outbound.created_at >= since).limit(1)
        )
        if said is None:
            patient = session.get_one(Patient, inbound.patient_id)
            reply = OutboundText(scripted("safe_reply", patient.language), key="safe_reply", safety=True)
            write(session, patient.id, inbound.channel, [reply], now, inbound_id=inbound.id)

    def _tell_person(self, session: Session, inbound: Inbound, summary: str, reason: str = "engine_failure") -> None:
        cause = Cause(f"{reason}:{inbound.id}", reason, Acuity.URGENT, summary, inbound_id=inbound.id)
        raise_escalation(session, inbound.patient_id, cause, self._clock.now())

    def _tell_that_they_wrote(self, session: Session, inbound: Inbound, acuity: Acuity, told: str) -> None:
        cause = Cause(f"{PATIENT_WROTE}:{inbound.id}", PATIENT_WROTE, acuity, told, inbound_id=inbound.id)
        raise_once(session, inbound.patient_id, cause, self._clock.now())

    def _too_late(self, session: Session, inbound: Inbound) -> bool:
        """Whether what our side was to say is not to be said (or, where it was said, heard of) any more: the hours have ended, or the enrollment."""
        contact = session.get(Contact, inbound.contact_id) if inbound.contact_id else None
        ended = contact is not None and contact.state is ContactState.SKIPPED
        return ended or (inbound.not_after is not None and inbound.not_after < self._clock.now())

    def _handled(self, inbound: Inbound) -> None:
        inbound.state, inbound.handled_at = InboundState.HANDLED, self._clock.now()


def _told_appointment(contact: Contact, patient: Patient) -> str:
    return local_day_and_hour(contact.appointment_at, patient.timezone, patient.language) if contact.appointment_at else ""


def _earlier_answers(session: Session, contact: Contact, questions: list[str], now: datetime) -> dict[str, list[Earlier]]:
    rows = session.execute(
        select(Answer.question, Answer.value, Answer.at)
        .join(Contact, Contact.id == Answer.contact_id)
        .where(Contact.enrollment_id == contact.enrollment_id, Answer.question.in_(questions))
        .order_by(Answer.id)
    )
    found: dict[str, list[Earlier]] = {}
    for question, value, at in rows:
        found.setdefault(question, []).append(Earlier(value=value, days_ago=max(0.0, (now - at) / timedelta(days=1))))
    return found


def _next(session: Session, patient_id: str) -> Inbound | None:
    """The oldest row to do. What our side said is heard of only when a message waits; nothing overtakes a message that is stored and not accepted yet."""
    asked = select(Inbound.id, Inbound.state).where(Inbound.patient_id == patient_id, Inbound.state.in_((InboundState.STORED, *_TO_DO)))
    waiting = session.execute(asked.order_by(Inbound.id)).all()
    if not waiting or waiting[0][1] is InboundState.STORED or all(state is not InboundState.ACCEPTED for _, state in waiting):
        return None
    return session.get_one(Inbound, waiting[0][0])


def _waiting_messages(session: Session, patient_id: str) -> Sequence[Inbound]:
    """What the patient wrote and what has not had its turn, the oldest first."""
    waiting = (Inbound.patient_id == patient_id, Inbound.state == InboundState.ACCEPTED, Inbound.trigger.is_(None))
    return session.scalars(select(Inbound).where(*waiting).order_by(Inbound.id)).all()
