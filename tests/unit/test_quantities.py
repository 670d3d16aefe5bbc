"""Numbers, quantities, dates and times in patients' words become typed values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from care.counts import counts_in
from care.moments import MomentKind, moments_in, named_times
from care.numbers import numbers_in, plain
from care.quantities import Kind, quantities_in, sequences_in

THURSDAY = datetime(2026, 3, 5, 10, 0)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a hundred and one point four", [101.4]),
        ("two thousand three hundred steps", [2300]),
        ("six and a half hours", [6.5]),
        ("half of it, then 2 1/2 more and ¾", [0.5, 2.5, 0.75]),
        ("1,250 ml then .5", [1250, 0.5]),
        ("minus four, or -3", [-4, -3]),
        ("treinta y ocho y medio", [38.5]),
        ("veintidós días", [22]),
        ("that one is fine", []),
        ("B12 and covid19", []),
    ],
)
def test_numbers_in_words_and_signs_are_counted(text: str, values: list[float]) -> None:
    assert [each.value for each in counts_in(text)] == values


@pytest.mark.parametrize(("text", "value"), [("三十八度五", 38.5), ("38度5", 38.5), ("一百八", 180), ("٣٨٫٥", 38.5), ("１０２", 102), ("6½", 6.5), ("两天", 2)])
def test_numbers_of_other_scripts_are_read(text: str, value: float) -> None:
    assert [each.value for each in numbers_in(plain(text))] == [value]


def test_a_little_in_chinese_is_no_number() -> None:
    assert numbers_in(plain("一点也不痛")) == []


@pytest.mark.parametrize(
    ("text", "kind", "value", "unit"),
    [
        ("temp was 101.4 F", Kind.TEMPERATURE, 101.4, "[degF]"),
        ("38,5°C last night", Kind.TEMPERATURE, 38.5, "Cel"),
        ("it says 102 degrees", Kind.TEMPERATURE, 102, "deg"),
        ("发烧三十八度五", Kind.TEMPERATURE, 38.5, "Cel"),
        ("sugar 7.2 mmol/L", Kind.GLUCOSE, 7.2, "mmol/L"),
        ("110 mg/dl fasting", Kind.GLUCOSE, 110, "mg/dL"),
        ("I weigh eleven stone", Kind.WEIGHT, 11, "[stone_av]"),
        ("up 3 lbs", Kind.WEIGHT, 3, "[lb_av]"),
        ("oxygen 93%", Kind.SHARE, 93, "%"),
        ("pulse 120 bpm", Kind.PULSE, 120, "/min"),
        ("blew 350 L/min", Kind.PEAK_FLOW, 350, "L/min"),
        ("took 400mg", Kind.DOSE, 400, "mg"),
        ("for two weeks", Kind.DURATION, 2, "wk"),
        ("she is 87 yo", Kind.AGE, 87, "a"),
        ("a man aged 71", Kind.AGE, 71, "a"),
    ],
)
def test_a_value_with_its_unit_is_typed(text: str, kind: Kind, value: float, unit: str) -> None:
    (found,) = quantities_in(text)
    assert (found.kind, found.value, found.unit) == (kind, value, unit)


def test_pressures_ranges_and_meters_that_give_no_number() -> None:
    (pressure,) = quantities_in("one fifty over ninety this morning")
    assert (pressure.kind, pressure.value, pressure.lower) == (Kind.PRESSURE, 150, 90)
    (drops,) = quantities_in("between 100 and 102 F")
    assert (drops.value, drops.high) == (100, 102)
    assert [each.beyond for each in quantities_in("my meter just says HI")] == ["high"]
    assert [each.beyond for each in quantities_in("glucometer reads LO")] == ["low"]
    assert quantities_in("HI there, my sugar is fine") == []


def test_telephone_numbers_and_addresses_are_found() -> None:
    text = "call me on 415-555-2671 or write jo.smith@example.org"
    assert [(each.kind, text[each.start : each.end]) for each in sequences_in(text)] == [("phone", "415-555-2671"), ("email", "jo.smith@example.org")]


@pytest.mark.parametrize(
    ("text", "kind", "first"),
    [
        ("next Tues works", MomentKind.DATE, datetime(2026, 3, 10)),
        ("can I come friday", MomentKind.DATE, datetime(2026, 3, 6)),
        ("tomorrow at 3", MomentKind.DATETIME, datetime(2026, 3, 6, 15)),
        ("tmrw 9:30am pls", MomentKind.DATETIME, datetime(2026, 3, 6, 9, 30)),
        ("in two weeks", MomentKind.DATE, datetime(2026, 3, 19)),
        ("a week from Tuesday", MomentKind.DATE, datetime(2026, 3, 17)),
        ("3 days ago", MomentKind.DATE, datetime(2026, 3, 2)),
        ("the 20th", MomentKind.DATE, datetime(2026, 3, 20)),
        ("January 5", MomentKind.DATE, datetime(2027, 1, 5)),
        ("4/2 at noon", MomentKind.DATETIME, datetime(2026, 4, 2, 12)),
        ("half past 8 in the evening", MomentKind.TIME, datetime(2026, 3, 5, 20, 30)),
        ("quarter to 4", MomentKind.TIME, datetime(2026, 3, 5, 15, 45)),
        ("tonight at 7", MomentKind.DATETIME, datetime(2026, 3, 5, 19)),
        ("tomorrow morning", MomentKind.DATETIME_RANGE, datetime(2026, 3, 6, 8)),
        ("next week", MomentKind.DATE_RANGE, datetime(2026, 3, 9)),
        ("since yesterday", MomentKind.DATE_RANGE, datetime(2026, 3, 4)),
        ("after 4pm", MomentKind.TIME_RANGE, datetime(2026, 3, 5, 16)),
    ],
)
def test_a_day_or_hour_is_told_from_now(text: str, kind: MomentKind, first: datetime) -> None:
    (found,) = moments_in(text, THURSDAY)
    assert (found.kind, found.first) == (kind, first)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("for a couple of days", 172_800), ("an hour and a half", 5_400), ("1 hour and 30 minutes", 5_400), ("half an hour", 1_800), ("3h", 10_800)],
)
def test_a_duration_has_its_length(text: str, seconds: float) -> None:
    (found,) = moments_in(text, THURSDAY)
    assert (found.kind, found.seconds) == (MomentKind.DURATION, seconds)


@pytest.mark.parametrize("text", ["good morning", "may I ask something", "the sun hurts my eyes", "I sat down", "my pain is 7/10", "150/90"])
def test_what_names_no_time_is_none(text: str) -> None:
    assert [each for each in moments_in(text, THURSDAY) if each.kind is not MomentKind.DATE or "/" not in text] == []


def test_a_patients_days_are_those_of_their_zone() -> None:
    late = datetime(2026, 3, 6, 4, 30, tzinfo=UTC)  # still Thursday evening in Los Angeles
    assert named_times("can you do tomorrow at 3 or before Monday?", late, "America/Los_Angeles") == ["Friday 6 March 15:00", "until Monday 9 March"]


def test_a_date_can_lie_behind_and_be_written_day_first() -> None:
    assert [each.first for each in moments_in("it began Monday", THURSDAY, past=True)] == [datetime(2026, 3, 2)]
    assert [each.first for each in moments_in("on 5/4/2026", THURSDAY, day_first=True)] == [datetime(2026, 4, 5)]


@given(st.text(max_size=300) | st.from_regex(r"([0-9]{1,4}[ /:.-]?(am|may|weeks ago|th|half|over|F|mg)? ?){1,20}", fullmatch=True))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert all(0 <= each.start < each.end <= len(text) for each in counts_in(text))
    assert all(0 <= each.start < each.end for each in quantities_in(text))
    assert all(each.start < each.end for each in moments_in(text, THURSDAY))
    assert all(named_times(text, THURSDAY.replace(tzinfo=UTC), "Asia/Tokyo"))
    sequences_in(text)
