"""Accept, turn and campaign against a real database."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from care.acuity import Acuity
from care.audit import record, verify
from care.campaigns.schedule import tick
from care.clock import ManualClock
from care.escalations.service import EscalationConflict, Outcome, acknowledge, resolve, take_over
from care.knowledge import knowledge
from care.messages.acceptance import accept
from care.messages.inbox import Incoming, store
from care.messages.sending import Sender
from care.patients.consent import consent_status
from care.storage.engine import transaction
from care.storage.tables import (
    AuditEntry,
    Channel,
    Contact,
    ContactState,
    Conversation,
    Escalation,
    Inbound,
    InboundState,
    Outbound,
    OutboundState,
)
from care.turns.dialogue import ConsentEffect, DialogueRequest, DialogueResponse, EscalationEffect
from care.turns.effects import carry_out
from care.turns.service import ATTEMPTS
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, rows, runner, text_in

pytestmark = pytest.mark.usefixtures("database")


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


def test_a_repeated_message_has_one_effect(clock: ManualClock) -> None:
    patient = add_patient()
    assert text_in(patient, "hello") is not None
    assert text_in(patient, "hello") is None
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
            answers.append(store(session, [Incoming(Channel.SMS, f"SM{number}", "hi", NOON, phone="+15559999999")])[0].stranger_answer)
    assert answers[0] is not None
    assert answers[1:] == [None, None]


def test_an_unknown_number_in_danger_is_answered_again() -> None:
    def said(number: int, words: str, minutes: int) -> str | None:
        with transaction() as session:
            message = Incoming(Channel.SMS, f"SM{number}", words, NOON + timedelta(minutes=minutes), phone="+15559999999")
            return store(session, [message])[0].stranger_answer

    answers = [said(1, "hi", 0), said(2, "hi again", 20), said(3, "crushing chest pain", 30), said(4, "crushing chest pain", 31)]
    assert [each is not None and "911" in each for each in answers] == [True, False, True, False]


def test_while_the_dialogue_is_away_a_turn_is_tried_on_and_answered_when_it_is_back(clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "hello")
    for _ in range(ATTEMPTS + 2):
        assert runner(Echo(fail=lambda _request: "Rasa could not be reached", reached=False), clock).run(patient) == 0
        with transaction() as session:
            session.execute(update(Inbound).values(retry_at=None))
    assert runner(Echo(), clock).run(patient) == 1
    assert [row.key or row.body for row in rows(Outbound)] == ["safe_reply", "you said hello"]
    assert [row.reason for row in rows(Escalation)] == ["engine_failure"]


def test_the_longer_a_message_waits_for_the_dialogue_the_less_often_it_is_tried(clock: ManualClock) -> None:
    text_in(patient := add_patient(), "hello")
    for waited_s, pause_s in ((0, 5), (100, 10), (3600, 30)):
        clock.moment = NOON + timedelta(seconds=waited_s)
        with transaction() as session:
            session.execute(update(Inbound).values(retry_at=None))
        began = datetime.now(UTC)
        runner(Echo(fail=lambda _request: "Rasa could not be reached", reached=False), clock).run(patient)
        pause = timedelta(seconds=pause_s)
        assert began + pause <= rows(Inbound)[0].retry_at <= datetime.now(UTC) + pause


def test_in_a_long_outage_each_message_gets_one_safe_reply_and_a_person_is_told_of_each(clock: ManualClock) -> None:
    text_in(patient := add_patient(), "hello", at=clock.now())
    away = Echo(fail=lambda _request: "Rasa could not be reached", reached=False)
    for hour in range(8):
        if hour == 4:
            text_in(patient, "is anybody there", 2, at=clock.now())
        with transaction() as session:
            session.execute(update(Inbound).values(retry_at=None))
        runner(away, clock).run(patient)
        assert [row.key for row in rows(Outbound)] == ["safe_reply"] * (1 if hour < 4 else 2)
        assert [row.reason for row in rows(Escalation)] == ["engine_failure"] * (1 if hour < 4 else 2)
        clock.advance(timedelta(hours=1))


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


def test_a_contact_is_sent_reminded_and_escalated_with_every_engine_away(clock: ManualClock) -> None:
    add_patient(anchor=date(2026, 3, 1))
    for _ in range(15):
        with transaction() as session:
            tick(session, clock.now())
        clock.advance(timedelta(hours=4))
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
        assert tick(session, clock.now()).patients == [patient]
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
    for _ in range(240):
        with transaction() as session:
            tick(session, clock.now())
        clock.advance(timedelta(hours=4))
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
        assert tick(session, clock.now()).patients == []


@pytest.mark.parametrize("taken", [False, True])
def test_a_triage_above_the_rules_makes_their_escalation_more_serious_unless_it_is_taken(clock: ManualClock, taken: bool) -> None:
    patient = add_patient()
    accepted = text_in(patient, "my calf is swollen and sore")
    (opened,) = rows(Escalation)
    assert opened.acuity == "urgent"
    with transaction() as session:
        if taken:
            acknowledge(session, opened.id, "u1", NOON)
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


def test_what_a_savepoint_took_back_is_not_in_the_audit() -> None:
    with transaction() as session:
        record(session, actor="cli", action="first", subject="p1", at=NOON)
        for action, kept in (("lost", False), ("kept", True), ("lost too", False)):
            with suppress(ValueError), session.begin_nested():
                record(session, actor="cli", action=action, subject="p1", at=NOON)
                with session.begin_nested():
                    record(session, actor="cli", action=f"{action} within", subject="p1", at=NOON)
                if not kept:
                    raise ValueError
    with suppress(ValueError), transaction() as session:
        record(session, actor="cli", action="lost as well", subject="p1", at=NOON)
        raise ValueError
    assert [entry.action for entry in rows(AuditEntry)] == ["first", "kept", "kept within"]
    with transaction() as session:
        assert verify(session) is None


def test_a_long_transaction_keeps_no_other_out_of_the_audit(database: str) -> None:
    """A roster's import takes minutes; a red flag must be escalated meanwhile."""
    if not database.startswith("postgresql"):
        pytest.skip("SQLite has one writer")
    with transaction() as long:
        record(long, actor="cli", action="import", subject="p1", at=NOON)
        long.flush()
        text_in(add_patient(), "chest pain")
    actions = [entry.action for entry in rows(AuditEntry)]
    assert actions[-1] == "import"
    assert len(actions) > 1
    with transaction() as session:
        assert verify(session) is None


def test_what_patients_say_is_not_readable_in_the_database(database: str) -> None:
    text_in(add_patient(), "my secret complaint")
    with transaction() as session:
        raw = session.connection().exec_driver_sql("SELECT body FROM inbound").scalar()
    assert b"secret" not in bytes(raw or b"")
