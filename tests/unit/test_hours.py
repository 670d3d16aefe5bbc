"""Quiet hours and due times, in every time zone and over every clock change."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from care.campaigns.hours import Place, closes, is_working_day, local_moment, next_open, window
from care.campaigns.plan import due_by, due_on
from care.knowledge import knowledge
from care.storage.tables import Campaign, Patient

ZONES = sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone and not zone.startswith(("Etc/", "posix/", "right/")))
STATES = [None, "ZZ", *sorted(set(knowledge().quiet_hours) - {"default"})]
moments = st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC))
places = st.builds(Place, st.sampled_from(ZONES), st.sampled_from(STATES))


def test_every_zone_of_the_database_is_tried() -> None:
    assert len(ZONES) > 400


@settings(max_examples=600, deadline=None)
@given(moments, places)
def test_the_next_open_moment_is_open_not_earlier_and_stays_where_it_is(moment: datetime, place: Place) -> None:
    found = next_open(moment, place)
    local = found.astimezone(zoneinfo.ZoneInfo(place.zone))
    assert found >= moment
    assert time(9) <= local.time() < time(20)
    assert next_open(found, place) == found
    assert found < closes(found, place)


@settings(max_examples=600, deadline=None)
@given(moments, places)
def test_a_state_narrows_the_hours_and_never_widens_them(moment: datetime, place: Place) -> None:
    day = moment.date()
    own, plain = window(day, place), window(day, Place(place.zone))
    assert plain is not None
    assert own is None or plain[0] <= own[0] < own[1] <= plain[1]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(ZONES), st.dates(date(2026, 1, 1), date(2028, 12, 31)), st.integers(0, 23), st.sampled_from([0, 30]))
def test_a_local_time_is_met_unless_the_clocks_skip_it(zone: str, day: date, hour: int, minute: int) -> None:
    there = local_moment(day, time(hour, minute), zone).astimezone(zoneinfo.ZoneInfo(zone))
    wanted = datetime.combine(day, time(hour, minute))
    skipped = there.replace(tzinfo=None) - wanted
    assert skipped == timedelta(0) or timedelta(0) < skipped <= timedelta(hours=24)


def test_an_hour_that_comes_twice_is_taken_once_the_first_time() -> None:
    assert local_moment(date(2026, 11, 1), time(1, 30), "America/New_York") == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


def test_an_hour_that_is_skipped_is_taken_an_hour_later() -> None:
    found = local_moment(date(2026, 3, 8), time(2, 30), "America/New_York")
    assert found.astimezone(zoneinfo.ZoneInfo("America/New_York")).time() == time(3, 30)


campaigns = st.builds(Campaign, send_hour=st.integers(9, 19), spread_minutes=st.integers(0, 480), weekdays_only=st.booleans())


@settings(max_examples=600, deadline=None)
@given(st.dates(date(2026, 1, 1), date(2028, 12, 31)), campaigns, places, st.text(max_size=8))
def test_a_contact_is_due_in_open_hours_of_its_day_or_of_the_next_open_one(day: date, campaign: Campaign, place: Place, key: str) -> None:
    due = due_on(day, campaign, Patient(timezone=place.zone, state=place.state), key)
    local = due.at.astimezone(zoneinfo.ZoneInfo(place.zone))
    assert next_open(due.at, place) == due.at
    assert due.at < due.not_after <= due.at + timedelta(hours=12)
    assert local.date() >= day
    assert is_working_day(local.date(), place.state) or not campaign.weekdays_only
    assert due_on(day, campaign, Patient(timezone=place.zone, state=place.state), key) == due


def test_a_campaign_of_weekdays_stays_off_the_saturday_that_a_states_evening_leads_to() -> None:
    campaign = Campaign(send_hour=19, spread_minutes=0, weekdays_only=True)
    due = due_on(date(2026, 3, 6), campaign, Patient(timezone="America/New_York", state="RI"), "key")  # a Friday; the hours end at 18:00
    assert due.at == local_moment(date(2026, 3, 9), time(9), "America/New_York")


@settings(max_examples=600, deadline=None)
@given(st.dates(date(2026, 1, 1), date(2028, 12, 31)), campaigns, places, st.text(max_size=8))
def test_what_must_not_come_later_is_due_on_its_day_or_the_last_open_one_before(day: date, campaign: Campaign, place: Place, key: str) -> None:
    due = due_by(day, campaign, Patient(timezone=place.zone, state=place.state), key)
    local = due.astimezone(zoneinfo.ZoneInfo(place.zone)).date()
    assert next_open(due, place) == due
    assert is_working_day(local, place.state) or not campaign.weekdays_only
    between = [local + timedelta(days=n) for n in range(1, (day - local).days + 1)]
    assert local <= day
    assert all(window(each, place) is None or (campaign.weekdays_only and not is_working_day(each, place.state)) for each in between)


def test_a_cohort_is_spread_and_not_written_to_in_one_minute() -> None:
    campaign = Campaign(send_hour=10, spread_minutes=60, weekdays_only=False)
    patient = Patient(timezone="America/New_York", state=None)
    minutes = [due_on(date(2026, 3, 2), campaign, patient, f"patient {number}").at.replace(second=0) for number in range(6000)]
    assert max(minutes.count(minute) for minute in set(minutes)) < 160
    assert max(minutes) - min(minutes) < timedelta(hours=1)


@pytest.mark.parametrize(
    ("state", "day", "hours"),
    [
        ("KY", date(2026, 3, 2), (10, 20)),
        ("TX", date(2026, 3, 1), (12, 20)),
        ("RI", date(2026, 2, 28), (10, 17)),
        ("RI", date(2026, 3, 1), None),
        ("LA", date(2026, 7, 4), None),
        ("AL", date(2026, 12, 25), None),
        ("NY", date(2026, 12, 25), (9, 20)),
    ],
)
def test_a_states_own_hours(state: str, day: date, hours: tuple[int, int] | None) -> None:
    found = window(day, Place("America/Chicago", state))
    zone = zoneinfo.ZoneInfo("America/Chicago")
    assert (found and tuple(moment.astimezone(zone).hour for moment in found)) == hours
