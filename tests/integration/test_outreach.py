"""What a tick says to whom: spacing, the ladder of who does not answer, and the pace."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update

from care.acuity import Acuity
from care.campaigns import schedule
from care.campaigns.schedule import outreach_waits, take_pace, tick
from care.campaigns.service import create_campaign
from care.clock import ManualClock
from care.escalations.service import Cause, raise_escalation, take_over
from care.knowledge import knowledge
from care.knowledge.model import StepKind
from care.messages.conversation import lock_conversations
from care.messages.sending import Sender
from care.messages.sms_text import fold
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import (
    Contact,
    ContactState,
    Escalation,
    EscalationState,
    Heartbeat,
    Inbound,
    Outbound,
    OutboundState,
)
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, rows, run_ticks, runner, text_in
from workers import campaigns

pytestmark = pytest.mark.usefixtures("database")


def test_two_campaigns_do_not_write_at_once(clock: ManualClock) -> None:
    add_patient(1), add_patient(1, campaign="Hips")
    run_ticks(clock, 0.3)
    begun = sorted(row.started_at for row in rows(Contact) if row.started_at)
    assert len(begun) == 2
    assert begun[1] - begun[0] >= timedelta(hours=3)
    assert [row.skipped_because for row in rows(Contact) if row.state is ContactState.SKIPPED] == ["superseded"]


@pytest.mark.parametrize("resolved", [False, True])
def test_who_has_an_emergency_is_neither_asked_nor_reminded_until_a_person_has_resolved_it(clock: ManualClock, resolved: bool) -> None:
    add_patient(1)
    run_ticks(clock, 0.1)
    begun = len(rows(Outbound))
    with transaction() as session:
        patient_id = session.scalars(select(Contact.patient_id)).first()
        assert patient_id is not None
        raise_escalation(session, patient_id, Cause("a", "triage_emergency", Acuity.EMERGENCY, "Chest pain."), clock.now())
        if resolved:
            session.execute(update(Escalation).values(state=EscalationState.RESOLVED))
    run_ticks(clock, 0.3, every=timedelta(minutes=10))
    assert (len(rows(Outbound)) > begun) is resolved


def _two_campaigns_in_the_evening(first_hour: int, second_hour: int) -> None:
    with transaction() as session:
        for name, hour in (("Knees", first_hour), ("Hips", second_hour)):
            create_campaign(session, name, "knee_replacement", NOON, send_hour=hour, spread_minutes=0)
    add_patient(1), add_patient(1, campaign="Hips")


def test_the_second_contact_of_an_evening_comes_sooner_rather_than_not_at_all(clock: ManualClock) -> None:
    _two_campaigns_in_the_evening(17, 18)
    run_ticks(clock, 0.4, every=timedelta(minutes=10))
    begun = sorted(row.started_at.astimezone(ZoneInfo("America/New_York")).time() for row in rows(Contact) if row.started_at)
    assert begun == [time(17), time(18)]


def test_a_contact_for_which_an_evening_has_no_room_says_so(clock: ManualClock) -> None:
    _two_campaigns_in_the_evening(19, 19)
    run_ticks(clock, 0.4, every=timedelta(minutes=10))
    assert [row.day for row in rows(Contact) if row.started_at] == [1]
    assert [row.skipped_because for row in rows(Contact) if row.state is ContactState.SKIPPED] == ["crowded"]


def test_a_reminder_keeps_apart_from_what_another_campaign_says(clock: ManualClock) -> None:
    _two_campaigns_in_the_evening(18, 9)
    run_ticks(clock, 9, every=timedelta(minutes=30))
    said = sorted({(row.created_at, row.key == "reminder") for row in rows(Outbound)})
    near = [one for one, other in pairwise(said) if one[0] != other[0] and other[0] - one[0] < timedelta(hours=3) and (one[1] or other[1])]
    assert sum(reminder for _, reminder in said) >= 3
    assert near == []


def test_a_contact_that_fails_keeps_no_other_back_and_a_person_is_told(clock: ManualClock) -> None:
    failing, other = add_patient(1), add_patient(2)
    with transaction() as session:
        session.execute(update(Contact).where(Contact.patient_id == failing, Contact.day == 1).values(questions=["taken_out"]))
    with transaction() as session:
        assert tick(session, NOON).patients == [other]
    with transaction() as session:
        assert tick(session, NOON).patients == []
    assert [(row.patient_id, row.day) for row in rows(Contact) if row.skipped_because == "failed"] == [(failing, 1)]
    assert [(row.patient_id, row.reason) for row in rows(Escalation)] == [(failing, "not_sent")]
    assert {row.patient_id for row in rows(Outbound)} == {other}


def test_a_reminder_of_a_day_that_is_over_is_not_sent_and_a_person_is_told(clock: ManualClock) -> None:
    add_patient()
    run_ticks(clock, 0.1)
    clock.moment = NOON + timedelta(hours=22)  # ten in the morning, after an outage since the afternoon
    run_ticks(clock, 0.2)
    assert "reminder" not in {row.key for row in rows(Outbound)}
    assert next(row for row in rows(Contact) if row.step == "check_in-1").state is ContactState.MISSED
    assert ["no reminder could be sent" in row.summary for row in rows(Escalation)] == [True]


def test_who_has_written_is_not_taken_as_silent_while_the_message_waits(clock: ManualClock) -> None:
    patient = add_patient()
    run_ticks(clock, 0.1)
    text_in(patient, "about a 3", at=clock.now())
    run_ticks(clock, 1)
    assert [row.state for row in rows(Contact) if row.day == 1] == [ContactState.STARTED]
    assert "reminder" not in {row.key for row in rows(Outbound)}
    runner(Echo(), clock).run(patient)
    run_ticks(clock, 0.1)
    assert [row.state for row in rows(Contact) if row.day == 1] == [ContactState.REMINDED]


def test_a_survey_waits_for_an_unanswered_check_in_of_which_a_person_is_told(clock: ManualClock) -> None:
    add_patient(1), add_patient(1, anchor=date(2026, 1, 26), campaign="Hips")
    with transaction() as session:
        todays = (Contact.kind == StepKind.SURVEY, Contact.due_at < NOON)
        session.execute(update(Contact).where(*todays).values(next_at=NOON + timedelta(minutes=5)))
    run_ticks(clock, 2)
    ended = {row.step: row.state for row in rows(Contact) if row.step in ("check_in-1", "survey-35") and row.next_at is None}
    assert ended == {"check_in-1": ContactState.MISSED, "survey-35": ContactState.SKIPPED}
    assert [row.reason for row in rows(Escalation)] == ["no_answer"]


def test_a_person_is_told_of_a_check_in_that_gives_way_to_other_questions(clock: ManualClock) -> None:
    add_patient()
    with transaction() as session:
        tick(session, NOON)
        session.execute(update(Contact).where(Contact.kind == StepKind.MEDICINE).values(next_at=NOON, not_after=NOON + timedelta(hours=5)))
    run_ticks(clock, 0.15)
    assert [row.step for row in rows(Contact) if row.state is ContactState.STARTED] == ["medicine-5"]
    assert [row.reason for row in rows(Escalation)] == ["no_answer"]


def test_a_check_in_does_not_break_into_a_conversation_with_a_person(clock: ManualClock) -> None:
    patient = add_patient()
    with transaction() as session:
        take_over(session, patient, "u1", NOON)
        assert tick(session, NOON).patients == []
    assert rows(Inbound) == []
    assert min(row.next_at for row in rows(Contact) if row.next_at) == NOON + timedelta(hours=1)


def test_an_unanswered_check_in_is_reminded_of_then_offered_in_the_chat_then_told_to_a_person(clock: ManualClock) -> None:
    add_patient(anchor=date(2026, 3, 1))
    run_ticks(clock, 2)
    offered = [row for row in rows(Outbound) if row.key == "offer_chat"]
    assert [row.trigger for row in rows(Inbound)][:2] == ["start_check_in", "remind"]
    assert len(offered) == 1
    assert next(row for row in rows(Contact) if row.step == "check_in-1").state is ContactState.MISSED


def test_a_silent_patient_with_a_message_every_day_is_still_told_of(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    known = knowledge().protocols["knee_replacement"]
    daily = [known.schedule[0].model_copy(update={"day": day}) for day in range(1, 8)]
    monkeypatch.setitem(knowledge().protocols, "knee_replacement", known.model_copy(update={"schedule": daily}))
    add_patient()
    run_ticks(clock, 7)
    told = [row for row in rows(Escalation) if row.reason == "no_answer"]
    assert len(told) >= 5


def test_a_survey_is_asked_once(clock: ManualClock) -> None:
    add_patient(anchor=date(2026, 1, 26))
    run_ticks(clock, 3)
    assert [(row.step, row.state) for row in rows(Contact) if row.started_at] == [("survey-35", ContactState.MISSED)]
    assert rows(Escalation) == []


@pytest.mark.parametrize(("language", "begins"), [("en", "Rest with your leg"), ("es", "Descanse con la pierna"), ("zh", "每天几次休息时把腿抬到")])
def test_advice_for_a_day_is_sent_as_it_stands_in_the_patients_language_and_wants_no_answer(clock: ManualClock, language: str, begins: str) -> None:
    add_patient(language=language)
    run_ticks(clock, 1.5)
    sent = next(row for row in rows(Outbound) if row.key.startswith("advice_"))
    assert sent.body == fold(knowledge().advice["elevate_leg"].said(language))
    assert sent.body.startswith(begins)
    assert next(row for row in rows(Contact) if row.step == "education-2").state is ContactState.COMPLETED


def test_a_nights_reminders_do_not_all_come_in_the_minute_in_which_the_hours_open(clock: ManualClock) -> None:
    with transaction() as session:
        create_campaign(session, "Knees", "knee_replacement", NOON, send_hour=18, spread_minutes=0)
    for number in range(30):
        add_patient(number)
    for hours in (6, 10, 12):  # begun at 18:00, to be reminded at 22:00, and looked at once more
        with transaction() as session:
            tick(session, NOON + timedelta(hours=hours))
    waiting = [row.next_at.astimezone(ZoneInfo("America/New_York")) for row in rows(Contact) if row.state is ContactState.STARTED]
    assert len(waiting) == 30
    assert all(time(9) <= each.time() < time(9, 30) and each.date() == date(2026, 3, 3) for each in waiting)
    assert len({(each.hour, each.minute) for each in waiting}) > 10
    with transaction() as session:
        tick(session, NOON + timedelta(hours=21, minutes=30))
    assert [row.key for row in rows(Outbound)].count("reminder") == 30


@pytest.mark.parametrize("consent", [True, False])
def test_two_ticks_at_once_begin_one_of_a_patients_contacts(database: str, monkeypatch: pytest.MonkeyPatch, consent: bool) -> None:
    if "postgresql" not in database:
        pytest.skip("SQLite has one writer")
    add_patient(1, consent=consent), add_patient(1, campaign="Hips", consent=consent)
    monkeypatch.setattr(schedule, "_LOOKED_AT", 1)
    both_done = threading.Barrier(2, timeout=20)

    def one_of_two() -> list[str]:
        with transaction() as session:
            spoken = tick(session, NOON, 1).patients
            session.flush()
            both_done.wait()
            return spoken

    with ThreadPoolExecutor(2) as pool:
        spoken = [each.result() for each in [pool.submit(one_of_two) for _ in range(2)]]
    assert sorted(map(len, spoken)) == [0, 1]
    assert len({row.contact_id for row in rows(Outbound)}) == 1
    assert [row.state for row in rows(Contact) if row.step == "check_in-1"].count(ContactState.PLANNED) == 1
    with transaction() as session:
        tick(session, NOON, 1)
    left = [row for row in rows(Contact) if row.step == "check_in-1" and not row.started_at]
    assert [(row.skipped_because, row.next_at and row.next_at > NOON) for row in left] == [(None, True) if consent else ("no_consent", None)]


def test_who_is_busy_keeps_no_other_patient_from_being_written_to(database: str) -> None:
    if "postgresql" not in database:
        pytest.skip("SQLite has one writer")
    busy, free = add_patient(1), add_patient(2)
    with transaction() as other:
        lock_conversations(other, [busy])
        with transaction() as session:
            assert tick(session, NOON).patients == [free]
    with transaction() as session:
        assert tick(session, NOON).patients == [busy]


def test_what_our_side_was_to_say_is_not_said_after_hours(clock: ManualClock) -> None:
    patient = add_patient()
    with transaction() as session:
        assert tick(session, NOON).patients == [patient]
    clock.advance(timedelta(hours=9))
    phone = Phone()
    Sender(phone, clock).run(patient)
    assert phone.held == []
    assert {row.state for row in rows(Outbound)} == {OutboundState.CANCELLED}


def test_the_pace_is_kept_by_all_schedulers_together() -> None:
    with transaction() as session:
        assert take_pace(session, 10) == 50
    with transaction() as session:
        assert take_pace(session, 10) == 0
        session.get_one(Heartbeat, "campaigns.tick").at = datetime.now(UTC) - timedelta(seconds=2)
    with transaction() as session:
        assert 20 <= take_pace(session, 10) <= 25
    with transaction() as session:
        session.get_one(Heartbeat, "campaigns.tick").at = datetime.now(UTC) - timedelta(hours=8)
    with transaction() as session:
        assert take_pace(session, 10) == 50


def test_stale_contacts_take_nothing_of_the_pace(clock: ManualClock) -> None:
    for number in range(60):
        add_patient(number)
    with transaction() as session:
        session.execute(update(Contact).where(Contact.step != "check_in-1").values(next_at=None))
        session.execute(update(Contact).where(Contact.step == "check_in-1").values(next_at=NOON - timedelta(hours=1), not_after=NOON - timedelta(minutes=1)))
        fresh = session.scalars(select(Contact).where(Contact.step == "check_in-1").order_by(Contact.id).limit(3)).all()
        for contact in fresh:
            contact.next_at, contact.not_after = NOON - timedelta(minutes=1), NOON + timedelta(hours=2)
    spoken: list[str] = []
    while len(spoken) < 2:
        with transaction() as session:
            spoken += tick(session, NOON, 2 - len(spoken)).patients
    assert len(spoken) == 2
    assert [row.skipped_because for row in rows(Contact) if row.step == "check_in-1"].count("stale") == 57


def test_while_much_waits_to_be_sent_nobody_is_written_to_and_silent_ones_are_told_of(clock: ManualClock) -> None:
    add_patient(1)
    run_ticks(clock, 0.1)
    begun = rows(Outbound)
    with transaction() as session:
        assert outreach_waits(session, clock.now()) == len(begun) > 0
    add_patient(2)
    with transaction() as session:
        session.execute(update(Contact).where(Contact.state == ContactState.STARTED).values(state=ContactState.OFFERED_CHAT, next_at=clock.now()))
        assert tick(session, clock.now(), 0).patients == []
    assert [row.reason for row in rows(Escalation)] == ["no_answer"]
    assert len(rows(Outbound)) == len(begun)


def test_while_many_who_wrote_wait_for_their_turn_nobody_is_written_to(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "_MOST_TURNS_AHEAD", 1)
    most = settings().worker_processes
    for number in range(1, most + 1):
        with transaction() as session:
            assert campaigns.room(session, clock.now()) > 100, "who may be written to are not counted by whose turns there are"
        text_in(add_patient(number), "my knee is sore", number)
    with transaction() as session:
        assert campaigns.room(session, clock.now()) == 0
