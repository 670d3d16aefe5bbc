"""Running campaigns: what is sent when, and what pausing, amending, moving and ending change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete, select, update

from care.campaigns import operation
from care.campaigns.overview import overview
from care.campaigns.preview import preview, preview_new
from care.campaigns.schedule import outreach_waits, take_pace, tick
from care.campaigns.service import CampaignInvalid, EnrollmentConflict, campaign_named, create_campaign, enroll
from care.clock import ManualClock
from care.escalations.service import take_over
from care.knowledge import knowledge
from care.knowledge.model import StepKind, StopEvent
from care.messages.sending import Sender, SendPolicy, SmsUnanswered
from care.messages.sms_text import fold
from care.patients.model import NewPatient, Place
from care.storage.columns import Base
from care.storage.engine import transaction
from care.storage.tables import (
    CampaignState,
    Contact,
    ContactState,
    Enrollment,
    EnrollmentState,
    Escalation,
    Heartbeat,
    Inbound,
    InboundState,
    Outbound,
    OutboundState,
    Patient,
)
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, make_due, runner, text_in

pytestmark = pytest.mark.usefixtures("database")
Row = TypeVar("Row", bound=Base)
PLANNED = ContactState.PLANNED


def rows(table: type[Row]) -> list[Row]:
    with transaction() as session:
        return list(session.scalars(select(table)))


def planned() -> list[Contact]:
    return sorted((row for row in rows(Contact) if row.state is PLANNED), key=lambda row: row.due_at)


def run_ticks(clock: ManualClock, days: float, every: timedelta = timedelta(minutes=30)) -> None:
    end = clock.now() + timedelta(days=days)
    while clock.now() < end:
        with transaction() as session:
            tick(session, clock.now())
        clock.advance(every)


def change(what: Callable[..., object], *arguments: object, **named: object) -> object:
    with transaction() as session:
        return what(session, campaign_named(session, "Knees"), *arguments, "tester", NOON, **named)


def test_a_paused_campaign_sends_nothing_and_goes_on_without_a_flood(clock: ManualClock) -> None:
    add_patient()
    days = {row.day: row.due_at for row in planned()}
    change(operation.pause)
    run_ticks(clock, 6)
    assert rows(Inbound) == []
    change(operation.resume)
    with transaction() as session:
        while tick(session, clock.now()).patients:
            pass
    sent = [row for row in rows(Contact) if row.started_at]
    assert len(sent) <= 1
    assert {row.skipped_because for row in rows(Contact) if row.state is ContactState.SKIPPED} == {"stale"}
    assert all(row.due_at == days[row.day] for row in planned())


def test_a_stopped_campaign_is_over_for_everybody_and_takes_nobody_in(clock: ManualClock) -> None:
    add_patient(1), add_patient(2)
    assert change(operation.stop) == 2
    run_ticks(clock, 4)
    assert rows(Inbound) == []
    assert {(row.state, row.ended_because) for row in rows(Enrollment)} == {(EnrollmentState.STOPPED, "campaign_stopped")}
    with pytest.raises(EnrollmentConflict, match="was stopped"):
        add_patient(3)
    with pytest.raises(CampaignInvalid, match="is stopped"):
        change(operation.resume)


def _next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The knee protocol's next version: without day 7, with a day 9."""
    known = knowledge().protocols["knee_replacement"]
    steps = [step.model_copy(update={"day": 9}) if step.day == 7 else step for step in known.schedule]
    monkeypatch.setitem(knowledge().protocols, "knee_replacement", known.model_copy(update={"version": "next", "schedule": steps}))


@pytest.mark.parametrize("move", [True, False])
def test_amending_moves_patients_in_flight_or_leaves_them_as_was_chosen(clock: ManualClock, monkeypatch: pytest.MonkeyPatch, move: bool) -> None:
    patient = add_patient(1)
    with transaction() as session:
        tick(session, NOON)
    with transaction() as session:
        enrollment = operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1")
        operation.add_appointment(session, enrollment, NOON + timedelta(days=20), "tester", NOON)
    started = [row.step for row in rows(Contact) if row.started_at]
    _next_version(monkeypatch)
    done = change(operation.amend, move_patients=move)
    assert done == operation.Amended("next", 1 if move else 0, 0 if move else 1)
    with transaction() as session:
        enroll(session, campaign_named(session, "Knees"), _new(2), NOON)
    steps = {row.step for row in rows(Contact) if row.patient_id == patient}
    assert ("check_in-9" in steps, "check_in-7" in steps) == (move, not move)
    assert set(started) <= steps
    assert any(step.startswith("appointment") for step in steps)
    assert "check_in-9" in {row.step for row in rows(Contact) if row.patient_id != patient}


def test_amending_to_the_version_that_runs_is_refused(clock: ManualClock) -> None:
    add_patient()
    with pytest.raises(CampaignInvalid, match="runs already"):
        change(operation.amend, move_patients=True)


def _new(number: int, **given: object) -> NewPatient:
    return NewPatient.model_validate(
        {
            "reference": f"ref-{number}",
            "name": f"Pat{number} Example",
            "phone": f"+1555010{number:04d}",
            "date_of_birth": "1950-01-01",
            "anchor": "2026-03-01",
            **given,
        }
    )


def test_a_discharge_that_moved_moves_what_is_still_to_come() -> None:
    add_patient()
    before = planned()
    with transaction() as session:
        enrollment = operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1")
        operation.reanchor(session, enrollment, date(2026, 3, 11), "tester", NOON)
    after = planned()
    assert [row.step for row in after] == [row.step for row in before]
    assert [row.due_at.date() - other.due_at.date() for row, other in zip(after, before, strict=True)] == [timedelta(days=10)] * len(after)
    with transaction() as session:
        operation.reanchor(session, operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1"), date(2026, 2, 20), "tester", NOON)
    assert {row.skipped_because for row in rows(Contact) if row.state is ContactState.SKIPPED} == {"moved"}
    assert min(row.day for row in planned()) >= 10


def test_a_patient_who_moved_is_written_to_by_the_hours_of_the_new_place() -> None:
    patient_id = add_patient()
    before = planned()
    with transaction() as session:
        patient = session.get_one(Patient, patient_id)
        away = operation.relocate(session, patient, Place(timezone="Asia/Tokyo"), "tester", NOON)
    assert away == len(planned()) == len(before) - 1  # today's hours are over there
    assert {row.skipped_because for row in rows(Contact) if row.state is ContactState.SKIPPED} == {"moved"}
    assert all(time(9) <= row.due_at.astimezone(ZoneInfo("Asia/Tokyo")).time() < time(20) for row in planned())
    assert [row.next_at for row in planned()] == [row.due_at for row in planned()]


@pytest.mark.parametrize(("event", "ended"), [(StopEvent.DEATH, 2), (StopEvent.READMISSION, 2), (StopEvent.WITHDRAWAL, 1)])
def test_an_event_ends_one_or_all_of_a_patients_campaigns_at_once(clock: ManualClock, event: StopEvent, ended: int) -> None:
    add_patient(1), add_patient(1, campaign="Hips")
    with transaction() as session:
        tick(session, NOON)
        enrollment = operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1")
        assert operation.end_enrollment(session, enrollment, event, "tester", NOON) == ended
    assert sum(row.state is EnrollmentState.STOPPED for row in rows(Enrollment)) == ended
    run_ticks(clock, 3)
    stopped = {row.id for row in rows(Enrollment) if row.state is EnrollmentState.STOPPED}
    assert all(row.state is ContactState.SKIPPED for row in rows(Contact) if row.enrollment_id in stopped)


def test_nobody_is_enrolled_after_death() -> None:
    add_patient(1)
    with transaction() as session:
        operation.end_enrollment(session, operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1"), StopEvent.DEATH, "tester", NOON)
    with pytest.raises(EnrollmentConflict, match="died"):
        add_patient(1, campaign="Hips")


def test_what_waits_to_be_sent_is_not_sent_after_a_death() -> None:
    patient = add_patient()
    with transaction() as session:
        session.add_all([_outbound(patient, safety=False), _outbound(patient, safety=True)])
        enrollment = operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1")
        operation.end_enrollment(session, enrollment, StopEvent.DEATH, "tester", NOON)
    assert sorted((row.safety, row.state.value) for row in rows(Outbound)) == [(False, "cancelled"), (True, "pending")]


def test_the_confirmation_of_an_opt_out_is_sent_after_a_death_too() -> None:
    text_in(add_patient(), "STOP")
    _end("ref-1", StopEvent.DEATH)
    assert [(row.key, row.state) for row in rows(Outbound)] == [("stop_confirmed", OutboundState.PENDING)]


def test_a_message_in_doubt_is_not_sent_again_after_a_death(clock: ManualClock) -> None:
    text_in(patient := add_patient(), "about a 3")
    runner(Echo(), clock).run(patient)
    phone = Phone(answer=lambda _body: SmsUnanswered(), keep_when_silent=False)
    Sender(phone, clock).run(patient)
    assert [row.state for row in rows(Outbound)] == [OutboundState.UNKNOWN]
    _end("ref-1", StopEvent.DEATH)
    clock.advance(timedelta(minutes=5))
    make_due()
    Sender(phone, clock, SendPolicy(doubt=timedelta(0), retry=timedelta(0))).run(patient)
    assert len(phone.references) == 1
    assert [row.state for row in rows(Outbound)] == [OutboundState.CANCELLED]


def test_a_death_is_taken_down_after_the_last_follow_up_too() -> None:
    add_patient()
    _end("ref-1", StopEvent.WITHDRAWAL)
    with pytest.raises(EnrollmentConflict, match="withdrawal"):
        _end("ref-1", StopEvent.READMISSION)
    _end("ref-1", StopEvent.DEATH)
    with pytest.raises(EnrollmentConflict, match="death"):
        _end("ref-1", StopEvent.DEATH)
    with pytest.raises(EnrollmentConflict, match="died"):
        add_patient(1, campaign="Hips")


@pytest.mark.parametrize("how", ["pause", "stop", "withdrawal"])
def test_what_our_side_was_to_say_waits_in_vain_once_that_is_over(clock: ManualClock, how: str) -> None:
    patient = add_patient(1)
    with transaction() as session:
        assert tick(session, NOON).patients == [patient]
    text_in(patient, "HELP")
    if how == "withdrawal":
        _end("ref-1", StopEvent.WITHDRAWAL)
    else:
        change(getattr(operation, how))
    phone = Phone()
    Sender(phone, clock).run(patient)
    assert [row.key for row in rows(Outbound) if row.state is OutboundState.ACCEPTED] == ["help"]
    assert [row.skipped_because for row in rows(Contact) if row.day == 1] == ["paused" if how == "pause" else "ended"]
    if how == "pause":
        change(operation.resume)
        run_ticks(clock, 1)
        assert [row.reason for row in rows(Escalation)] == []


def test_what_the_dialogue_was_to_say_first_is_not_said_in_a_pause(clock: ManualClock) -> None:
    patient = add_patient()
    run_ticks(clock, 0.1)
    text_in(patient, "about a 3", at=clock.now())
    runner(Echo(), clock).run(patient)
    run_ticks(clock, 0.1)
    assert [row.trigger for row in rows(Inbound) if row.state is InboundState.ACCEPTED] == ["remind"]
    change(operation.pause)
    assert runner(Echo(), clock).run(patient) == 0


def test_a_contact_that_was_answered_in_a_pause_is_not_looked_at_again(clock: ManualClock) -> None:
    add_patient()
    run_ticks(clock, 0.1)
    with transaction() as session:
        session.execute(update(Outbound).values(state=OutboundState.ACCEPTED))
    change(operation.pause)
    with transaction() as session:
        session.execute(update(Contact).where(Contact.day == 1).values(state=ContactState.COMPLETED, completed_at=NOON))
    change(operation.resume)
    run_ticks(clock, 2)
    assert [row.state for row in rows(Contact) if row.day == 1] == [ContactState.COMPLETED]


def _end(reference: str, event: StopEvent) -> None:
    with transaction() as session:
        operation.end_enrollment(session, operation.enrollment_of(session, campaign_named(session, "Knees"), reference), event, "tester", NOON)


def _outbound(patient: str, *, safety: bool) -> Outbound:
    return Outbound(patient_id=patient, channel="sms", body="hello", safety=safety, created_at=NOON)


def test_two_campaigns_do_not_write_at_once(clock: ManualClock) -> None:
    add_patient(1), add_patient(1, campaign="Hips")
    run_ticks(clock, 0.3)
    begun = sorted(row.started_at for row in rows(Contact) if row.started_at)
    assert len(begun) == 2
    assert begun[1] - begun[0] >= timedelta(hours=3)
    assert [row.skipped_because for row in rows(Contact) if row.state is ContactState.SKIPPED] == ["superseded"]


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


def test_the_preview_says_what_is_then_sent(clock: ManualClock) -> None:
    add_patient(consent=False)
    with transaction() as session:
        told = list(preview(session, campaign_named(session, "Knees")))
    assert [each.step for each in told] == [row.step for row in planned()]
    assert "reply YES to agree" in told[0].texts[0]
    assert told[0].segments >= 2
    assert all(each.price == pytest.approx(each.segments * 0.0113) for each in told)
    assert all("09:" <= each.local[-5:] < "20:" for each in told)
    assert not any(each.problem for each in told)
    education = next(each for each in told if each.step == "education-2")
    assert education.texts == [knowledge().advice["elevate_leg"].text]


def test_the_preview_names_a_question_that_a_new_version_took_out(monkeypatch: pytest.MonkeyPatch) -> None:
    add_patient()
    monkeypatch.delitem(knowledge().questions, "calf")
    with transaction() as session:
        told = list(preview(session, campaign_named(session, "Knees")))
    bad = [each for each in told if each.problem]
    assert bad
    assert all("'calf'" in each.problem and each.texts == [] and each.segments == 0 for each in bad)
    assert any(each.texts for each in told)


def test_a_preview_of_who_is_not_enrolled_stores_nothing() -> None:
    with transaction() as session:
        campaign = create_campaign(session, "Knees", "knee_replacement", NOON, send_hour=11, spread_minutes=0)
        told = preview_new(campaign, _new(7, timezone="America/Chicago", language="es"), NOON)
    assert rows(Patient) == []
    assert {each.local[-5:] for each in told} == {"11:00", "09:00"}
    assert "SI para aceptar" in told[0].texts[0]


def test_an_appointment_is_reminded_of_the_day_before_in_the_patients_hour_and_words() -> None:
    with transaction() as session:
        campaign = create_campaign(session, "Knees", "knee_replacement", NOON, send_hour=10, spread_minutes=0)
        enroll(session, campaign, _new(7, timezone="America/Los_Angeles", language="es"), NOON)
    with transaction() as session:
        campaign = campaign_named(session, "Knees")
        enrollment = operation.enrollment_of(session, campaign, "ref-7")
        contact = operation.add_appointment(session, enrollment, datetime(2026, 3, 20, 17, 30, tzinfo=UTC), "tester", NOON)
        with pytest.raises(EnrollmentConflict, match="planned already"):
            operation.add_appointment(session, enrollment, datetime(2026, 3, 20, 17, 30, tzinfo=UTC), "tester", NOON)
        told = next(each for each in preview(session, campaign) if each.step == contact.step)
    assert told.local == "Thu 2026-03-19 10:00"
    assert "viernes 20 de marzo, 10:30" in told.texts[0]


@pytest.mark.parametrize(("weekdays_only", "state"), [(True, None), (False, "AL")])
def test_a_visit_after_a_closed_day_is_reminded_of_before_it(weekdays_only: bool, state: str | None) -> None:
    with transaction() as session:
        campaign = create_campaign(session, "Knees", "knee_replacement", NOON, send_hour=10, spread_minutes=0, weekdays_only=weekdays_only)
        enroll(session, campaign, _new(1, timezone="America/Chicago", state=state), NOON)
        monday = datetime(2026, 3, 16, 14, tzinfo=UTC)
        contact = operation.add_appointment(session, operation.enrollment_of(session, campaign, "ref-1"), monday, "tester", NOON)
    assert contact.due_at == datetime(2026, 3, 13 if weekdays_only else 14, 15, tzinfo=UTC)


def test_a_visit_that_moved_is_reminded_of_once_at_its_new_time(clock: ManualClock) -> None:
    add_patient()
    old, new = NOON + timedelta(days=8), NOON + timedelta(days=9)
    with transaction() as session:
        enrollment = operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1")
        operation.add_appointment(session, enrollment, old, "tester", NOON)
        operation.add_appointment(session, enrollment, new, "tester", NOON, instead_of=old.astimezone(ZoneInfo("America/New_York")))
        with pytest.raises(EnrollmentConflict, match="is planned"):
            operation.cancel_appointment(session, enrollment, old, "tester", NOON)
    assert [row.appointment_at for row in rows(Contact) if row.kind is StepKind.APPOINTMENT] == [new]


def test_a_visit_that_is_cancelled_after_its_reminder_is_not_asked_about_again(clock: ManualClock) -> None:
    add_patient()
    visit = NOON + timedelta(days=2)
    with transaction() as session:
        session.execute(delete(Contact))
        operation.add_appointment(session, operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1"), visit, "tester", NOON)
    run_ticks(clock, 1.1)
    with transaction() as session:
        operation.cancel_appointment(session, operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1"), visit, "tester", clock.now())
    run_ticks(clock, 1)
    assert [row.skipped_because for row in rows(Contact)] == ["cancelled"]
    assert [row.key for row in rows(Outbound)] == ["appointment_intro", "question_appointment_confirm"]


def test_a_visit_that_takes_place_after_all_is_asked_about_once_more(clock: ManualClock) -> None:
    add_patient()
    visit = NOON + timedelta(days=2)
    for step in (operation.add_appointment, operation.cancel_appointment, operation.add_appointment):
        with transaction() as session:
            session.execute(delete(Contact).where(Contact.kind != StepKind.APPOINTMENT))
            step(session, operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1"), visit, "tester", clock.now())
        run_ticks(clock, 0.9)
    assert [row.key for row in rows(Outbound)].count("question_appointment_confirm") == 2


@pytest.mark.parametrize(("last", "ended"), [("STOP", ("stopped", "opted_out")), ("START", ("completed", "completed"))])
def test_a_follow_up_that_was_opted_out_of_did_not_complete_unless_start_brought_it_back(clock: ManualClock, last: str, ended: tuple[str, str]) -> None:
    patient = add_patient()
    for number, words in enumerate(dict.fromkeys(["STOP", last])):
        text_in(patient, words, number=number)
    with transaction() as session:
        session.execute(update(Contact).values(state=ContactState.COMPLETED, next_at=None))
    with transaction() as session:
        assert operation.complete(session, NOON + timedelta(days=60)) == 1
    assert [(row.state, row.ended_because) for row in rows(Enrollment)] == [ended]


def test_an_enrollment_is_complete_when_its_protocol_is_over_and_nothing_is_open(clock: ManualClock) -> None:
    add_patient()
    run_ticks(clock, 40, every=timedelta(hours=3))
    with transaction() as session:
        assert operation.complete(session, NOON + timedelta(days=30)) == 0
        assert operation.complete(session, NOON + timedelta(days=60)) == 1
        seen = overview(session)
    assert rows(Enrollment)[0].state is EnrollmentState.COMPLETED
    assert (seen[0].patients, seen[0].state, PLANNED in seen[0].contacts) == (1, CampaignState.ACTIVE, False)
