"""While a coordinator answers, the bot holds still and nothing that the patient writes is lost from sight; afterwards the bot answers again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from care.acuity import Acuity
from care.campaigns.schedule import tick
from care.clock import ManualClock
from care.escalations.service import Cause, EscalationConflict, Outcome, acknowledge, answer, raise_escalation, resolve, take_from, take_over
from care.knowledge.model import StepKind
from care.messages.acceptance import accept
from care.messages.inbox import Incoming
from care.messages.outbox import OutboundText, write
from care.messages.sending import Sender
from care.storage.engine import transaction
from care.storage.tables import Channel, Contact, ContactState, Conversation, Escalation, EscalationState, Outbound, OutboundState, Role, User
from care.turns.dialogue import DialogueRequest
from care.users import add_user, lock_out
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, rows, run_ticks, runner, text_in

pytestmark = pytest.mark.usefixtures("database")


def case_of(patient: str, number: int = 1) -> int:
    with transaction() as session:
        raised = raise_escalation(session, patient, Cause(f"test:{number}", "engine_failure", Acuity.URGENT, "read it"), NOON)
        assert raised is not None
        return raised.id


def waiting() -> list[tuple[str, Acuity]]:
    return [(each.reason, each.acuity) for each in rows(Escalation) if each.state is not EscalationState.RESOLVED]


def answered_by(case: int, user: str = "u1") -> None:
    with transaction() as session:
        answer(session, case, user, NOON)


def test_who_writes_to_the_patient_has_taken_the_case(clock: ManualClock) -> None:
    case = case_of(add_patient())
    answered_by(case)
    assert [(each.state, each.acknowledged_by) for each in rows(Escalation)] == [(EscalationState.ACKNOWLEDGED, "u1")]
    with pytest.raises(EscalationConflict, match="another coordinator"):
        answered_by(case, "u2")


def test_what_the_patient_writes_meanwhile_is_seen_until_it_is_answered(clock: ManualClock) -> None:
    patient = add_patient()
    case = case_of(patient)
    answered_by(case)
    dialogue = Echo()
    for number, words in enumerate(("it is no better", "and I feel odd"), start=1):
        text_in(patient, words, number)
        runner(dialogue, clock).run(patient)
    assert dialogue.heard == []
    assert waiting() == [("engine_failure", Acuity.URGENT), ("patient_wrote", Acuity.URGENT)]  # one for all that was not read yet
    answered_by(case)
    assert waiting() == [("engine_failure", Acuity.URGENT)]
    assert rows(Escalation)[-1].outcome == Outcome.ANSWERED
    text_in(patient, "thank you", 3)
    runner(dialogue, clock).run(patient)
    assert waiting()[-1] == ("patient_wrote", Acuity.URGENT)
    with transaction() as session:  # read, and what comes after it is told of again
        acknowledge(session, rows(Escalation)[-1].id, "u1", NOON)
    text_in(patient, "one more thing", 4)
    runner(dialogue, clock).run(patient)
    assert [reason for reason, _ in waiting()].count("patient_wrote") == 2


def test_a_message_that_is_being_answered_as_a_person_takes_over_is_told_of(clock: ManualClock) -> None:
    patient = add_patient()
    case = case_of(patient)
    text_in(patient, "my knee is odd")

    def taken_over(_request: DialogueRequest) -> None:
        answered_by(case)

    runner(Echo(fail=taken_over), clock).run(patient)
    assert rows(Outbound) == []
    assert ("patient_wrote", Acuity.URGENT) in waiting()


def test_a_case_is_taken_over_from_a_colleague_and_given_back_by_who_leaves(clock: ManualClock) -> None:
    patient = add_patient()
    case = case_of(patient)
    with transaction() as session:
        first, second = (add_user(session, name, "a long password", Role.COORDINATOR, NOON).id for name in ("nia", "ola"))
    answered_by(case, first)
    with transaction() as session:
        take_from(session, case, second, NOON)
        assert session.get_one(Conversation, patient).coordinator_id == second
    answered_by(case, second)
    with transaction() as session:
        lock_out(session, session.get_one(User, second), NOON, actor="cli:test")
        assert session.get_one(Conversation, patient).coordinator_id is None
    assert [(each.state, each.acknowledged_by) for each in rows(Escalation)] == [(EscalationState.OPEN, None)]


def test_nobody_writes_in_a_case_that_was_resolved_meanwhile(clock: ManualClock) -> None:
    patient = add_patient()
    case = case_of(patient)
    answered_by(case)
    with transaction() as session:
        resolve(session, case, "u1", Outcome.ANSWERED, "done", NOON)
    with pytest.raises(EscalationConflict, match="resolved meanwhile"):
        answered_by(case)
    with transaction() as session:
        assert session.get_one(Conversation, patient).coordinator_id is None


def test_a_request_for_consent_that_nobody_got_is_made_again(clock: ManualClock) -> None:
    patient, phone = add_patient(consent=False), Phone()
    with transaction() as session:
        tick(session, NOON)
    assert [row.key for row in rows(Outbound)] == ["consent_request"]
    clock.advance(timedelta(hours=20))  # Twilio was away until the hours had ended
    Sender(phone, clock).run(patient)
    assert phone.held == []
    run_ticks(clock, 8)
    assert "consent_request" in [row.key for row in rows(Outbound) if row.state is OutboundState.PENDING]


def test_with_the_last_case_closed_the_bot_answers_again(clock: ManualClock) -> None:
    patient = add_patient()
    first, second = case_of(patient, 1), case_of(patient, 2)
    answered_by(first)
    with transaction() as session:
        resolve(session, first, "u1", Outcome.ANSWERED, "told her", NOON)
        assert session.get_one(Conversation, patient).coordinator_id == "u1"  # another case waits
        acknowledge(session, second, "u1", NOON)
        resolve(session, second, "u1", Outcome.REACHED_SAFE, "phoned", NOON)
    dialogue = Echo()
    text_in(patient, "good morning")
    runner(dialogue, clock).run(patient)
    assert dialogue.heard == ["good morning"]


def test_answers_of_the_bot_that_wait_are_not_sent_once_a_person_answers(clock: ManualClock) -> None:
    patient, phone = add_patient(), Phone()
    with transaction() as session:
        write(session, patient, Channel.SMS, [OutboundText("from the bot")], NOON)
        write(session, patient, Channel.SMS, [OutboundText("call 911", safety=True)], NOON)
        take_over(session, patient, "u1", NOON)
        write(session, patient, Channel.SMS, [OutboundText("late words of the bot")], NOON)
        write(session, patient, Channel.SMS, [OutboundText("from a person", author="user:u1")], NOON)
    Sender(phone, clock).run(patient)
    assert [sms.body for sms in phone.held] == ["call 911", "from a person"]


def test_what_an_opted_out_patient_writes_is_read_by_a_person(clock: ManualClock) -> None:
    patient = add_patient()
    text_in(patient, "STOP", 1)
    for number, words in enumerate(("the stitches look a bit wet", "hello?"), start=2):
        text_in(patient, words, number)
        runner(Echo(), clock).run(patient)
    assert waiting() == [("patient_wrote", Acuity.ROUTINE)]


def test_a_picture_is_told_of(clock: ManualClock) -> None:
    patient = add_patient()
    for number, words in enumerate(("", "look at my wound"), start=1):
        with transaction() as session:
            accept(session, Incoming(Channel.SMS, f"SM{number}", words, NOON, patient_id=patient, media=1))
    assert waiting() == [("picture", Acuity.ROUTINE)]


def test_a_stop_after_the_reminder_of_a_visit_asks_a_person_whether_the_visit_stands(clock: ManualClock) -> None:
    patient = add_patient()
    with transaction() as session:
        session.execute(update(Contact).values(kind=StepKind.APPOINTMENT, state=ContactState.STARTED))
    text_in(patient, "CANCEL")
    assert [each.summary for each in rows(Escalation) if "visit stands" in each.summary] != []


@pytest.mark.parametrize("because", ["ended", "paused"])
def test_words_of_a_contact_that_ended_while_they_were_written_are_not_sent(clock: ManualClock, because: str) -> None:
    patient, phone = add_patient(), Phone()
    with transaction() as session:
        tick(session, NOON)
    ours = [row for row in rows(Outbound) if row.contact_id]
    assert ours
    with transaction() as session:  # as another transaction leaves it that could not see the words yet
        gone = session.get_one(Contact, ours[0].contact_id)
        if because == "ended":
            gone.state, gone.skipped_because = ContactState.SKIPPED, "ended"
        else:
            gone.held_next_at = NOON
    Sender(phone, clock).run(patient)
    assert phone.held == []
    assert {row.state for row in rows(Contact) if row.id == ours[0].contact_id} == {ContactState.SKIPPED}


def test_a_contact_whose_words_came_too_late_is_skipped_and_nobody_waits_for_an_answer(clock: ManualClock) -> None:
    patient, phone = add_patient(), Phone()
    with transaction() as session:
        tick(session, NOON)
        begun = session.scalars(select(Outbound.contact_id).where(Outbound.contact_id.is_not(None))).first()
    clock.advance(timedelta(days=2))
    Sender(phone, clock).run(patient)
    assert phone.held == []
    assert [(row.state, row.skipped_because) for row in rows(Contact) if row.id == begun] == [(ContactState.SKIPPED, "not_sent")]
