"""Dates, times, durations and spans of time in what people write, told from a reference time: "next Tues", "tomorrow at 3", "in two weeks", "since Monday"."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from care.moments.model import Moment, MomentKind
from care.moments.readers import Context, midnight, year_later

__all__ = ["Moment", "MomentKind", "moments_in", "named_times"]
_MAX_READ = 2_000


def moments_in(text: str, now: datetime, *, day_first: bool = False, past: bool = False) -> list[Moment]:
    """The moments in the first characters of `text`, in order, seen from `now` in the patient's zone.

    A day that may lie before or after (a weekday, a date without a year) is the next one, with `past` the last one. A time without am or pm is the one
    between 7 in the morning and 7 in the evening. `day_first` reads 5/1 as 5 January.
    """
    plain = text[:_MAX_READ].lower().replace("\u2019", "'")
    now = now.replace(tzinfo=None)
    context = Context(now, day_first, past)
    found = _joined(plain, _longest(list(context.all(plain))))
    return [_open(plain, moment) for moment in sorted(found, key=lambda moment: moment.start)]


_OPEN = re.compile(
    r"\b(?:(?P<since>since|ever since|starting)|(?P<after>after|later than)|(?P<before>before|until|till|by|prior to|up to|no later than))"
    r"(?: (?:about|around|at|on|the))? $"
)
_LATER = re.compile(r" (?:or|and) (?:later|after)\b")


def _open(plain: str, moment: Moment) -> Moment:
    """With "since", "after", "before" or "until" beside it a moment is a range without a beginning or an end."""
    if moment.first is None or (kind := _AS_RANGE.get(moment.kind)) is None:
        return moment
    if later := _LATER.match(plain, moment.end):
        return replace(moment, kind=kind, end=later.end(), until=None)
    match = _OPEN.search(plain[max(0, moment.start - 24) : moment.start])
    if match is None:
        return moment
    start = max(0, moment.start - 24) + match.start()
    if match["before"]:
        ends = moment.until if moment.until and match["before"] in ("until", "till") else moment.first
        return replace(moment, kind=kind, start=start, first=None, until=ends)
    return replace(moment, kind=kind, start=start, first=moment.until if match["after"] and moment.until else moment.first, until=None)


def named_times(text: str, now: datetime, zone: str) -> list[str]:
    """The days and hours that a patient of `zone` names, in words for a coordinator; `now` is aware of its zone."""
    local = now.astimezone(ZoneInfo(zone))
    told = []
    for moment in moments_in(text, local):
        ends = [_worded(each, with_day="date" in moment.kind, with_hour="time" in moment.kind) if each else "" for each in (moment.first, moment.until)]
        if moment.kind in _AS_RANGE.values():
            told.append(" to ".join(ends) if all(ends) else f"from {ends[0]}" if ends[0] else f"until {ends[1]}")
        elif ends[0]:
            told.append(ends[0])
    return told


def _worded(moment: datetime, *, with_day: bool, with_hour: bool) -> str:
    day = f"{moment:%A} {moment.day} {moment:%B}"
    return " ".join(([day] if with_day else []) + ([f"{moment:%H:%M}"] if with_hour else []))


def _longest(found: list[Moment]) -> list[Moment]:
    """Those that lie in no longer one."""
    kept: list[Moment] = []
    for moment in sorted(found, key=lambda each: (each.start - each.end, each.start)):
        if all(moment.end <= other.start or moment.start >= other.end for other in kept):
            kept.append(moment)
    return sorted(kept, key=lambda each: each.start)


_BETWEEN = re.compile(r"[\s,]*(?:at|on|in the|for|around|about|by|from|between|@|,|-)?[\s,]*")
_AND = re.compile(r",? (?:and )?")
_TO = re.compile(r"\s*(?:-|\u2013|to|till|until|through|thru|and)\s*")


def _joined(plain: str, found: list[Moment]) -> list[Moment]:
    """A day and a time beside each other are one moment; two with "to" between them are a range."""
    merged: list[Moment] = []
    for moment in found:
        last = merged[-1] if merged else None
        gap = plain[last.end : moment.start] if last else ""
        both = _together(last, moment) if last and _BETWEEN.fullmatch(gap) else None
        if last and last.kind is moment.kind is MomentKind.DURATION and _AND.fullmatch(gap):
            both = replace(last, end=moment.end, seconds=(last.seconds or 0) + (moment.seconds or 0))
        if last and both is None and _TO.fullmatch(gap):
            both = _from_to(plain, last, moment)
        if both is None:
            merged.append(moment)
        else:
            merged[-1] = both
    return merged


def _together(one: Moment, other: Moment) -> Moment | None:
    day = next((each for each in (one, other) if each.kind is MomentKind.DATE), None)
    clock = next((each for each in (one, other) if each.kind in (MomentKind.TIME, MomentKind.TIME_RANGE)), None)
    part = next((each for each in (one, other) if each.kind is MomentKind.DATETIME_RANGE), None)
    if part and part.first and clock and clock.first and part.first.hour >= 12 and part.until:
        day = replace(part, first=midnight(part.first))
        if clock.first.hour < 12:
            noon = timedelta(hours=12)
            clock = replace(clock, first=clock.first + noon, until=clock.until + noon if clock.until else None)
    if day is None or clock is None or day.first is None or clock.first is None:
        return None
    first = datetime.combine(day.first, clock.first.time())
    if clock.kind is MomentKind.TIME:
        return replace(clock, kind=MomentKind.DATETIME, first=first, start=one.start, end=other.end)
    until = first + (clock.until - clock.first) if clock.until else None
    return replace(clock, kind=MomentKind.DATETIME_RANGE, first=first, until=until, start=one.start, end=other.end)


_AS_RANGE = {MomentKind.DATE: MomentKind.DATE_RANGE, MomentKind.TIME: MomentKind.TIME_RANGE, MomentKind.DATETIME: MomentKind.DATETIME_RANGE,
             MomentKind.DATE_RANGE: MomentKind.DATE_RANGE}  # fmt: skip


def _from_to(plain: str, one: Moment, other: Moment) -> Moment | None:
    if one.first is None or other.first is None or one.kind not in _AS_RANGE:
        return None
    if one.kind is MomentKind.DATETIME and other.kind is MomentKind.TIME:
        until = datetime.combine(one.first, other.first.time())
    elif one.kind is other.kind:
        until = other.first
    else:
        return None
    if until <= one.first:
        until = until + timedelta(hours=12) if one.kind is not MomentKind.DATE and until.hour < 12 else year_later(until)
    before = re.search(r"(?:from|between)\s+$", plain[: one.start])
    return Moment(_AS_RANGE[one.kind], before.start() if before else one.start, other.end, one.first, until)
