"""Measured values as typed quantities: what is measured, its unit by UCUM, ranges, and meters that say only "HI" or "LO"."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from enum import StrEnum

from phonenumbers import Leniency, PhoneNumberMatcher

from care.counts import Count, counts_in
from care.numbers import plain

_MAX_READ = 2_000


class Kind(StrEnum):
    """What a quantity measures."""

    TEMPERATURE = "temperature"
    GLUCOSE = "glucose"
    PRESSURE = "pressure"
    WEIGHT = "weight"
    HEIGHT = "height"
    SHARE = "share"
    PULSE = "pulse"
    PEAK_FLOW = "peak_flow"
    DOSE = "dose"
    VOLUME = "volume"
    DURATION = "duration"
    AGE = "age"


@dataclass(frozen=True)
class Quantity:
    """A value at `start` to `end` of the plain text, in a unit by UCUM; `high` ends a range, `lower` is a blood pressure's second value.

    `beyond` is "high" or "low" where a meter gave no number. An ambiguous unit ("deg", "[psi]") is kept as said: who asked knows more.
    """

    kind: Kind
    value: float | None
    unit: str
    start: int
    end: int
    high: float | None = None
    lower: float | None = None
    beyond: str | None = None


@dataclass(frozen=True)
class Sequence:
    """A telephone number or e-mail address at `text[start:end]`."""

    kind: str
    start: int
    end: int


_UNITS: list[tuple[str, Kind, str]] = [
    (r"(?:°|º|degrees?|degs?\.?|grados)?\s*(?:f|fahrenheit|farenheit|fahrenheits)\b", Kind.TEMPERATURE, "[degF]"),
    (r"(?:°|º|degrees?|degs?\.?|grados)?\s*(?:c|celsius|celcius|centigra(?:de|te)s?|centigrados|centígrados)\b|度|℃", Kind.TEMPERATURE, "Cel"),
    (r"(?:degrees?|grados)\b(?!\s*angle)|degs?\b\.?|°(?!\s*angle)", Kind.TEMPERATURE, "deg"),
    (r"mmol(?:s|\s*/\s*l|\s+per\s+lit(?:er|re))?\b", Kind.GLUCOSE, "mmol/L"),
    (r"mg\s*(?:/|per)?\s*d(?:eci)?l\b", Kind.GLUCOSE, "mg/dL"),
    (r"mm\s*(?:of\s*)?hg\b", Kind.PRESSURE, "mm[Hg]"),
    (r"(?:years?|yrs?|yr|años?)[\s-]+(?:old|of\s+age)\b|y\.?/?o\.?\b|岁", Kind.AGE, "a"),
    (r"months?[\s-]+(?:old|of\s+age)\b", Kind.AGE, "mo"),
    (r"weeks?[\s-]+(?:old|of\s+age)\b", Kind.AGE, "wk"),
    (r"days?[\s-]+(?:old|of\s+age)\b", Kind.AGE, "d"),
    (r"(?:kgs?|kilos?|kilograms?|kilogramos)\b|公斤", Kind.WEIGHT, "kg"),
    (r"(?:lbs?|pounds?|libras?)\b", Kind.WEIGHT, "[lb_av]"),
    (r"(?:stones?|st)\b", Kind.WEIGHT, "[stone_av]"),
    (r"(?:cms?|centimet(?:er|re)s?)\b", Kind.HEIGHT, "cm"),
    (r"%|percent\b|per\s+cent\b|por\s+ciento\b", Kind.SHARE, "%"),
    (r"(?:bpm|beats?(?:\s+(?:per|a)\s+min(?:ute)?)?|latidos)\b", Kind.PULSE, "/min"),
    (r"l(?:it(?:er|re)s?)?\s*(?:/|per|a)\s*min(?:ute)?\b", Kind.PEAK_FLOW, "L/min"),
    (r"(?:mcg|micrograms?|µg|ug)\b", Kind.DOSE, "ug"),
    (r"(?:mg|milligrams?|miligramos)\b", Kind.DOSE, "mg"),
    (r"(?:ml|millilit(?:er|re)s?|mililitros)\b", Kind.VOLUME, "mL"),
    (r"(?:minutes?|mins?|minutos?)\b|分钟", Kind.DURATION, "min"),
    (r"(?:hours?|hrs?|h|horas?)\b|(?:个)?小时", Kind.DURATION, "h"),
    (r"(?:days?|días?|dias?)\b|天", Kind.DURATION, "d"),
    (r"(?:weeks?|wks?|semanas?)\b|周", Kind.DURATION, "wk"),
    (r"(?:months?|meses|mes)\b|个月", Kind.DURATION, "mo"),
]
_READ = [(re.compile(rf"[\s-]*(?:{pattern})", re.IGNORECASE), kind, unit) for pattern, kind, unit in _UNITS]
_BODY = {"F": (90.0, 112.0), "C": (32.0, 45.0)}
"""A letter right behind a number is a degree only where a body can have it: "13F" may be a form."""
_OVER = re.compile(r"\s*(?:over|/|\\|sobre)\s*", re.IGNORECASE)
_SLASHED = re.compile(r"(?<![\d/])(\d{2,3})\s*/\s*(\d{2,3})(?![\d/])")
_TO = re.compile(r"\s*(?:-|\u2013|to|or|and|a|hasta)\s*", re.IGNORECASE)
_METER = re.compile(
    r"(?P<about>meter|metre|monitor|glucometer|machine|reading|reads?|sugar|glucose|medidor|azucar|azúcar)\W+(?:\w+\W+){0,3}(?P<hi>HI|hi(?:gh)?)?(?P<lo>LO|low?)?\b(?!\s*\d)"
)
_AGED = re.compile(r"\b(?:age|aged)\s+(?:of\s+)?$", re.IGNORECASE)
_STATED = re.compile(r"\bHI\b|\bLO\b")
_EMAIL = re.compile(
    r"(?<![\w.+-])[a-z0-9](?:[\w.+'-]*\w)?@(?:(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,24}\b|\[\d{1,3}(?:\.\d{1,3}){3}\])", re.IGNORECASE | re.ASCII
)


def quantities_in(text: str) -> list[Quantity]:
    """The quantities whose unit is said, in order, blood pressures among them; and a meter's "HI" or "LO"."""
    shown = plain(text)
    counts = counts_in(shown, with_units=True)
    pressures = _pressures(shown, counts)
    inside = [range(each.start, each.end) for each in pressures]
    found = [quantity for at in range(len(counts)) if (quantity := _with_unit(shown, counts, at)) and not any(quantity.start in span for span in inside)]
    return sorted([*pressures, *found, *_beyond(shown)], key=lambda each: each.start)


def sequences_in(text: str, region: str = "US") -> list[Sequence]:
    """Telephone numbers (national ones of `region`) and e-mail addresses."""
    text = text[:_MAX_READ]
    found = [Sequence("email", match.start(), match.end()) for match in _EMAIL.finditer(text)]
    for match in PhoneNumberMatcher(text, region, leniency=Leniency.POSSIBLE):
        if not any(match.start < other.end and other.start < match.end for other in found):
            found.append(Sequence("phone", match.start, match.end))
    return sorted(found, key=lambda each: each.start)


def _with_unit(shown: str, counts: list[Count], at: int) -> Quantity | None:
    count = counts[at]
    for pattern, kind, unit in _READ:
        if match := pattern.match(shown, count.end):
            start, low, high = count.start, count.value, None
            if match.group().upper() in _BODY and not _BODY[match.group().upper()][0] <= count.value <= _BODY[match.group().upper()][1]:
                return None
            before = counts[at - 1] if at else None
            if before and kind is not Kind.AGE and _TO.fullmatch(shown, before.end, count.start) and before.value < count.value:
                start, low, high = before.start, before.value, count.value
            return Quantity(kind, low, unit, start, match.end(), high)
    if (named := _AGED.search(shown, max(0, count.start - 12), count.start)) and count.value <= 120:
        return Quantity(Kind.AGE, count.value, "a", named.start(), count.end)
    return None


def _pressures(shown: str, counts: list[Count]) -> list[Quantity]:
    """ "150 over 90", "150/90"."""
    found = [
        Quantity(Kind.PRESSURE, top.value, "mm[Hg]", top.start, bottom.end, lower=bottom.value)
        for top, bottom in itertools.pairwise(counts)
        if _OVER.fullmatch(shown, top.end, bottom.start) and _may_be_pressure(top.value, bottom.value)
    ]
    slashed = [
        Quantity(Kind.PRESSURE, float(match[1]), "mm[Hg]", match.start(), match.end(), lower=float(match[2]))
        for match in _SLASHED.finditer(shown)
        if _may_be_pressure(float(match[1]), float(match[2]))
    ]
    return found + slashed


def _may_be_pressure(top: float, bottom: float) -> bool:
    return 60 <= top <= 300 and 30 <= bottom < top


def _beyond(shown: str) -> list[Quantity]:
    found = []
    for match in _METER.finditer(shown):
        if said := match["hi"] or match["lo"]:
            end = match.end()
            found.append(Quantity(Kind.GLUCOSE, None, "mg/dL", end - len(said), end, beyond="high" if match["hi"] else "low"))
    return found
