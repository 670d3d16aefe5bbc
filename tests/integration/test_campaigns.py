"""Running a campaign: what pausing, stopping, amending, moving and ending change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from care.campaigns import operation
from care.campaigns.overview import overview
from care.campaigns.schedule import tick
from care.campaigns.service import CampaignInvalid, EnrollmentConflict, campaign_named, create_campaign, enroll
from care.clock import ManualClock
from care.knowledge import knowledge
from care.knowledge.model import StopEvent
from care.messages.gateway import SmsUnanswered
from care.messages.handing_over import SendPolicy
from care.messages.sending import Sender
from care.patients.model import Place
from care.storage.engine import transaction
from care.storage.tables import (
    CampaignState,
    Contact,
    ContactState,
    Enrollment,
    EnrollmentState,
    Escalation,
    Inbound,
    InboundState,
    Outbound,
    OutboundState,
    Patient,
)
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, make_due, new_patient, planned, rows, run_ticks, runner, text_in

pytestmark = pytest.mark.usefixtures("database")


def change(what: Callable[..., object], *arguments: object, **named: object) -> object:
    with transaction() as session:
        return what(session, campaign_named(session, "Knees"), *arguments, "tester", NOON, **named)


def reanchor(reference: str, anchor: date) -> None:
    with transaction() as session:
        operation.reanchor(session, operation.enrollment_of(session, campaign_named(session, "Knees"), reference), anchor, "tester", NOON)


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
        enroll(session, campaign_named(session, "Knees"), new_patient(2), NOON)
    steps = {row.step for row in rows(Contact) if row.patient_id == patient}
    assert ("check_in-9" in steps, "check_in-7" in steps) == (move, not move)
    assert set(started) <= steps
    assert any(step.startswith("appointment") for step in steps)
    assert "check_in-9" in {row.step for row in rows(Contact) if row.patient_id != patient}


@pytest.mark.parametrize("move", [True, False])
def test_the_ladder_and_the_last_day_are_of_the_version_that_a_patient_runs(clock: ManualClock, monkeypatch: pytest.MonkeyPatch, move: bool) -> None:
    add_patient(1)
    protocol = knowledge().protocols["knee_replacement"]
    ladder, stop = protocol.no_answer, protocol.stop
    newer = {
        "version": "next",
        "no_answer": ladder.model_copy(update={"reminder_after_hours": ladder.reminder_after_hours + 1}),
        "stop": stop.model_copy(update={"day": stop.day + 1}),
    }
    monkeypatch.setitem(knowledge().protocols, "knee_replacement", protocol.model_copy(update=newer))
    change(operation.amend, move_patients=move)
    reanchor("ref-1", date(2026, 3, 1) + timedelta(days=1))
    reanchor("ref-1", date(2026, 3, 1))
    with transaction() as session:
        tick(session, NOON)
    started = [row for row in rows(Contact) if row.state is ContactState.STARTED]
    assert [row.next_at for row in started] == [NOON + timedelta(hours=ladder.reminder_after_hours + move)]
    with transaction() as session:
        session.execute(update(Contact).values(state=ContactState.COMPLETED, next_at=None))
    last = NOON.replace(month=3, day=1) + timedelta(days=stop.day)
    closed = []
    for after in (0, 1, 2):
        with transaction() as session:
            closed.append(operation.complete(session, last + timedelta(days=after)))
    assert closed == ([0, 0, 1] if move else [0, 1, 0])


def test_who_is_enrolled_before_an_amendment_is_counted_by_the_version_that_was_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    add_patient(1)
    _next_version(monkeypatch)
    add_patient(2, anchor=date(2026, 2, 21))  # day 9 is today, the days before are over
    assert sorted(row.protocol_version for row in rows(Enrollment))[1] == "next"
    reanchor("ref-2", date(2026, 3, 1))
    assert Counter(row.step for row in planned())["check_in-9"] == 1
    assert Counter(row.step for row in planned())["check_in-7"] == 1
    assert change(operation.amend, move_patients=True) == operation.Amended("next", 1, 0)
    assert {row.protocol_version for row in rows(Enrollment)} == {"next"}


@pytest.mark.parametrize(("send_hour", "spread_minutes", "most"), [(19, 480, 60), (19, 61, 60), (12, 481, 480), (10, -1, 480)])
def test_a_campaign_that_would_begin_contacts_in_quiet_hours_is_refused(send_hour: int, spread_minutes: int, most: int) -> None:
    with transaction() as session, pytest.raises(CampaignInvalid, match=f"spread_minutes: must lie from 0 to {most} .*earlier send_hour"):
        create_campaign(session, "Late", "knee_replacement", NOON, send_hour=send_hour, spread_minutes=spread_minutes)


@pytest.mark.parametrize(("send_hour", "spread_minutes"), [(19, 60), (12, 480), (10, 60)])
def test_a_campaign_may_spread_until_quiet_hours_begin(send_hour: int, spread_minutes: int) -> None:
    with transaction() as session:
        create_campaign(session, "Evening", "knee_replacement", NOON, send_hour=send_hour, spread_minutes=spread_minutes)


def test_amending_to_the_version_that_runs_is_refused(clock: ManualClock) -> None:
    add_patient()
    with pytest.raises(CampaignInvalid, match="runs already"):
        change(operation.amend, move_patients=True)


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


@pytest.mark.parametrize("paused", [False, True])
def test_a_discharge_that_was_mistyped_and_corrected_leaves_all_as_it_was(paused: bool) -> None:
    add_patient()
    if paused:
        change(operation.pause)
    before = [_times(row) for row in planned()]
    reanchor("ref-1", date(2026, 2, 1))
    assert len(planned()) < len(before)
    reanchor("ref-1", date(2026, 3, 1))
    assert [_times(row) for row in planned()] == before
    assert not any(row.skipped_because for row in rows(Contact))


def test_a_new_version_brings_back_no_step_of_the_old_one_that_a_move_had_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    add_patient()
    reanchor("ref-1", date(2026, 2, 1))
    _next_version(monkeypatch)
    change(operation.amend, move_patients=True)
    reanchor("ref-1", date(2026, 3, 1))
    steps = {row.step for row in rows(Contact)}
    assert ("check_in-7" in steps, "check_in-9" in steps) == (False, True)
    assert {"check_in-1", "check_in-9"} <= {row.step for row in planned()}


def test_a_patient_who_came_back_gets_what_was_left_out_meanwhile() -> None:
    patient_id = add_patient()
    before = [_times(row) for row in planned()]
    for zone in ("Asia/Tokyo", "America/New_York"):
        with transaction() as session:
            operation.relocate(session, session.get_one(Patient, patient_id), Place(timezone=zone), "tester", NOON)
    assert [_times(row) for row in planned()] == before


def _times(contact: Contact) -> tuple[object, ...]:
    return contact.step, contact.due_at, contact.not_after, contact.next_at, contact.held_next_at


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
    assert (seen[0].patients, seen[0].state, ContactState.PLANNED in seen[0].contacts) == (1, CampaignState.ACTIVE, False)
