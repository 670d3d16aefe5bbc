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
    | (_PULSE_WORDS - {"heart", "beating", "ticker", "心"})
    | frozenset(["temp", "temps", "temperature", "temperatura", "bp", "bloodpressure", "systolic", "weight", "weighs", "weighed", "peso", "sugar", "glucose"])
    | frozenset(["age", "aged"])
)
"""After one of these a number is of that kind, whatever is said of the next number."""
_OF_BREATHS = frozenset(["resp", "resps", "respiratory", "respiration", "respirations", "breathing", "breaths", "rr"])
"""Beside these a rate is none of the pulse."""
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
    frozenset(["am", "pm", "oclock", "mg", "ml", "mcg", "minutes", "min", "mins", "minute", "weeks", "week", "months", "years", "units", "pads"])
    | _HOURS
    | _DAYS
)
_OF = frozenset({"out", "of", "over", "de", "sobre", "on", "from"})
_ON_A_FINGER = frozenset(["finger", "peg", "gadget"])
"""Beside these a number is of oxygen, unless blood was drawn from the finger."""
_NOT_OXYGEN = frozenset(["prick", "pricked", "pricks", "sugar", "strip", "strips", "glucose", "swollen", "cut", "better", "weight"])
_NOTHING_ELSE = frozenset(["", "and", "now", "then", "again", "before", "after", "this", "at", "two", "later", "today", "even", "still", "but", "hours"])
_REACH = 4
_POUNDS_A_KILO = 2.2046
_MG_A_MMOL = 18.0
_HIGHEST_MG = 1500


def readings(words: tuple[str, ...]) -> tuple[Reading, ...]:
    """The values, with the words they were read from.

    Temperature (degrees Celsius), sugar (mg/dL), oxygen (%), systolic, diastolic and top alone (mmHg), pulse (a minute), ketones (mmol/L), weight gain
    (pounds), pain (of 10), pills, INR, potassium (mmol/L), hours and days; of sugar without a word for it a low or a big number.
    """
    found: list[Reading] = []
    for value, start, end in _numbers(words):
        found.extend(Reading(kind, number, start, end) for kind, number in _meant(words, value, start, end))
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


def _meant(words: tuple[str, ...], value: float, start: int, end: int) -> Iterator[tuple[str, float]]:
    after = words[end : end + 2]
    first = after[0] if after else ""
    before, following = _beside(words[max(0, start - _REACH) : start][::-1]), _beside(words[end : end + _REACH])
    if (before & _TELLS_ITS_KIND or words[start - 1 : start] == ("hour",)) and any(word[0].isdigit() for word in words[end : end + _REACH + 1]):
        following -= _OXYGEN_WORDS | _PULSE_WORDS  # "pulse 66, sats 97": they speak of the number that they lead to ("hr" is read as hour)
    if before & _OF_BREATHS:
        before -= {"rate"}  # "resp rate 20"
    if first not in _KETONES or (after[1:] and after[1][0].isdigit()):
        following -= _KETONES  # "sugar 9, ketones 0.2"
    about, last = before | following, words[start - 1] if start else ""
    if first in _HOURS | _DAYS:
        if last not in _EACH:
            yield "hours" if first in _HOURS else "days", value
    elif last in _KINDS or words[start] == "twice":
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


def _beside(words: tuple[str, ...]) -> set[str]:
    """The words up to the next number: those beyond it speak of that one."""
    return set(words[: next((at for at, word in enumerate(words) if word[0].isdigit()), len(words))])


def _is_pain(words: tuple[str, ...], value: float, start: int, end: int) -> bool:
    if value > 10 or (start and words[start - 1] in _OF):
        return False
    if words[end : end + 1] in (("out",), ("of",), ("over",), ("de",)) and {"10", "ten", "diez"} & set(words[end + 1 : end + 3]):
        return True
    return bool({"pain", "dolor", "hurts", "ache"} & set(words[max(0, start - 3) : start])) and words[end : end + 1] not in (("weeks",), ("times",))


def _measured(words: tuple[str, ...], value: float, start: int, end: int, first: str, about: set[str]) -> Iterator[tuple[str, float]]:
    sugar = bool(about & _SUGAR_WORDS) or first in {"mmol", "mgdl"}
    degrees = first in _FAHRENHEIT | _CELSIUS or first in {"degrees", "deg", "degree"}
    if first in _FAHRENHEIT or (not sugar and 95 <= value <= 110 and (about & _FEVER_WORDS or degrees or _decimal(words[start], value))):
        yield "temperature", round((value - 32) / 1.8, 2)
    elif (
        not sugar and 34 <= value <= 43 and (degrees or about & _FEVER_WORDS or (_decimal(words[start], value) and value >= 37 and not about & _PRESSURE_WORDS))
    ):
        yield "temperature", value
    if about & _KETONES and value <= 15:
        yield "ketones", value
    elif sugar and value >= 1:
        if value <= 33.3 and (value < 20 or first != "mgdl"):
            yield "sugar", round(value * _MG_A_MMOL)
        if 20 <= value <= _HIGHEST_MG and first != "mmol" and not _decimal(words[start], value):
            yield "sugar", value
    if not sugar and about & _LOW_WORDS and (20 <= value < 70 or (_decimal(words[start], value) and 1 <= value < 4)):
        yield "low_number", value if value >= 20 else round(value * _MG_A_MMOL)
    if 50 <= value <= 100 and (about & _OXYGEN_WORDS or (about & _ON_A_FINGER and _NOT_OXYGEN.isdisjoint(words))):
        yield "oxygen", value
    if about & {"inr"} and value <= 20:
        yield "inr", value
    if about & {"potassium", "potasio"} and value <= 12:
        yield "potassium", value
    if 200 <= value <= 900 and first in _NOTHING_ELSE and not about & (_PRESSURE_WORDS | _WEIGHT_WORDS):
        yield "big_number", value
    if (
        (about & _PULSE_WORDS or (110 <= value <= 220 and first in _THEN and not _BEATING.isdisjoint(words)))
        and 20 <= value <= 250
        and words[end : end + 1] not in (("over",), ("systolic",), ("percent",))
    ):
        yield "pulse", value
    if about & _PRESSURE_WORDS and 60 <= value <= 280 and words[end : end + 1] != ("over",) and (start == 0 or words[start - 1] not in {"over", "sobre"}):
        yield "top", value


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
    weights = [(value, start, end) for value, start, end in _numbers(words) if 35 <= value <= 400]
    for (before, start, _), (after, then, end) in itertools.pairwise(weights):
        gain = before - after if words[then - 1] in _BEFORE else after - before
        if 1 <= gain <= 15:
            yield Reading("weight_gain", gain * (_POUNDS_A_KILO if _KILO & set(words) else 1.0), start, end)
