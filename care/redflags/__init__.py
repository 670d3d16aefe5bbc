"""Red-flag rules: they run on every message when it is accepted, need no model, and nothing lowers what they set."""

from __future__ import annotations

from functools import lru_cache

from care.knowledge import knowledge
from care.knowledge.patterns import Pattern, Phrase
from care.knowledge.rules import Rule
from care.redflags.scope import Aside, ReadClause, read_clauses
from care.triage.model import PatientContext, RedFlagHit

_READ_AT_EACH_END = 6_000
_CHECKED_LATELY = 256
_WIDE = 3
"""An excuse counts where it overlaps the finding or stands at most this many words beside it."""


def check(text: str, context: PatientContext | None = None) -> list[RedFlagHit]:
    """The rules that fire on `text`, the most serious first. Of a longer text the first and last 6,000 characters are read. Deterministic; never raises for any text."""
    if len(text) > 2 * _READ_AT_EACH_END:
        text = text[:_READ_AT_EACH_END] + "\n" + text[-_READ_AT_EACH_END:]
    return list(_checked(text, context.protocol if context else None))


@lru_cache(_CHECKED_LATELY)
def _checked(text: str, protocol: str | None) -> tuple[RedFlagHit, ...]:
    clauses = read_clauses(text)
    hits = []
    for rule in knowledge().rules.rules:
        if found := _fires(rule, clauses, protocol):
            flag = rule.flag
            hits.append(RedFlagHit(rule=flag.id, acuity=flag.acuity, reason=flag.reason, words=found, sources=flag.sources))
    return tuple(hits)


def _fires(rule: Rule, clauses: list[ReadClause], protocol: str | None) -> str | None:
    """The words on which the rule fires, or None."""
    for pattern in rule.when:
        if pattern.protocols and protocol not in pattern.protocols:
            continue
        if found := _pattern_found(pattern, rule, clauses):
            return found
    return None


def _pattern_found(pattern: Pattern, rule: Rule, clauses: list[ReadClause]) -> str | None:
    words = []
    for together in pattern.anywhere:
        found = next((found for clause in clauses if (found := _together(together, rule, clause))), None)
        if found is None:
            return None
        words.append(found)
    return " / ".join(dict.fromkeys(words))


def _together(phrases: tuple[Phrase, ...], rule: Rule, clause: ReadClause) -> str | None:
    """The words of all these phrases in one clause, none of them set aside or excused."""
    words = []
    for phrase in phrases:
        place = next((place for place in phrase.find(clause.clause) if not _set_aside(place, rule, clause)), None)
        if place is None:
            return None
        words.append(" ".join(clause.clause.words[place[0] : place[1]]))
    return " / ".join(dict.fromkeys(words))


def _set_aside(place: tuple[int, int], rule: Rule, clause: ReadClause) -> bool:
    aside = clause.aside(*place)
    if aside is not None and not (rule.flag.even_if_denied and aside in {Aside.DENIED, Aside.SUPPOSED}):
        return True
    return any(start - _WIDE < place[1] and place[0] < end + _WIDE for phrase in rule.unless for start, end in phrase.find(clause.clause))
