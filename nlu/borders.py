"""Where a span begins and ends: one rule for every voice, whoever labelled it (LABELLING.md, "Borders")."""

from __future__ import annotations

import re
from dataclasses import dataclass

from care.understanding import SpanLabel, SymptomStatus

_LEADING = re.compile(r"(?:(?:the|an?|my|his|her|their|our|your|this|that|these|those|ma|some|el|la|los|las|mi|mis|un|una)\s+)+(?=\S)", re.IGNORECASE)
_PREPOSITION = re.compile(r"(?:(?:in|on|at|by|for|about|around|bout|of|over|within|en|por)\s+)+(?=\S)", re.IGNORECASE)
_DEGREE = re.compile(
    r"(?:(?:a\s+(?:wee\s+)?(?:bit|little|touch|tad)|very|really|quite|rather|so|too|slightly|extremely|somewhat|super|pretty|kinda|muy)\s+)+(?=\S)",
    re.IGNORECASE,
)
_DEGREE_BEFORE = re.compile(r"\b" + _DEGREE.pattern.removesuffix(r"(?=\S)") + "$", re.IGNORECASE)
_SINCE_BEFORE = re.compile(r"\b(?:ever\s+)?(?:since|desde)\s+$", re.IGNORECASE)
_EDGE = " \t\n.,;:!?\"'()…-"
_WITHOUT_ARTICLE = {SpanLabel.SYMPTOM, SpanLabel.SITE, SpanLabel.MEDICINE, SpanLabel.EXPERIENCER}
_WITHOUT_PREPOSITION = {SpanLabel.TIME, SpanLabel.DURATION}
_SINCE_WHEN = {SpanLabel.TIME, SpanLabel.ONSET}


@dataclass(frozen=True)
class LabelledSpan:
    """Marked words: `text[start:end]` of their message. `status` is set on symptoms alone."""

    label: SpanLabel
    start: int
    end: int
    status: SymptomStatus | None = None


def settled(text: str, spans: tuple[LabelledSpan, ...]) -> tuple[LabelledSpan, ...]:
    """The spans with their borders by rule, and the degree words that stand before a symptom as spans of their own."""
    result: list[LabelledSpan] = []
    free_from = 0
    for span in spans:
        label, start, end = span.label, span.start, span.end
        while end - start > 1 and text[end - 1] in _EDGE:
            end -= 1
        while end - start > 1 and text[start] in _EDGE:
            start += 1
        if label in _WITHOUT_ARTICLE:
            start = _after(_LEADING, text, start, end)
        if label in _SINCE_WHEN and (since := _SINCE_BEFORE.search(text, free_from, start)):
            label, start = SpanLabel.ONSET, since.start()
        if label in _WITHOUT_PREPOSITION:
            start = _after(_PREPOSITION, text, start, end)
        if label is SpanLabel.SYMPTOM:
            bare = _after(_DEGREE, text, start, end)
            before = _DEGREE_BEFORE.search(text, free_from, start)
            degree = (start, bare) if bare > start else before.span() if before else None
            if degree:
                result.append(LabelledSpan(SpanLabel.SEVERITY, degree[0], degree[0] + len(text[slice(*degree)].rstrip())))
            start = bare
        result.append(LabelledSpan(label, start, end, span.status))
        free_from = span.end
    return tuple(result)


def _after(words: re.Pattern[str], text: str, start: int, end: int) -> int:
    match = words.match(text, start, end)
    return match.end() if match else start
