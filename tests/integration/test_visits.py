"""Appointments: what is reminded of when, and what a change of the visit changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import delete

from care.campaigns import operation
from care.campaigns.preview import preview
from care.campaigns.schedule import tick
from care.campaigns.service import EnrollmentConflict, campaign_named, create_campaign, enroll
from care.clock import ManualClock
from care.knowledge.model import StepKind
from care.storage.engine import transaction
from care.storage.tables import Contact, ContactState, Outbound
from tests.conftest import NOON, add_patient
from tests.integration.parties import new_patient, rows, run_ticks

pytestmark = pytest.mark.usefixtures("database")


def test_an_appointment_is_reminded_of_the_day_before_in_the_patients_hour_and_words() -> None:
    with transaction() as session:
        campaign = create_campaign(session, "Knees", "knee_replacement", NOON, send_hour=10, spread_minutes=0)
        enroll(session, campaign, new_patient(7, timezone="America/Los_Angeles", language="es"), NOON)
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
        enroll(session, campaign, new_patient(1, timezone="America/Chicago", state=state), NOON)
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


@pytest.mark.parametrize(
    ("send_hour", "visit"),
    [(10, datetime(2026, 3, 2, 20, tzinfo=UTC)), (16, datetime(2026, 3, 3, 13, 30, tzinfo=UTC))],
    ids=["entered in the morning of the visit", "reminded of in the evening, of a visit before the hours open"],
)
def test_nothing_more_is_said_of_a_visit_once_it_has_begun(clock: ManualClock, send_hour: int, visit: datetime) -> None:
    with transaction() as session:
        create_campaign(session, "Knees", "knee_replacement", NOON, send_hour=send_hour, spread_minutes=0)
    add_patient()
    with transaction() as session:
        session.execute(delete(Contact))
        operation.add_appointment(session, operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1"), visit, "tester", NOON)
    run_ticks(clock, 2)
    assert [row.key for row in rows(Outbound)] == ["appointment_intro", "question_appointment_confirm"]
    assert all(row.not_after <= visit for row in rows(Outbound))
    assert [row.state for row in rows(Contact)] == [ContactState.MISSED]


def test_a_visit_that_begins_is_not_reminded_of_in_that_minute() -> None:
    add_patient()
    visit = NOON + timedelta(hours=3)
    with transaction() as session:
        session.execute(delete(Contact))
        operation.add_appointment(session, operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1"), visit, "tester", NOON)
    with transaction() as session:
        assert tick(session, visit).patients == []
    assert [row.skipped_because for row in rows(Contact)] == ["stale"]


def test_a_visit_that_takes_place_after_all_is_asked_about_once_more(clock: ManualClock) -> None:
    add_patient()
    visit = NOON + timedelta(days=2)
    for step, days in ((operation.add_appointment, 1), (operation.cancel_appointment, 0.2), (operation.add_appointment, 0.1)):
        with transaction() as session:
            session.execute(delete(Contact).where(Contact.kind != StepKind.APPOINTMENT))
            step(session, operation.enrollment_of(session, campaign_named(session, "Knees"), "ref-1"), visit, "tester", clock.now())
        run_ticks(clock, days)
    assert [row.key for row in rows(Outbound)].count("question_appointment_confirm") == 2
