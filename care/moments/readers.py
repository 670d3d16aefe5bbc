"""One reader a way of telling a moment: a pattern, and what its match means from the reference time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, time, timedelta

from care.moments.model import Moment, MomentKind
from care.moments.words import (
    ANY_DAY,
    DAY,
    HOUR,
    MONTH,
    MONTHS,
    OF_DAY,
    ORDINAL,
    ORDINALS,
    PART,
    PARTS,
    SECONDS,
    UNIT,
    UNIT_DAYS,
    WEEKDAY,
    WEEKDAYS,
    WHICH,
    YEAR,
    N,
)
from care.numbers import spoken


def year_later(moment: datetime) -> datetime:
    """The same day a year on."""
    return _shifted(moment, 12)


def _shifted(moment: datetime, months: int) -> datetime:
    """`months` later, on the last day of a shorter month."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    if not 1 <= year <= 9998:
        return moment
    for day in range(moment.day, 27, -1):
        try:
            return moment.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    return moment.replace(year=year, month=month + 1)


def midnight(moment: datetime) -> datetime:
    """The beginning of its day."""
    return datetime.combine(moment.date(), time())


def _count(words: str) -> float:
    words = words.strip()
    if words.removeprefix("a ").removeprefix("the ").startswith(("half", "½")):
        return 0.5
    if "couple" in words:
        return 2.0
    if words in ("a", "an", "another", "the", "all", "whole", "the whole"):
        return 1.0
    if words.removeprefix("a ") in ("few", "several", "some"):
        return 3.0
    if " and" in words or " 1/2" in words:
        return _count(words.split(" and")[0].split(" 1/2")[0]) + 0.5
    try:
        return float(words)
    except ValueError:
        said = spoken(words.replace("-", " ").split())
        return said[0] if said else 1.0


def _month_of(word: str) -> int:
    return next(number for number, name in enumerate(MONTHS, 1) if name.startswith(word[:3]))


def _weekday_of(word: str) -> int:
    return next(number for number, name in enumerate(WEEKDAYS) if name.startswith(word[:3]))


def _day_of(word: str) -> int:
    if word[0].isdigit():
        return int(re.sub(r"\D", "", word))
    return ORDINALS.index(re.sub(r" ", "-", word)) + 1


class Context:
    """What a moment is told from."""

    def __init__(self, now: datetime, day_first: bool, past: bool) -> None:
        self.now, self.today, self.day_first, self.past = now, midnight(now), day_first, past

    def all(self, plain: str) -> Iterator[Moment]:
        for pattern, read in _READERS:
            for match in pattern.finditer(plain):
                try:
                    moment = read(self, match)
                except (ValueError, OverflowError):
                    continue
                if moment is not None:
                    yield replace(moment, start=match.start(), end=match.end())

    def on(self, day: datetime) -> Moment:
        return Moment(MomentKind.DATE, 0, 0, day)

    def between(self, first: datetime, until: datetime) -> Moment:
        return Moment(MomentKind.DATE_RANGE, 0, 0, first, until)

    def dated(self, year: int | None, month: int, day: int) -> Moment:
        if year is not None:
            return self.on(datetime(year, month, day))
        for ahead in (0, 1, 2, 3, 4):
            year = self.today.year + (-ahead if self.past else ahead)
            try:
                found = datetime(year, month, day)
            except ValueError:
                continue
            if (found <= self.today) if self.past else (found >= self.today):
                return self.on(found)
        raise ValueError(day)

    def moved(self, count: float, unit: str) -> datetime:
        """The reference time `count` units later."""
        if unit in SECONDS:
            return self.now + timedelta(seconds=count * SECONDS[unit])
        if unit in UNIT_DAYS:
            return self.now + timedelta(days=count * UNIT_DAYS[unit])
        return _shifted(self.now, round(count * (12 if unit == "year" else 1)))


def _relative(context: Context, match: re.Match[str]) -> Moment:
    """ "In two weeks", "3 days ago", "two hours from now"."""
    unit, ago = match["unit"], bool(match["ago"]) and match["ago"] in ("ago", "back", "earlier")
    at = context.moved(_count(match["n"]) * (-1 if ago else 1), unit)
    return Moment(MomentKind.DATETIME, 0, 0, at.replace(microsecond=0)) if unit in SECONDS else context.on(midnight(at))


def _near_day(context: Context, match: re.Match[str]) -> Moment:
    words = match.group(0)
    days = 0
    if "tom" in words or "tmr" in words:
        days = 2 if "after" in words else 1
    elif "yesterday" in words:
        days = -2 if "before" in words else -1
    return context.on(context.today + timedelta(days=days))


def _weekday(context: Context, match: re.Match[str]) -> Moment:
    """ "Friday": the nearest to come or gone; "next Friday": of next week; "this Friday": of this one."""
    wanted, which = _weekday_of(match["weekday"]), (match["which"] or "").strip()
    monday = context.today - timedelta(days=context.today.weekday())
    ahead = (wanted - context.today.weekday()) % 7
    if which in ("next", "following"):
        return context.on(monday + timedelta(days=7 + wanted))
    if which in ("last", "previous"):
        return context.on(monday + timedelta(days=wanted - 7))
    if which in ("this", "current"):
        return context.on(monday + timedelta(days=wanted))
    if which in ("past", "this past") or (not which and context.past):
        return context.on(context.today - timedelta(days=(context.today.weekday() - wanted) % 7 or 7))
    return context.on(context.today + timedelta(days=ahead or (7 if which else 0)))


def _from_day(context: Context, match: re.Match[str]) -> Moment | None:
    """ "A week from Tuesday"."""
    if match["unit"] in SECONDS:
        return None
    day = _weekday(context, match).first if match["weekday"] else context.today + timedelta(days=match["from"] == "tomorrow")
    return context.on(Context(day, False, False).moved(_count(match["n"]), match["unit"])) if day else None


def _weekday_and_day(context: Context, match: re.Match[str]) -> Moment | None:
    wanted, day = _weekday_of(match["weekday"]), _day_of(match["day"])
    for months in range(48):
        month = _shifted(context.today.replace(day=1), -months if context.past else months)
        try:
            found = month.replace(day=day)
        except ValueError:
            continue
        if found.weekday() == wanted and ((found <= context.today) if context.past else (found >= context.today)):
            return context.on(found)
    return None


def _named(context: Context, match: re.Match[str]) -> Moment:
    year = match["year"]
    return context.dated(int(year) if year else None, _month_of(match["month"]), _day_of(match["day"]))


def _numeric(context: Context, match: re.Match[str]) -> Moment:
    one, other, year = int(match["one"]), int(match["other"]), match["year"]
    first, second = (other, one) if (context.day_first and other <= 12) or one > 12 else (one, other)
    whole = None if year is None else int(year) + (0 if len(year) == 4 else 2000 if int(year) < 70 else 1900)
    return context.dated(whole, first, second)


def _iso(context: Context, match: re.Match[str]) -> Moment:
    return context.dated(int(match["year"]), int(match["one"]), int(match["other"]))


def _nth(context: Context, match: re.Match[str]) -> Moment:
    """ "The 5th": of this month, or of the next where it has gone."""
    day = _day_of(match["day"])
    for months in range(3):
        month = _shifted(context.today.replace(day=1), -months if context.past else months)
        try:
            found = month.replace(day=day)
        except ValueError:
            continue
        if (found <= context.today) if context.past else (found >= context.today):
            return context.on(found)
    raise ValueError(day)


def _clock(context: Context, match: re.Match[str]) -> Moment:
    hour, minute = int(_count(match["hour"])), int(match["minute"] or 0)
    half = (match["half"] or "").replace(".", "").replace(" ", "") or {"morning": "am"}.get(match["part"] or "", "pm" if match["part"] else "")
    if half:
        if not 1 <= hour <= 12 and hour > 12:
            raise ValueError(hour)
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    elif 1 <= hour < 7:
        hour += 12
    return Moment(MomentKind.TIME, 0, 0, datetime.combine(context.today, time(hour % 24, minute, int(match.groupdict().get("second") or 0))))


def _past_the_hour(context: Context, match: re.Match[str]) -> Moment:
    minutes = {"half": 30, "quarter": 15, "a quarter": 15}.get(match["minutes"].strip()) or int(_count(match["minutes"]))
    hour = int(_count(match["hour"]))
    half = (match["half"] or "").replace(".", "") or {"": "", "morning": "am"}.get(match["part"] or "", "pm")
    hour = hour % 12 + 12 if half == "pm" or (not half and 1 <= hour < 7) else hour
    at = datetime.combine(context.today, time(hour % 24)) + timedelta(minutes=-minutes if match["way"] in ("to", "til", "till", "before") else minutes)
    return Moment(MomentKind.TIME, 0, 0, at)


def _hours(context: Context, match: re.Match[str]) -> Moment | None:
    """ "From 5 to 6pm", "7-7:30 in the evening"; two bare numbers are no times unless "from" or "between" stands before."""
    half = (match["half2"] or match["half"] or "").replace(".", "") or {"": "", "morning": "am"}.get(match["part"] or "", "pm")
    if not half and not (match["minute"] or match["minute2"] or match["lead"]):
        return None
    hours = [int(_count(match["hour"])), int(_count(match["hour2"]))]
    if half and max(hours) > 12:
        return None
    late = half == "pm" or (not half and 1 <= hours[0] < 7)
    first, until = (hour % 12 + 12 if late and hour <= 12 else hour for hour in hours)
    if match["half"] and match["half"].startswith("a"):
        first = hours[0] % 12
    elif first > until:
        first -= 12
    clocks = [
        datetime.combine(context.today, time(max(0, hour) % 24, int(minute or 0))) for hour, minute in ((first, match["minute"]), (until, match["minute2"]))
    ]
    return Moment(MomentKind.TIME_RANGE, 0, 0, clocks[0], clocks[1])


def _noon(context: Context, match: re.Match[str]) -> Moment:
    return Moment(MomentKind.TIME, 0, 0, datetime.combine(context.today, time(0 if "night" in match.group(0) else 12)))


def _part(context: Context, match: re.Match[str]) -> Moment:
    low, high = PARTS[match["part"]]
    first = datetime.combine(context.today, time(low))
    until = first + timedelta(hours=high - low)
    if match["part"] == "tonight" or (match["which"] or "").strip() == "this":
        return Moment(MomentKind.DATETIME_RANGE, 0, 0, first, until)
    if (match["which"] or "").strip() == "last":
        return Moment(MomentKind.DATETIME_RANGE, 0, 0, first - timedelta(days=1), until - timedelta(days=1))
    return Moment(MomentKind.TIME_RANGE, 0, 0, first, until)


def _duration(context: Context, match: re.Match[str]) -> Moment:
    unit, count = match["unit"].rstrip("s"), _count(match["n"])
    if match["half"]:
        count += 0.5
    days = {"month": 30, "year": 365, "weekend": 2, "night": 1, "d": 1, "w": 7, "y": 365} | UNIT_DAYS
    unit = "hour" if unit == "h" else unit
    return Moment(MomentKind.DURATION, 0, 0, seconds=count * (SECONDS[unit] if unit in SECONDS else days[unit] * 86400))


def _whole(context: Context, match: re.Match[str]) -> Moment:
    """ "This week", "next month", "last year", "the weekend"."""
    step = {"next": 1, "coming": 1, "upcoming": 1, "following": 1, "last": -1, "previous": -1, "past": -1}.get((match["which"] or "this").split()[0], 0)
    unit = match["unit"]
    if unit == "quarter":
        first = _shifted(context.today.replace(month=(context.today.month - 1) // 3 * 3 + 1, day=1), 3 * step)
        return context.between(first, _shifted(first, 3))
    if unit in ("week", "weekend"):
        monday = context.today + timedelta(days=7 * step - context.today.weekday())
        first = monday + timedelta(days=5 if unit == "weekend" else 0)
        return context.between(first, monday + timedelta(days=7))
    if unit == "month":
        first = _shifted(context.today.replace(day=1), step)
        return context.between(first, _shifted(first, 1))
    first = context.today.replace(year=context.today.year + step, month=1, day=1)
    return context.between(first, _shifted(first, 12))


def _several(context: Context, match: re.Match[str]) -> Moment:
    """ "The last three days", "next 2 weeks"."""
    count, unit = _count(match["n"]), match["unit"].rstrip("s")
    if unit in SECONDS:
        other = context.moved(-count if match["which"] in ("last", "past", "previous") else count, unit)
        return Moment(MomentKind.DATETIME_RANGE, 0, 0, min(context.now, other), max(context.now, other))
    if match["which"] in ("last", "past", "previous"):
        return context.between(midnight(context.moved(-count, unit)), context.today)
    tomorrow = context.today + timedelta(days=1)
    return context.between(tomorrow, midnight(Context(tomorrow, False, False).moved(count, unit)))


def _month(context: Context, match: re.Match[str]) -> Moment | None:
    word, which = match["month"], (match["which"] or "").strip()
    month, year = _month_of(word), context.today.year
    if word == "may" and (which == "this" or not (which or match["year"] or match["lead"])):
        return None
    if match["year"]:
        year = int(match["year"])
    elif which in ("next", "last", "previous"):
        year += 1 if which == "next" else -1
    elif which == "" and (month > context.today.month if context.past else month < context.today.month):
        year += -1 if context.past else 1
    first = datetime(year, month, 1)
    return context.between(first, _shifted(first, 1))


def _year(context: Context, match: re.Match[str]) -> Moment:
    first = datetime(int(match["year"]), 1, 1)
    return context.between(first, _shifted(first, 12))


def _within(context: Context, match: re.Match[str]) -> Moment:
    until = context.moved(_count(match["n"]), match["unit"])
    if match["unit"] in SECONDS:
        return Moment(MomentKind.DATETIME_RANGE, 0, 0, context.now, until)
    return context.between(context.today, midnight(until))


def _repeated(context: Context, match: re.Match[str]) -> Moment:
    return Moment(MomentKind.REPEATED, 0, 0)


def _now(context: Context, match: re.Match[str]) -> Moment:
    return Moment(MomentKind.DATETIME, 0, 0, context.now)


_CALENDAR = r"(?P<unit>day|week|fortnight|month|year|hour|hr|minute|min|second|sec)s?\b"
_READERS: list[tuple[re.Pattern[str], Callable[[Context, re.Match[str]], Moment | None]]] = [
    (re.compile(pattern), read)
    for pattern, read in (
        (rf"\bin (?P<n>{N}) {_CALENDAR}(?: time)?(?P<ago>)", _relative),
        (rf"\b(?P<n>{N}) {_CALENDAR} (?P<ago>ago|back|earlier|later|from now|from today|hence|after today)\b", _relative),
        (r"\b(?:(?:the )?day after tom+or+ow|(?:the )?day before yesterday|tom+or+ow|tmrw?|2morrow|yesterday|today|the day)\b", _near_day),
        (rf"\b(?:(?:on )?{WHICH} )?{WEEKDAY}", _weekday),
        (rf"\b(?P<n>{N}) {_CALENDAR} (?:from|after) (?P<from>tomorrow|today|(?:(?P<which>next|this) )?{WEEKDAY})", _from_day),
        (rf"\b{WEEKDAY} (?:of |the |in )?(?P<which>next|last|this|previous) week\b", _weekday),
        (rf"\b{WEEKDAY},? (?:the )?(?P<day>(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)|{ORDINAL})\b", _weekday_and_day),
        (rf"\b(?:{WEEKDAY},? )?{MONTH},?[ /-]*(?:the )?{DAY}(?!:)(?:[ ,/-]+(?:of )?{YEAR})?", _named),
        (rf"\b(?:{WEEKDAY},? )?(?:the )?{DAY}(?: day)?[ /-]*(?:of )?{MONTH}(?:[ ,/-]+(?:of )?{YEAR})?", _named),
        (rf"\b(?:{WEEKDAY},? )?(?<![\d/.-])(?P<one>\d{{1,2}})[/-](?P<other>\d{{1,2}})(?:[/-](?P<year>\d{{4}}|\d\d))?(?![\d/-])", _numeric),
        (r"\b(?P<one>\d{1,2})\.(?P<other>\d{1,2})\.(?P<year>\d{4}|\d\d)\b", _numeric),
        (r"\b(?:(?:mon|tues|wednes|thurs|fri|satur|sun)day,? )?(?P<year>(?:19|20)\d\d)[/. -](?P<one>\d{1,2})[/. -](?P<other>\d{1,2})\b", _iso),
        (rf"\bthe (?P<day>(?:3[01]|[12]\d|0?[1-9])(?:st|nd|rd|th)|{ORDINAL})\b(?! (?:time|day|one|week|month|year|of))", _nth),
        (r"\b(?P<hour>[01]?\d|2[0-4])(?:[:.h](?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?)? ?(?P<half>[ap]\.?m?\.?(?![\w]))(?P<part>)", _clock),
        (rf"\b(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?\b(?! ?[ap]\.?m)(?P<half>){OF_DAY}", _clock),
        (rf"\b(?P<hour>{HOUR}) ?o'? ?clock(?P<minute>)(?: ?(?P<half>[ap]\.?m)\b)?{OF_DAY}", _clock),
        (
            rf"(?:\bat|@) ?(?P<hour>{HOUR})(?:[:.](?P<minute>[0-5]\d))?\b(?![:.%/]\d| ?(?:[ap]\.?m\b|mg|ml|percent|%|o'?clock|days?|weeks?|hours?"
            rf"|least|months?|years?))(?P<half>){OF_DAY}",
            _clock,
        ),
        (rf"\b(?P<hour>{HOUR})(?P<minute>) (?P<half>)in the (?P<part>morning|afternoon|evening)", _clock),
        (
            rf"\b(?<!:)(?P<minutes>half|(?:a )?quarter|\d{{1,2}}|five|ten|fifteen|twenty|twenty[ -]five)(?: minutes?| mins?)? (?P<way>past|after|to"
            rf"|til|till|before) (?P<hour>{HOUR})\b(?: ?(?P<half>[ap]\.?m)\b)?{OF_DAY}",
            _past_the_hour,
        ),
        (
            rf"(?P<lead>\bfrom |\bbetween |\b)(?P<hour>{HOUR})(?::(?P<minute>[0-5]\d))? ?(?P<half>[ap]\.?m)?\b ?(?:-|to|till|until|and|–) ?"
            rf"(?P<hour2>{HOUR})(?::(?P<minute2>[0-5]\d))? ?(?P<half2>[ap]\.?m\b)?(?![\d/:-])(?: in the (?P<part>morning|afternoon|evening))?",
            _hours,
        ),
        (r"\b(?:noon|midday|mid[- ]?night)(?:ish)?\b", _noon),
        (r"\b(?<!good )(?:in the |at |(?P<which>this|last) )?(?P<part>morning|afternoon|evening|night|tonight|lunchtime|business hours)\b", _part),
        (rf"(?:\b|(?=½))(?P<n>{N}|all|the whole|whole)[ -]?(?P<unit>{UNIT}|weekends?|nights?)\b(?P<half> and (?:a )?half)?(?![ -]old| of age)", _duration),
        (r"(?<![\w.])(?P<n>\d{1,3}) ?(?P<unit>h|d|w|y)\b(?P<half>)", _duration),
        (rf"\b(?:the )?{WHICH} (?P<unit>week|weekend|month|year|quarter)\b", _whole),
        (r"\b(?:the )(?P<which>)(?P<unit>week(?:end)?)\b", _whole),
        (
            rf"\b(?:the )?(?P<which>last|past|previous|next|coming) (?P<n>{N}|few|several) (?P<unit>days|weeks|months|years|hours|hrs|minutes|mins)\b",
            _several,
        ),
        (rf"\b(?:(?P<lead>in|since|during|of|by|from) )?(?:{WHICH} )?{MONTH}(?:[ ,/-]+(?:of )?{YEAR})?(?! ?\d)", _month),
        (rf"(?<![\d$.,/-]){YEAR}(?![,.]?\d|[/-])", _year),
        (rf"\b(?:every|each) ?(?:other |single |{N} |few )?(?:{UNIT}|weekends?|{PART}|{ANY_DAY}|weekday)s?\b", _repeated),
        (r"\b(?:(?:once|twice|\d+ ?(?:times|x)|(?:two|three|four) times) (?:a|per|an|each|every) (?:day|week|month|year|hour|night)|\w*daily)\b", _repeated),
        (rf"\b(?:weekly|monthly|quarterly|yearly|annually|hourly|biweekly|nightly|(?:{ANY_DAY})s|(?:(?:{ANY_DAY}) )?(?:{PART})s)\b", _repeated),
        (rf"\bwithin (?:the next )?(?P<n>{N}) {_CALENDAR}", _within),
        (r"\b(?:right now|now|at the moment|asap|as soon as possible)\b", _now),
    )
]  # fmt: skip
