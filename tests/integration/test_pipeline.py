"""Accept, turn, outbox and campaign against a real database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from care.acuity import Acuity
from care.audit import verify
from care.campaigns.schedule import tick
from care.clock import ManualClock
from care.escalations.service import EscalationConflict, Outcome, acknowledge, resolve, take_over
from care.knowledge import knowledge
from care.messages.inbox import Accepted, Incoming, accept
from care.messages.receipts import Told, take_receipt
from care.messages.sending import Sender, SendPolicy, SentSms, SmsRefused, SmsUnanswered
from care.patients.consent import consent_status
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import (
    AuditEntry,
    Breaker,
    Channel,
    Contact,
    ContactState,
    Conversation,
    Escalation,
    Inbound,
    InboundState,
    Outbound,
    OutboundState,
    Patient,
)
from care.turns.dialogue import ConsentEffect, DialogueFailed, DialogueRequest, DialogueResponse, EscalationEffect, Reply
from care.turns.effects import carry_out
from care.turns.service import ATTEMPTS, TurnRunner
from tests.conftest import NOON, add_patient

pytestmark = pytest.mark.usefixtures("database")


@dataclass
class Echo:
    """A dialogue that repeats what it hears, and counts."""

    heard: list[str] = field(default_factory=list)
    fail: Callable[[DialogueRequest], str | None] = lambda _request: None

    def turn(self, request: DialogueRequest, state: Any, deadline_s: float) -> DialogueResponse:
        if reason := self.fail(request):
            raise DialogueFailed(reason)
        self.heard.append(request.text or f"<{request.trigger}>")
        return DialogueResponse(replies=[Reply(text=f"you said {self.heard[-1]}")], effects=[], state={}, state_version=request.state_version + 1)


@dataclass
class Phone:
    """Twilio's side of the SMS port."""

    held: list[SentSms] = field(default_factory=list)
    answer: Callable[[str], Exception | None] = lambda _body: None
    keep_when_silent: bool = True
    numbers: list[str] = field(default_factory=lambda: ["+15550100000"])
    senders: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)

    def send(self, to: str, body: str, reference: str, sender: str) -> str:
        self.senders.append(sender)
        self.references.append(reference)
        error = self.answer(body)
        if error is None or (isinstance(error, SmsUnanswered) and self.keep_when_silent):
            self.held.append(SentSms(f"SM{len(self.held):032d}", body, NOON))
        if error:
            raise error
        return self.held[-1].external_id

    def listed(self, to: str, since: datetime) -> list[SentSms]:
        return self.held


def text_in(patient: str, body: str, number: int = 1, channel: Channel = Channel.SMS, at: datetime = NOON) -> Accepted:
    with transaction() as session:
        return accept(session, Incoming(channel, f"SM{number}", body, at, patient_id=patient))


def runner(dialogue: Echo, clock: ManualClock) -> TurnRunner:
    return TurnRunner(dialogue, clock, settings())


def rows(kind: type[Any]) -> list[Any]:
    with transaction() as session:
        return list(session.scalars(select(kind).order_by(*kind.__table__.primary_key)))


@pytest.mark.parametrize(
    ("language", "words", "told"),
    [
        ("en", "the bleeding won't stop", "Press hard on the bleeding"),
        ("en", "my throat is swelling shut after the new pill", "adrenaline pen"),
        ("es", "no puedo respirar", "Siéntese derecho"),
        ("zh", "我喘不过气", "坐直"),
    ],
)
def test_a_warning_says_what_to_do_until_help_is_there(language: str, words: str, told: str) -> None:
    text_in(add_patient(language=language), words)
    warning = "".join(row.body for row in rows(Outbound))
    assert told in warning
    assert warning.startswith(knowledge().texts["emergency_warning"][language].split("{")[0])


def make_due() -> None:
    """As if the pauses before further tries were over."""
    with transaction() as session:
        session.execute(update(Outbound).values(next_at=None))
        session.execute(update(Breaker).values(retry_at=NOON))


def test_a_repeated_message_has_one_effect(clock: ManualClock) -> None:
    patient = add_patient()
    assert text_in(patient, "hello").new
    assert not text_in(patient, "hello").new
    dialogue = Echo()
    runner(dialogue, clock).run(patient)
    assert dialogue.heard == ["hello"]


def test_turns_run_in_the_order_received(clock: ManualClock) -> None:
    patient = add_patient()
    for number in range(5):
        text_in(patient, f"message {number}", number)
    dialogue = Echo()
    assert runner(dialogue, clock).run(patient) == 5
    assert dialogue.heard == [f"message {number}" for number in range(5)]


def test_a_red_flag_is_escalated_and_answered_on_acceptance() -> None:
    text_in(add_patient(), "crushing chest pain")
    assert [row.acuity for row in rows(Escalation)] == ["emergency"]
    assert [row.key for row in rows(Outbound)] == ["emergency_warning"]


def test_a_red_flag_split_over_two_messages_is_seen() -> None:
    patient = add_patient()
    text_in(patient, "my calf", 1)
    assert rows(Escalation) == []
    text_in(patient, "is swollen and hot", 2, at=NOON + timedelta(minutes=2))
    assert [row.reason for row in rows(Escalation)] == ["red_flag"]


def test_an_opted_out_patient_is_triaged_but_not_written_to() -> None:
    patient = add_patient()
    text_in(patient, "STOP", 1)
    text_in(patient, "I can't breathe", 2)
    assert [row.key for row in rows(Outbound)] == ["stop_confirmed"]
    assert rows(Escalation)[0].evidence["opted_out"]


def test_an_opted_out_patient_is_answered_in_the_chat_and_may_begin_again_there(clock: ManualClock) -> None:
    patient = add_patient()
    dialogue = Echo()
    text_in(patient, "STOP", 1)
    for number, words in enumerate(["are you there?", "I can't breathe", "START", "hello"]):
        with transaction() as session:
            accept(session, Incoming(Channel.WEB, f"web{number}", words, NOON, patient_id=patient))
        runner(dialogue, clock).run(patient)
    assert [row.key for row in rows(Outbound)][:5] == ["stop_confirmed", "opted_out_chat", "emergency_warning", "opted_out_chat", "start_confirmed"]
    assert dialogue.heard == ["hello"]


def test_who_declines_in_words_is_told_once_that_messages_end(clock: ManualClock) -> None:
    @dataclass
    class Declining(Echo):
        def turn(self, request: DialogueRequest, state: Any, deadline_s: float) -> DialogueResponse:
            said = super().turn(request, state, deadline_s)
            return said.model_copy(update={"effects": [ConsentEffect(granted=False, words=request.text)]})

    patient = add_patient()
    text_in(patient, "hello", 1)
    runner(Echo(), clock).run(patient)
    text_in(patient, "please write to me no more, I mean it", 2)
    runner(Declining(), clock).run(patient)
    phone = Phone()
    Sender(phone, clock).run(patient)
    assert [row.state for row in rows(Outbound)] == [OutboundState.CANCELLED, OutboundState.ACCEPTED]


def test_stop_cancels_what_waits_and_is_confirmed_once(clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "hello", 1)
    runner(Echo(), clock).run(patient)
    text_in(patient, "STOP", 2)
    phone = Phone()
    Sender(phone, clock).run(patient)
    assert len(phone.held) == 1
    assert [row.state for row in rows(Outbound)] == [OutboundState.CANCELLED, OutboundState.ACCEPTED]
    with transaction() as session:
        assert consent_status(session, patient) == "revoked"


def test_a_number_nobody_knows_is_answered_once_a_day() -> None:
    answers = []
    for number in range(3):
        with transaction() as session:
            answers.append(accept(session, Incoming(Channel.SMS, f"SM{number}", "hi", NOON, phone="+15559999999")).stranger_answer)
    assert answers[0] is not None
    assert answers[1:] == [None, None]


def test_a_turn_that_fails_three_times_is_set_aside_for_a_person(clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "poison", 1)
    text_in(patient, "good", 2)
    dialogue = Echo(fail=lambda request: "broken" if request.text == "poison" else None)
    for _ in range(ATTEMPTS + 1):
        runner(dialogue, clock).run(patient)
        with transaction() as session:
            session.execute(update(Inbound).values(retry_at=None))
    assert [row.state for row in rows(Inbound)] == [InboundState.SET_ASIDE, InboundState.HANDLED]
    assert {row.reason for row in rows(Escalation)} == {"engine_failure", "set_aside"}
    assert [row.key for row in rows(Outbound)] == ["safe_reply", ""]


def test_red_flags_go_on_while_a_patient_is_stuck(clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "poison", 1)
    runner(Echo(fail=lambda _request: "broken"), clock).run(patient)
    text_in(patient, "chest pain", 2)
    assert "red_flag" in {row.reason for row in rows(Escalation)}


def test_a_stale_turn_writes_nothing(clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "hello", 1)

    def lose_the_lease(_request: DialogueRequest) -> None:
        with transaction() as session:
            session.execute(update(Conversation).values(fence=Conversation.fence + 1))

    runner(Echo(fail=lose_the_lease), clock).run(patient)
    assert rows(Outbound) == []
    assert rows(Inbound)[0].state is InboundState.ACCEPTED


def test_the_bot_holds_still_while_a_person_answers(clock: ManualClock) -> None:
    patient = add_patient()
    with transaction() as session:
        take_over(session, patient, "u1", NOON)
    text_in(patient, "hello", 1)
    dialogue = Echo()
    runner(dialogue, clock).run(patient)
    assert dialogue.heard == []
    assert rows(Inbound)[0].state is InboundState.HANDLED


def test_a_routine_message_is_sent_once_although_twilio_gave_no_answer(clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "hello", 1)
    runner(Echo(), clock).run(patient)
    silent = iter([SmsUnanswered()])
    phone = Phone(answer=lambda _body: next(silent, None))
    Sender(phone, clock).run(patient)
    Sender(phone, clock).run(patient)
    assert len(phone.held) == 1
    assert rows(Outbound)[0].state is OutboundState.ACCEPTED


def test_a_message_twilio_never_took_is_sent_after_the_doubt(clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "hello", 1)
    runner(Echo(), clock).run(patient)
    silent = iter([SmsUnanswered()])
    phone = Phone(answer=lambda _body: next(silent, None), keep_when_silent=False)
    sender = Sender(phone, clock, SendPolicy(doubt=timedelta(0), retry=timedelta(0)))
    sender.run(patient)
    assert len(phone.held) == 1


def test_replies_leave_in_the_order_written_although_the_first_is_held_up(clock: ManualClock) -> None:
    patient = add_patient()
    for number in range(3):
        text_in(patient, f"m{number}", number)
    runner(Echo(), clock).run(patient)
    busy = iter([SmsRefused(20429)])
    phone = Phone(answer=lambda _body: next(busy, None))
    sender = Sender(phone, clock)
    sender.run(patient)
    assert phone.held == []
    make_due()
    sender.run(patient)
    assert [sms.body for sms in phone.held] == ["you said m0", "you said m1", "you said m2"]


def _one_reply(patient: str, clock: ManualClock, number: int = 1) -> Outbound:
    text_in(patient, f"hello {number}", number)
    runner(Echo(), clock).run(patient)
    return rows(Outbound)[-1]


def refusing(*codes: int) -> Phone:
    """A Twilio that refuses with these codes, one after another, then takes everything."""
    left = iter(codes)
    return Phone(answer=lambda _body: next((SmsRefused(code) for code in left), None))


@pytest.mark.parametrize(("code", "marked"), [(21211, True), (21614, True), (21612, False), (21617, False)])
def test_a_refusal_for_good_is_told_to_a_person_and_not_tried_again(clock: ManualClock, code: int, marked: bool) -> None:
    patient = add_patient()
    _one_reply(patient, clock)
    phone = refusing(code)
    Sender(phone, clock).run(patient)
    make_due()
    Sender(phone, clock).run(patient)
    assert phone.held == []
    assert [row.state for row in rows(Outbound)] == [OutboundState.FAILED]
    assert [row.reason for row in rows(Escalation)] == ["not_sent"]
    assert (rows(Patient)[0].number_problem == code) == marked


def test_a_number_that_takes_no_sms_is_not_written_to_again(clock: ManualClock) -> None:
    patient = add_patient()
    _one_reply(patient, clock)
    phone = refusing(21614)
    Sender(phone, clock).run(patient)
    _one_reply(patient, clock, 2)
    Sender(phone, clock).run(patient)
    assert len(phone.senders) == 1
    with transaction() as session:
        assert tick(session, clock.now()) == []
    assert {row.skipped_because for row in rows(Contact) if row.state is ContactState.SKIPPED} == {"number_problem"}


def test_what_is_busy_is_tried_again_a_few_times(clock: ManualClock) -> None:
    patient = add_patient()
    _one_reply(patient, clock)
    phone = refusing(*[20429] * 10)
    for _ in range(8):
        Sender(phone, clock).run(patient)
        make_due()
    assert len(phone.senders) == 5
    assert rows(Outbound)[0].state is OutboundState.FAILED


def test_a_provider_that_refuses_everything_holds_the_queue_and_is_tried_once_a_minute(clock: ManualClock) -> None:
    patients = [add_patient(number) for number in range(10)]
    for number, patient in enumerate(patients):
        _one_reply(patient, clock, number)
    phone = refusing(*[63038] * 2)
    for patient in patients:
        Sender(phone, clock).run(patient)
    assert len(phone.senders) == 1
    text_in(patients[0], "crushing chest pain", 99)
    Sender(phone, clock).run(patients[0])
    assert len(phone.senders) == 1
    assert any("phone the patient" in row.summary for row in rows(Escalation))
    make_due()
    Sender(phone, clock).run(patients[1])
    Sender(phone, clock).run(patients[2])
    assert len(phone.senders) == 2
    make_due()
    for patient in patients:
        Sender(phone, clock).run(patient)
    assert len(phone.held) == 11
    assert rows(Breaker) == []


def test_a_patient_is_always_written_to_from_one_number(clock: ManualClock) -> None:
    numbers = [f"+155501000{each:02d}" for each in range(8)]
    phone = Phone(numbers=numbers)
    for number in range(20):
        patient = add_patient(number)
        for each in range(3):
            _one_reply(patient, clock, number * 10 + each)
            Sender(phone, clock).run(patient)
        assert len(set(phone.senders[-3:])) == 1
    assert len(set(phone.senders)) >= 5


def test_the_number_that_the_patient_wrote_to_answers(clock: ManualClock) -> None:
    patient = add_patient()
    with transaction() as session:
        accept(session, Incoming(Channel.SMS, "SM1", "hello", NOON, patient_id=patient, ours="+15550100007"))
    runner(Echo(), clock).run(patient)
    phone = Phone(numbers=["+15550100000", "+15550100007"])
    Sender(phone, clock).run(patient)
    assert phone.senders == ["+15550100007"]


def _undelivered(row: Outbound, code: int, external_id: str = "SM" + "0" * 32) -> None:
    with transaction() as session:
        assert take_receipt(session, Told(row.reference, external_id, "undelivered", code), NOON)


def test_a_phone_that_is_off_is_tried_three_times_more_then_a_person_is_told(clock: ManualClock) -> None:
    patient = add_patient()
    row = _one_reply(patient, clock)
    phone = Phone()
    for tries in range(1, 5):
        Sender(phone, clock).run(patient)
        assert len(phone.held) == tries
        for _ in range(2):  # Twilio repeats itself
            _undelivered(row, 30003, phone.held[-1].external_id)
        Sender(phone, clock).run(patient)
        assert len(phone.held) == tries
        assert [each.reason for each in rows(Escalation)] == (["not_sent"] if tries == 4 else [])
        make_due()
    assert rows(Outbound)[0].state is OutboundState.UNDELIVERED


def test_what_came_too_late_or_was_overtaken_is_not_sent_again(clock: ManualClock) -> None:
    patient = add_patient()
    row = _one_reply(patient, clock)
    phone = Phone()
    Sender(phone, clock).run(patient)
    _one_reply(patient, clock, 2)
    Sender(phone, clock).run(patient)
    _undelivered(row, 30003, phone.held[0].external_id)
    assert rows(Outbound)[0].state is OutboundState.UNDELIVERED
    assert [each.reason for each in rows(Escalation)] == ["not_sent"]


def test_a_message_that_waits_to_be_delivered_again_does_not_hold_up_the_next(clock: ManualClock) -> None:
    patient = add_patient()
    row = _one_reply(patient, clock)
    phone = Phone()
    Sender(phone, clock).run(patient)
    _undelivered(row, 30008, phone.held[0].external_id)
    _one_reply(patient, clock, 2)
    Sender(phone, clock).run(patient)
    assert [sms.body for sms in phone.held] == ["you said hello 1", "you said hello 2"]


def test_a_warning_that_did_not_arrive_is_sent_again_and_told_to_a_person_at_once(clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "crushing chest pain")
    phone = Phone()
    Sender(phone, clock).run(patient)
    _undelivered(rows(Outbound)[0], 30003, phone.held[0].external_id)
    assert [(each.reason, each.acuity) for each in rows(Escalation)] == [("red_flag", "emergency"), ("not_sent", "urgent")]
    make_due()
    Sender(phone, clock).run(patient)
    assert len(phone.held) == 2


@pytest.mark.parametrize("order", [["sent", "delivered"], ["delivered", "sent"], ["delivered", "delivered", "sent", "queued"]])
def test_receipts_in_any_order_end_alike(order: list[str], clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "hello", 1)
    runner(Echo(), clock).run(patient)
    phone = Phone()
    Sender(phone, clock).run(patient)
    row = rows(Outbound)[0]
    for status in order:
        with transaction() as session:
            assert take_receipt(session, Told(row.reference, phone.held[0].external_id, status), NOON)
    assert rows(Outbound)[0].state is OutboundState.DELIVERED


def test_a_contact_is_sent_reminded_and_escalated_with_every_engine_away(clock: ManualClock) -> None:
    add_patient(anchor=date(2026, 3, 1))
    for _ in range(5):
        with transaction() as session:
            tick(session, clock.now())
        clock.advance(timedelta(hours=12))
    said = [row.key for row in rows(Outbound) if not row.key.startswith("advice")]
    assert said[:5] == ["check_in_intro", "question_pain_score", "reminder", "question_pain_score", "offer_chat"]
    assert next(row for row in rows(Contact) if row.day == 1).state is ContactState.MISSED
    assert rows(Escalation)[0].reason == "no_answer"


def test_the_dialogue_hears_of_what_was_said_with_the_next_message_and_says_it_no_second_time(clock: ManualClock) -> None:
    patient = add_patient(anchor=date(2026, 3, 1))
    dialogue = Echo()
    with transaction() as session:
        tick(session, clock.now())
    assert runner(dialogue, clock).run(patient) == 0
    text_in(patient, "about a 3")
    runner(dialogue, clock).run(patient)
    assert dialogue.heard == ["<start_check_in>", "about a 3"]
    assert [row.body for row in rows(Outbound)][2:] == ["you said about a 3"]
    assert {row.state for row in rows(Inbound)} == {InboundState.HANDLED}


def test_a_reminder_in_the_middle_of_a_check_in_is_the_dialogues(clock: ManualClock) -> None:
    patient = add_patient(anchor=date(2026, 3, 1))
    dialogue = Echo()
    with transaction() as session:
        tick(session, clock.now())
    text_in(patient, "about a 3")
    runner(dialogue, clock).run(patient)
    clock.advance(timedelta(hours=5))
    with transaction() as session:
        assert tick(session, clock.now()) == [patient]
    runner(dialogue, clock).run(patient)
    assert dialogue.heard[-1] == "<remind>"
    assert rows(Outbound)[-1].body == "you said <remind>"


def test_a_message_behind_what_was_said_gets_the_safe_reply_when_the_dialogue_fails(clock: ManualClock) -> None:
    patient = add_patient(anchor=date(2026, 3, 1))
    with transaction() as session:
        tick(session, clock.now())
    text_in(patient, "about a 3")
    failing = Echo(fail=lambda _request: "test")
    runner(failing, clock).run(patient)
    assert [row.key for row in rows(Outbound)][2:] == ["safe_reply"]
    assert [row.reason for row in rows(Escalation)] == ["engine_failure"]


def test_consent_is_asked_for_once_and_reminded_of_once(clock: ManualClock) -> None:
    add_patient(consent=False, anchor=date(2026, 3, 1))
    for _ in range(80):
        with transaction() as session:
            tick(session, clock.now())
        clock.advance(timedelta(hours=12))
    assert [row.key for row in rows(Outbound)] == ["consent_request", "consent_needed"]
    assert [row.reason for row in rows(Escalation)] == ["no_answer"]
    assert {row.state for row in rows(Contact) if row.day > 1} == {ContactState.SKIPPED}


def test_two_ticks_at_once_send_once(clock: ManualClock) -> None:
    add_patient()
    for _ in range(2):
        with transaction() as session:
            tick(session, clock.now())
    assert len(rows(Inbound)) == 1


def test_nobody_is_written_to_at_night(clock: ManualClock) -> None:
    add_patient()
    clock.advance(timedelta(hours=13))
    with transaction() as session:
        assert tick(session, clock.now()) == []


@pytest.mark.parametrize("taken", [False, True])
def test_a_triage_above_the_rules_makes_their_escalation_more_serious_unless_it_is_taken(clock: ManualClock, taken: bool) -> None:
    patient = add_patient()
    accepted = text_in(patient, "my calf is swollen and sore")
    assert [row.acuity for row in rows(Escalation)] == ["urgent"]
    with transaction() as session:
        if taken:
            acknowledge(session, 1, "u1", NOON)
        effect = EscalationEffect(reason="triage_emergency", acuity=Acuity.EMERGENCY, summary="triaged emergency")
        carry_out(session, session.get_one(Inbound, accepted.inbound_id), [effect], NOON)
    found = rows(Escalation)
    assert [row.acuity for row in found] == (["urgent", "emergency"] if taken else ["emergency"])
    assert found[-1].deadline == NOON + timedelta(minutes=15)


def test_an_escalation_is_closed_only_after_it_was_taken_and_with_an_outcome() -> None:
    text_in(add_patient(), "chest pain")
    number = rows(Escalation)[0].id
    with transaction() as session, pytest.raises(EscalationConflict):
        resolve(session, number, "u1", Outcome.REACHED_SAFE, "called", NOON)
    with transaction() as session:
        acknowledge(session, number, "u1", NOON)
    with transaction() as session, pytest.raises(EscalationConflict):
        resolve(session, number, "u1", Outcome.REACHED_SAFE, " ", NOON)
    with transaction() as session:
        resolve(session, number, "u1", Outcome.REACHED_SAFE, "called", NOON)


def test_a_changed_audit_entry_is_found() -> None:
    text_in(add_patient(), "chest pain")
    with transaction() as session:
        assert verify(session) is None
        session.execute(update(AuditEntry).where(AuditEntry.seq == 2).values(actor="nobody"))
    with transaction() as session:
        assert verify(session) == 2


def test_what_patients_say_is_not_readable_in_the_database(database: str) -> None:
    text_in(add_patient(), "my secret complaint")
    with transaction() as session:
        raw = session.connection().exec_driver_sql("SELECT body FROM inbound").scalar()
    assert b"secret" not in bytes(raw or b"")
