"""The outbox against a real database: once, in order, by the class of each refusal, whatever the receipts say and when."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from care.campaigns.schedule import tick
from care.clock import ManualClock
from care.messages import breaker
from care.messages.acceptance import accept
from care.messages.gateway import SentSms, SmsRefused, SmsUnanswered
from care.messages.handing_over import SendPolicy
from care.messages.inbox import Incoming
from care.messages.outbox import OutboundText, write
from care.messages.receipts import Told, take_receipt
from care.messages.sending import Sender
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import (
    Breaker,
    Channel,
    Contact,
    ContactState,
    Escalation,
    Outbound,
    OutboundState,
    Patient,
)
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, make_due, one_reply, rows, runner, text_in

pytestmark = pytest.mark.usefixtures("database")


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


@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("died_at", range(5))
def test_a_sender_that_dies_among_five_messages_neither_loses_nor_repeats_nor_turns_them_round(clock: ManualClock, died_at: int, taken: bool) -> None:
    """Before Twilio takes the message, or when it has been taken and that is not written down yet."""
    patient = add_patient()
    for number in range(5):
        text_in(patient, f"m{number}", number)
    runner(Echo(), clock).run(patient)
    tries = iter([None] * died_at + [MemoryError()])
    phone = Phone()

    def answer(body: str) -> Exception | None:
        error = next(tries, None)
        if error is not None and taken:
            phone.held.append(SentSms(f"SM{len(phone.held):032d}", body))
        return error

    phone.answer = answer
    sender = Sender(phone, clock, SendPolicy(lease=timedelta(0), doubt=timedelta(0), retry=timedelta(0)))
    with pytest.raises(MemoryError):
        sender.run(patient)
    sender.run(patient)
    assert [sms.body for sms in phone.held] == [f"you said m{number}" for number in range(5)]
    assert {row.state for row in rows(Outbound)} == {OutboundState.ACCEPTED}


def refusing(*codes: int) -> Phone:
    """A Twilio that refuses with these codes, one after another, then takes everything."""
    left = iter(codes)
    return Phone(answer=lambda _body: next((SmsRefused(code) for code in left), None))


@pytest.mark.parametrize(("code", "marked"), [(21211, True), (21614, True), (21612, False), (21617, False)])
def test_a_refusal_for_good_is_told_to_a_person_and_not_tried_again(clock: ManualClock, code: int, marked: bool) -> None:
    patient = add_patient()
    one_reply(patient, clock)
    phone = refusing(code)
    Sender(phone, clock).run(patient)
    make_due()
    Sender(phone, clock).run(patient)
    assert phone.held == []
    assert [row.state for row in rows(Outbound)] == [OutboundState.FAILED]
    assert [row.reason for row in rows(Escalation)] == ["not_sent"]
    assert (rows(Patient)[0].number_problem == code) == marked


def test_a_confirmation_that_the_carrier_has_sent_already_calls_nobody(clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "STOP")
    Sender(refusing(21610), clock).run(patient)
    assert [row.state for row in rows(Outbound)] == [OutboundState.FAILED]
    assert rows(Escalation) == []


def test_a_number_that_takes_no_sms_is_not_written_to_again(clock: ManualClock) -> None:
    patient = add_patient()
    one_reply(patient, clock)
    phone = refusing(21614)
    Sender(phone, clock).run(patient)
    with transaction() as session:
        write(session, patient, Channel.SMS, [OutboundText("a person's words")], clock.now())
    Sender(phone, clock).run(patient)
    assert len(phone.senders) == 1
    with transaction() as session:
        assert tick(session, clock.now()).patients == []
    assert {row.skipped_because for row in rows(Contact) if row.state is ContactState.SKIPPED} == {"number_problem"}


def test_what_is_busy_is_tried_again_for_as_long_as_it_is_worth_sending(clock: ManualClock) -> None:
    patient = add_patient()
    row = one_reply(patient, clock)
    with transaction() as session:
        session.get_one(Outbound, row.id).not_after = clock.now() + timedelta(hours=1)
    phone = refusing(*[20429] * 100)
    for _ in range(20):
        Sender(phone, clock).run(patient)
        make_due()
    assert len(phone.senders) == 20
    clock.advance(timedelta(hours=1, seconds=1))
    Sender(phone, clock).run(patient)
    assert len(phone.senders) == 20
    assert rows(Outbound)[0].state is OutboundState.CANCELLED


def test_an_answer_that_is_refused_for_two_hours_is_told_to_a_person(clock: ManualClock) -> None:
    patient = add_patient()
    row = one_reply(patient, clock)
    with transaction() as session:
        session.get_one(Outbound, row.id).attempts = 240  # every half minute
    phone = refusing(*[20429] * 1000)
    for _ in range(10):
        Sender(phone, clock).run(patient)
        make_due()
    assert len(phone.senders) == 5
    assert rows(Outbound)[0].state is OutboundState.FAILED
    assert [row.reason for row in rows(Escalation)] == ["not_sent"]


def test_a_twilio_that_answers_nothing_holds_the_queue_and_warnings_are_tried_all_the_same(clock: ManualClock) -> None:
    patients = [add_patient(number) for number in range(10)]
    for number, patient in enumerate(patients):
        one_reply(patient, clock, number)
    phone = Phone(answer=lambda _body: SmsUnanswered(), keep_when_silent=False)
    for patient in patients:
        Sender(phone, clock).run(patient)
    assert len(phone.senders) == 5
    text_in(patients[9], "crushing chest pain", 99)
    Sender(phone, clock).run(patients[9])
    assert len(phone.senders) == 6
    phone.answer = lambda _body: None
    make_due()
    at_once = SendPolicy(doubt=timedelta(0), retry=timedelta(0))
    for _ in range(2):
        for patient in patients:
            Sender(phone, clock, at_once).run(patient)
    assert len(phone.held) == 11
    assert rows(Breaker) == []


def test_one_answer_in_between_is_no_silence(clock: ManualClock) -> None:
    patients = [add_patient(number) for number in range(10)]
    for number, patient in enumerate(patients):
        one_reply(patient, clock, number)
    phone = Phone(answer=lambda body: None if body == "you said hello 4" else SmsUnanswered(), keep_when_silent=False)
    Sender(phone, clock).run_each(patients)
    assert len(phone.senders) == 10
    assert rows(Breaker) == []


def test_while_the_list_is_away_too_only_a_warning_is_sent_again_once(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    patients = [add_patient(number) for number in range(2)]
    text_in(patients[0], "crushing chest pain")
    one_reply(patients[1], clock, 2)
    phone = Phone(answer=lambda _body: SmsUnanswered())

    def away(_to: str) -> list[SentSms]:
        raise SmsUnanswered

    monkeypatch.setattr(phone, "listed", away)
    for _ in range(5):
        for patient in patients:
            Sender(phone, clock, SendPolicy(doubt=timedelta(0), retry=timedelta(0))).run(patient)
            make_due()
    assert [sms.body for sms in phone.held].count(phone.held[0].body) == 2
    assert len(phone.held) == 3
    assert any("sent again" in row.summary for row in rows(Escalation))


def test_a_provider_that_refuses_everything_holds_the_queue_and_is_tried_once_a_minute(clock: ManualClock) -> None:
    patients = [add_patient(number) for number in range(10)]
    for number, patient in enumerate(patients):
        one_reply(patient, clock, number)
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
            one_reply(patient, clock, number * 10 + each)
            Sender(phone, clock).run(patient)
        assert len(set(phone.senders[-3:])) == 1
    assert len(set(phone.senders)) >= 5


@pytest.mark.parametrize("by_receipt", [False, True])
def test_a_number_whose_queue_is_full_hands_the_patient_to_another(clock: ManualClock, monkeypatch: pytest.MonkeyPatch, by_receipt: bool) -> None:
    numbers = ["+15550100000", "+15550100001", "+15550100002"]
    monkeypatch.setenv("AFTERCARE_TWILIO_NUMBERS", ",".join(numbers))
    settings.cache_clear()
    patient = add_patient()
    one_reply(patient, clock)
    phone = refusing() if by_receipt else refusing(21611)
    phone.numbers = numbers
    Sender(phone, clock).run(patient)
    if by_receipt:
        _undelivered(rows(Outbound)[0], 30001, rows(Outbound)[0].external_id)
    make_due()
    one_reply(patient, clock, 2)
    Sender(phone, clock).run(patient)
    first, *later = phone.senders
    assert len(later) == 2
    assert set(later) == {numbers[(numbers.index(first) + 1) % 3]}
    assert {row.state for row in rows(Outbound)} == {OutboundState.ACCEPTED}


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


@pytest.mark.parametrize(("code", "most"), [(30003, 4), (30008, 2), (31999, 2)])
def test_what_may_pass_is_tried_as_often_as_the_table_says_then_a_person_is_told(clock: ManualClock, code: int, most: int) -> None:
    """A phone that is off three times more, a carrier that fails and a code that nobody knows once more."""
    patient = add_patient()
    row = one_reply(patient, clock)
    phone = Phone()
    for tries in range(1, most + 1):
        Sender(phone, clock).run(patient)
        assert len(phone.held) == tries
        for _ in range(2):  # Twilio repeats itself
            _undelivered(row, code, phone.held[-1].external_id)
        Sender(phone, clock).run(patient)
        assert len(phone.held) == tries
        assert [each.reason for each in rows(Escalation)] == (["not_sent"] if tries == most else [])
        make_due()
    assert rows(Outbound)[0].state is OutboundState.UNDELIVERED


def test_what_came_too_late_or_was_overtaken_is_not_sent_again(clock: ManualClock) -> None:
    patient = add_patient()
    row = one_reply(patient, clock)
    phone = Phone()
    Sender(phone, clock).run(patient)
    one_reply(patient, clock, 2)
    Sender(phone, clock).run(patient)
    _undelivered(row, 30003, phone.held[0].external_id)
    assert rows(Outbound)[0].state is OutboundState.UNDELIVERED
    assert [each.reason for each in rows(Escalation)] == ["not_sent"]


def test_a_message_that_waits_to_be_delivered_again_does_not_hold_up_the_next(clock: ManualClock) -> None:
    patient = add_patient()
    row = one_reply(patient, clock)
    phone = Phone()
    Sender(phone, clock).run(patient)
    _undelivered(row, 30008, phone.held[0].external_id)
    one_reply(patient, clock, 2)
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


def test_senders_that_trip_the_breaker_in_one_moment_do_not_fail_each_other() -> None:
    def trip() -> None:
        with transaction() as session:
            breaker.trip(session, 63018)

    with ThreadPoolExecutor(1) as other:
        with transaction() as session:
            breaker.trip(session, 63038)
            session.flush()
            second = other.submit(trip)
            time.sleep(0.3)
        second.result()
    with transaction() as session:
        held = breaker.look(session)
        assert held is not None
        assert (held.code, breaker.holds(held)) == (63018, True)
        breaker.reset(session)
        assert breaker.look(session) is None
