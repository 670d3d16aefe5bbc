"""When a patient may be written to: local hours, narrowed by the state's, whatever the clock does that day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import holidays

from care.knowledge import knowledge

LONGEST_CLOSED = 15
"""Days: no state's hours and no calendar leave none open for so long."""
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True)
class Place:
    """Where a patient is: an IANA time zone and, where known, the two letters of a US state."""

    zone: str
    state: str | None = None


def local_moment(day: date, hour: time, zone: str) -> datetime:
    """The moment of a local wall-clock time; one that a clock change skips is taken an hour later, one that comes twice the first time."""
    return datetime.combine(day, hour, ZoneInfo(zone)).astimezone(_UTC)


def window(day: date, place: Place) -> tuple[datetime, datetime] | None:
    """From when until when the patient may be written to on this local day; None where not at all."""
    known = knowledge().quiet_hours
    begins, ends = time.min, time.max
    for rule in [known["default"], *([known[place.state]] if place.state in known else [])]:
        hours = rule.hours(day.weekday(), holiday=is_holiday(day, place.state))
        if hours is None:
            return None
        begins, ends = max(begins, hours[0]), min(ends, hours[1])
    return (local_moment(day, begins, place.zone), local_moment(day, ends, place.zone)) if begins < ends else None


def next_open(moment: datetime, place: Place) -> datetime:
    """`moment`, or the first one after it at which the patient may be written to."""
    day = moment.astimezone(ZoneInfo(place.zone)).date()
    for later in range(LONGEST_CLOSED):
        hours = window(day + timedelta(days=later), place)
        if hours is not None and moment < hours[1]:
            return max(moment, hours[0])
    raise ValueError(f"no open hour in {LONGEST_CLOSED} days: the quiet hours of {place.state} leave none")


def closes(moment: datetime, place: Place) -> datetime:
    """When the hours that hold `moment` end; `moment` itself outside of them."""
    hours = window(moment.astimezone(ZoneInfo(place.zone)).date(), place)
    return hours[1] if hours is not None and hours[0] <= moment < hours[1] else moment


def make_ready() -> None:
    """Reads the calendars now, not with the first contact: it takes a second."""
    is_holiday(date.today(), None)


def is_holiday(day: date, state: str | None) -> bool:
    """Whether the day is a public holiday of the United States or of the state."""
    return day in _holidays(state)


def is_working_day(day: date, state: str | None) -> bool:
    """Whether the day is neither of the weekend nor a public holiday."""
    return day.weekday() < 5 and not is_holiday(day, state)


@cache
def _holidays(state: str | None) -> holidays.HolidayBase:
    try:
        return holidays.country_holidays("US", subdiv=state)
    except NotImplementedError:
        return holidays.country_holidays("US")
