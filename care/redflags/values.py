"""Measured values in the words of a clause, each in one unit, whatever the patient wrote it in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from care.knowledge.patterns import Reading
from care.numbers import spoken

_FEVER_WORDS = frozenset(
    [
        "temp",
        "temps",
        "temperature",
        "fever",
        "feverish",
        "thermometer",
        "fiebre",
        "temperatura",
        "fahrenheit",
        "celsius",
        "degrees",
        "degree",
        "deg",
        "grados",
        "pyrexia",
        "烧",
        "温",
    ]
)
_SUGAR_WORDS = frozenset(
    [
        "sugar",
        "sugars",
        "glucose",
        "bg",
        "bs",
        "bgl",
        "meter",
        "metre",
        "monitor",
        "sensor",
        "libre",
        "dexcom",
        "cgm",
        "glucometer",
        "bloodsugar",
        "bloodsugars",
        "azucar",
        "glucosa",
        "ketones",
        "ketone",
        "hypo",
        "prick",
        "fingerprick",
        "readings",
        "levels",
        "糖",
    ]
)
_OXYGEN_WORDS = frozenset(
    ["oxygen", "sats", "spo2", "ox", "oximeter", "saturation", "saturations", "saturacion", "oxigeno", "pulseox", "clip", "oxy", "probe", "氧"]
)
_PULSE_WORDS = frozenset(["pulse", "heart", "heartbeat", "hr", "bpm", "heartrate", "rate", "beats", "pulso", "ticker", "beating", "latidos", "心"])
_PRESSURE_WORDS = frozenset(["bp", "pressure", "bloodpressure", "cuff", "systolic", "over", "presion", "reading", "tension", "top", "压"])
MEASURED_WORDS = _FEVER_WORDS | _SUGAR_WORDS | _OXYGEN_WORDS | _PULSE_WORDS | _PRESSURE_WORDS
"""The words that a number stands beside."""
_TELLS_ITS_KIND = (
    _OXYGEN_WORDS
    | _SUGAR_WORDS
    | (_PULSE_WORDS - {"heart", "beating", "ticker", "心"})
    | frozenset(["temp", "temps", "temperature", "temperatura", "bp", "bloodpressure", "systolic", "weight", "weighs", "weighed", "peso"])
    | frozenset(["age", "aged"])
)
"""A number that follows one of these at once is of that kind."""
_LEADING = frozenset(["is", "was", "of", "at", "about", "around", "are", "were", "now", "reads", "es", "de"])
_NO_PULSE_HOUR = frozenset(["last", "past", "an", "the", "this", "half", "every", "each", "per", "next", "first", "one"])
"""Before "hour" these say that it is none of "HR", which is read as hour."""
_OF_BREATHS = frozenset(["resp", "resps", "respiratory", "respiration", "respirations", "breathing", "breaths", "rr"])
"""Beside these a rate is none of the pulse."""
_FASTEST_BREATHS = 60
_KETONES = frozenset(["ketones", "ketone"])
_EACH = frozenset(["every", "each", "per", "cada"])
"""Before a number of hours or days these tell how often, not how long."""
_KINDS = frozenset(["type", "tipo", "stage"])
"""A number after one of these measures nothing."""
_GAIN_WORDS = frozenset(["gain", "gained", "up", "heavier", "put", "added", "more", "extra", "subi", "aumente", "increase", "increased"])
_LOW_WORDS = frozenset(
    [
        *("low", "lows", "hypo", "juice", "jelly", "shaky", "wobbly", "reading", "only", "candy", "sweaty", "dropped", "dropping", "crashed", "honey"),
        "lucozade",
    ]
)
_BEATING = frozenset(["heart", "heartbeat", "pulse", "thumping", "pounding", "racing", "hammering", "galloping", "palpitations", "ticker"])
_THEN = frozenset(["", "and", "now", "sitting", "at", "just", "bpm", "since", "resting", "when", "even", "i", "again", "it", "my", "dizzy", "beats"])
_COUNTED = frozenset({
    "pill", "pills", "tablet", "tablets", "tabs", "capsules", "doses", "sleeping", "pastillas", "paracetamol", "acetaminophen", "tylenol", "codeine",
    "cocodamol", "dihydrocodeine", "tramadol", "oxycodone", "oxycontin", "oxys", "percs", "percocet", "morphine", "norco", "hydrocodone", "vicodin", "endone",
    "ibuprofen", "aspirin", "diazepam", "valium", "xanax", "lorazepam", "ambien", "benadryl", "metoprolol", "bisoprolol", "insulin", "warfarin",
    "gabapentin", "pregabalin",
})  # fmt: skip
"""What a number of is counted as pills."""
_WEIGHT_WORDS = frozenset(["weight", "weigh", "weighed", "weighs", "scale", "scales", "peso", "kg", "kgs", "kilos", "lbs", "lb", "pounds", "libras"])
_HOURS, _DAYS = (
    frozenset(["hour", "hours", "hr", "hrs", "h", "hora", "horas", "oor", "oors"]),
    frozenset(["day", "days", "dia", "dias", "night", "nights", "d"]),
)
_POUND, _KILO = frozenset(["lb", "lbs", "pound", "pounds", "libras"]), frozenset(["kg", "kgs", "kilo", "kilos", "kilogram", "kilograms"])
_FAHRENHEIT, _CELSIUS = frozenset({"f", "fahrenheit"}), frozenset({"c", "celsius", "centigrade", "grados"})
_TIMES = (
    frozenset(["metres", "meters", "km", "kilometres", "miles", "yards", "calories", "kcal", "teens"])
    | frozenset(["cm", "mm", "centimetres", "centimeters", "centimetre", "inch", "inches", "litres", "liters", "litre", "gram", "grams"])
    | frozenset(["dollars", "bucks", "quid", "euros", "pesos", "cents", "pence"])
    | frozenset(["am", "pm", "oclock", "mg", "ml", "mcg", "minutes", "min", "mins", "minute", "weeks", "week", "months", "years", "units", "pads"])
    | _HOURS
    | _DAYS
)
_OF = frozenset({"out", "of", "over", "de", "sobre", "on", "from"})
_ON_A_FINGER = frozenset(["finger", "peg", "gadget"])
"""Beside these a number is of oxygen, unless blood was drawn from the finger."""
_NOT_OXYGEN = frozenset(["prick", "pricked", "pricks", "sugar", "strip", "strips", "glucose", "swollen", "cut", "better", "weight"])
_NOTHING_ELSE = frozenset(["", "and", "now", "then", "again", "before", "after", "this", "at", "two", "later", "today", "even", "still", "but", "hours"])
_ONWARD = frozenset(["to", "then", "now", "down", "dropped", "fell", "fallen", "went", "gone", "later", "a", "hasta", "luego", "ahora", "despues", "到"])
_ON_THE_WAY = frozenset(["and", "but", "it", "its", "is", "was", "has", "just", "only", "all", "the", "way", "up", "at", "today", "y", "降", "现", "在"])
"""Words between two numbers of one kind, as in "went from 94 down to 84": at least one of the first."""
_REACH, _REACH_PAST_MOVES = 4, 2
_MOVED = frozenset({
    "has", "have", "had", "is", "was", "been", "gone", "went", "going", "goes", "shot", "dropped", "dropping", "drops", "fell", "fallen", "falling", "jumped",
    "climbed", "climbing", "crept", "rose", "risen", "rocketed", "right", "straight", "all", "the", "way", "down", "up", "to", "as", "low", "high",
    "just", "now", "only", "even", "keeps", "kept", "still", "suddenly",
})  # fmt: skip
"""These lead from what was measured to its value, however many they are: "oxygen has gone right down to 84"."""
_POUNDS_A_KILO = 2.2046
_MG_A_MMOL = 18.0
_HIGHEST_MG, _HIGHEST_MMOL = 1500, 33.3
"""A meter shows no more than 600 mg/dL; well above it are years and hours of the clock."""
_MOST_HOURS = 24


def readings(words: tuple[str, ...]) -> tuple[Reading, ...]:
    """The values, with the words they were read from.

    Temperature (degrees Celsius), sugar (mg/dL), oxygen (%), systolic, diastolic and top alone (mmHg), pulse (a minute), ketones (mmol/L), weight gain
    (pounds), pain (of 10), pills, INR, potassium (mmol/L), hours and days; of sugar without a word for it a low or a big number.
    """
    found: list[Reading] = []
    about: set[str] = set()
    before = 0
    for value, start, end in _numbers(words):
        told, about = about, _about(words, value, start, end)
        if about.isdisjoint(MEASURED_WORDS) and _goes_on(words, before, start, end):
            about |= told
        found.extend(Reading(kind, number, start, end) for kind, number in _meant(words, value, start, end, about))
        before = end
    found.extend(_pressures(words))
    found.extend(_gained(words))
    return tuple(found)


def _numbers(words: tuple[str, ...]) -> Iterator[tuple[float, int, int]]:
    at = 0
    while at < len(words):
        word = words[at]
        if word[0].isdigit():
            number, end = _with_a_fraction(words, at)
            if number is not None:
                yield number, at, end
            at = end
            continue
        said = spoken(list(words[at : at + 8]))
        if said is None:
            at += 1
            continue
        yield said[0], at, at + said[1]
        at += said[1]


def _with_a_fraction(words: tuple[str, ...], at: int) -> tuple[float | None, int]:
    """The number that begins at `at`, with what follows it as "point 2" or "and a half", and where it ends."""
    if not words[at].replace(".", "", 1).isdecimal():
        return None, at + 1
    after = words[at + 1 : at + 4]
    if "." not in words[at]:
        if len(after) > 1 and after[0] in {"point", "punto", "coma", "dot"} and after[1].isdecimal() and len(after[1]) == 1:
            return float(f"{words[at]}.{after[1]}"), at + 3
        if after in {("and", "a", "half"), ("y", "medio"), ("y", "media")} or after[:2] in {("y", "medio"), ("y", "media")}:
            return float(words[at]) + 0.5, at + 1 + len(after[:3] if after[0] == "and" else after[:2])
    return float(words[at]), at + 1


def _goes_on(words: tuple[str, ...], before: int, start: int, end: int) -> bool:
    """Whether the number at `start` is what the one that ended at `before` became: "94 down to 84"."""
    between = set(words[before:start])
    return (
        start - before <= _REACH
        and between <= _ONWARD | _ON_THE_WAY
        and not between.isdisjoint(_ONWARD)
        and (end == len(words) or words[end] in _NOTHING_ELSE | {"percent"})
    )


def _meant(words: tuple[str, ...], value: float, start: int, end: int, about: set[str]) -> Iterator[tuple[str, float]]:
    after = words[end : end + 2]
    first = "mgdl" if after == ("mg", "dl") else after[0] if after else ""
    if first == "hour" and value > _MOST_HOURS and after[1:] and after[1][0].isdigit():  # "temp 101.5 HR 130"
        first = ""
    if first == "day" and after[1:] and after[1][0].isdigit():  # "temp 38.1, day 10 of chemo"
        first = ""
    last = words[start - 1] if start else ""
    if first in _HOURS | _DAYS:
        if last not in _EACH:
            yield "hours" if first in _HOURS else "days", value
    elif last in _KINDS or words[start] == "twice" or _counts_times(words, end):
        return
    elif first in _POUND | _KILO:
        if about & _GAIN_WORDS:
            yield "weight_gain", value * (_POUNDS_A_KILO if first in _KILO else 1.0)
    elif first in _COUNTED or (first == "of" and not _COUNTED.isdisjoint(after[1:])):
        yield "pills", value
    elif _is_pain(words, value, start, end):
        yield "pain", value
    elif first not in _TIMES:
        yield from _measured(words, value, start, end, first, about)


def _counts_times(words: tuple[str, ...], end: int) -> bool:
    """ "checked it 40 times a day"; but "180 three times", and "40 times a minute"."""
    return (
        words[end : end + 1] == ("times",)
        and words[end + 1 : end + 2] in (("a",), ("each",), ("per",))
        and words[end + 2 : end + 3] not in (("minute",), ("min",))
    )


def _about(words: tuple[str, ...], value: float, start: int, end: int) -> set[str]:
    """The words that speak of the number: those around it up to the next ones, without those that lead to the next where this one has its own kind."""
    before, following = _beside(words[_reached_back(words, start) : start][::-1]), _beside(words[end : end + _REACH])
    hour = start - 2 if words[start - 1 : start] and words[start - 1] in _LEADING else start - 1
    if hour >= 0 and words[hour] == "hour" and _NO_PULSE_HOUR.isdisjoint(words[max(0, hour - 1) : hour]) and value == int(value):
        before.add("hr")
    if value <= _FASTEST_BREATHS and any(word in _OF_BREATHS and then == "rate" for word, then in itertools.pairwise(words[max(0, start - _REACH) : start])):
        before -= {"rate"}
    own = _kind_before(words, start, 0)
    if own and own.isdisjoint(_SUGAR_WORDS):
        following -= _SUGAR_WORDS
    if own and own.isdisjoint(_FEVER_WORDS):  # "no fever, pulse 108"
        before -= _FEVER_WORDS
    if own and own.isdisjoint(_OXYGEN_WORDS):  # "oxygen ninety six pulse seventy two"
        before -= _OXYGEN_WORDS
    following_at = next((at for at in range(end, min(len(words), end + _REACH + 1)) if words[at][0].isdigit()), None)
    if following_at is not None and _TIMES.isdisjoint(words[following_at + 1 : following_at + 2]) and ("hr" in before or own):
        following -= _kind_before(words, following_at, end)
    return before | following


def _reached_back(words: tuple[str, ...], start: int) -> int:
    """Where the words that may speak of the number at `start` begin."""
    at = start
    while at > 0 and words[at - 1] in _MOVED:
        at -= 1
    return max(0, min(start - _REACH, at - _REACH_PAST_MOVES))


def _kind_before(words: tuple[str, ...], at: int, first: int) -> set[str]:
    """The words of a kind that lead to the number at `at`: at once, or with one short word between."""
    end = at - 1 if at > first and words[at - 1] in _LEADING else at
    begin = end
    while begin > first and words[begin - 1] in _TELLS_ITS_KIND:
        begin -= 1
    return set(words[begin:end])


def _beside(words: tuple[str, ...]) -> set[str]:
    """The words up to the next number: those beyond it speak of that one."""
    return set(words[: next((at for at, word in enumerate(words) if word[0].isdigit()), len(words))])


def _is_pain(words: tuple[str, ...], value: float, start: int, end: int) -> bool:
    if value > 10 or (start and words[start - 1] in _OF):
        return False
    if words[end : end + 1] in (("out",), ("of",), ("over",), ("de",)) and {"10", "ten", "diez"} & set(words[end + 1 : end + 3]):
        return True
    return (
        bool({"pain", "dolor", "hurts", "ache"} & set(words[max(0, start - 3) : start]))
        and words[end : end + 1] != ("times",)
        and _TIMES.isdisjoint(words[end : end + 1])
    )


def _measured(words: tuple[str, ...], value: float, start: int, end: int, first: str, about: set[str]) -> Iterator[tuple[str, float]]:
    cents = len(words[start].partition(".")[2]) > 1
    unread = value > _HIGHEST_MMOL and first != "mgdl" and (cents or _of_no_meter(words, value, start))
    sugar = (bool(about & _SUGAR_WORDS) or first in {"mmol", "mgdl"}) and not unread
    degrees = first in _FAHRENHEIT | _CELSIUS or first in {"degrees", "deg", "degree"}
    if first in _FAHRENHEIT or (not sugar and 95 <= value <= 110 and (about & _FEVER_WORDS or degrees or _decimal(words[start], value))):
        yield "temperature", round((value - 32) / 1.8, 2)
    elif (
        not sugar
        and 34 <= value <= 43
        and (degrees or about & _FEVER_WORDS or (_decimal(words[start], value) and value >= 37 and not cents and not about & _PRESSURE_WORDS))
    ):
        yield "temperature", value
    if about & _KETONES and value <= 15:
        yield "ketones", value
    elif sugar and value >= 1:
        if value <= _HIGHEST_MMOL and (value < 20 or first != "mgdl"):
            yield "sugar", round(value * _MG_A_MMOL)
        if 20 <= value <= _HIGHEST_MG and first != "mmol" and (value > _HIGHEST_MMOL or first == "mgdl" or not _decimal(words[start], value)):
            yield "sugar", value
    if not sugar and about & _LOW_WORDS and (20 <= value < 70 or (_decimal(words[start], value) and 1 <= value < 4)):
        yield "low_number", value if value >= 20 else round(value * _MG_A_MMOL)
    if 50 <= value <= 100 and (about & _OXYGEN_WORDS or (about & _ON_A_FINGER and _NOT_OXYGEN.isdisjoint(words))):
        yield "oxygen", value
    if about & {"inr"} and value <= 20:
        yield "inr", value
    if about & {"potassium", "potasio"} and value <= 12:
        yield "potassium", value
    if 200 <= value <= 900 and first in _NOTHING_ELSE and not about & (_PRESSURE_WORDS | _WEIGHT_WORDS) and not _of_the_clock(words, start):
        yield "big_number", value
    if (
        (about & _PULSE_WORDS or (110 <= value <= 220 and first in _THEN and not _BEATING.isdisjoint(words)))
        and 20 <= value <= 250
        and words[end : end + 1] not in (("over",), ("systolic",), ("percent",))
    ):
        yield "pulse", value
    if about & _PRESSURE_WORDS and 60 <= value <= 280 and words[end : end + 1] != ("over",) and (start == 0 or words[start - 1] not in {"over", "sobre"}):
        yield "top", value


def _of_the_clock(words: tuple[str, ...], start: int) -> bool:
    """ "at 0630", "my snack at 430"; but "it is at 430"."""
    if words[start].startswith("0"):
        return True
    return start > 0 and words[start - 1] == "at" and _HOLDS_A_VALUE.isdisjoint(words[max(0, start - 2) : start - 1])


_HOLDS_A_VALUE = frozenset(
    ["is", "its", "was", "still", "now", "up", "sitting", "stuck", "already", "me", "im", "am", "hes", "shes", "again", "back", "and", "running"]
)


def _of_no_meter(words: tuple[str, ...], value: float, start: int) -> bool:
    """Whether it has a fraction and no word for sugar before it: above 33.3 mmol/L a meter counts mg/dL, without one."""
    return _decimal(words[start], value) and _kind_before(words, start, 0).isdisjoint(_SUGAR_WORDS)


def _decimal(word: str, value: float) -> bool:
    return "." in word or value != int(value)


def _pressures(words: tuple[str, ...]) -> Iterator[Reading]:
    """ "180/120", "180 over 120", "one eighty over one ten"."""
    numbers = list(_numbers(words))
    for at, word in enumerate(words):
        parts = word.split("/")
        if len(parts) == 2 and all(part.isdigit() for part in parts):
            yield from _pressure(float(parts[0]), float(parts[1]), at, at + 1)
            if parts[1] == "10" and float(parts[0]) <= 10:
                yield Reading("pain", float(parts[0]), at, at + 1)
    for (top, start, middle), (bottom, again, end) in itertools.pairwise(numbers):
        if again == middle + 1 and words[middle] in _OF - {"of", "de", "out", "from"} | {"con"}:
            yield from _pressure(top, bottom, start, end)


def _pressure(top: float, bottom: float, start: int, end: int) -> Iterator[Reading]:
    if 50 <= top <= 300 and 20 <= bottom < top:
        yield Reading("systolic", top, start, end)
        yield Reading("diastolic", bottom, start, end)


_BEFORE = frozenset(["was", "were", "from", "era", "before"])
"""After these, the second of two numbers is the older."""


def _gained(words: tuple[str, ...]) -> Iterator[Reading]:
    """ "180 on Monday and 186 today": a weight that rose between two numbers of a clause."""
    if _WEIGHT_WORDS.isdisjoint(words):
        return
    weights = [each for each in _numbers(words) if 35 <= each[0] <= 400 and not _kind_before(words, each[1], 0) - _WEIGHT_WORDS]
    for (before, start, _), (after, then, end) in itertools.pairwise(weights):
        gain = before - after if words[then - 1] in _BEFORE else after - before
        if 1 <= gain <= 15:
            yield Reading("weight_gain", gain * (_POUNDS_A_KILO if _KILO & set(words) else 1.0), start, end)
