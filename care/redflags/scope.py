"""What is said of whom and when: findings that are denied, of another person, of the past, or only supposed. After ConText (see scope.yaml)."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from care.knowledge import knowledge
from care.knowledge.patterns import Clause
from care.redflags.normalise import plain_clauses
from care.redflags.values import readings

Span = tuple[int, int]
_LIST_ITEM = 3
"""A part between commas of at most this many words goes on with a list."""
_NEAR_REACH = 4
_BLANK = "_"


class Aside(StrEnum):
    """Why a finding is set aside."""

    DENIED = "denied"
    ANOTHER = "another"
    PAST = "past"
    SUPPOSED = "supposed"


@dataclass(frozen=True)
class Scope:
    """Words that set aside what stands between `start` and `end`; they themselves stand at `cue`."""

    aside: Aside
    cue: Span
    start: int
    end: int


@dataclass
class ReadClause:
    """A clause with what sets its words aside."""

    clause: Clause
    found: Mapping[str, list[Span]]

    @cached_property
    def scopes(self) -> tuple[Scope, ...]:
        """The words that set others aside; read only once a finding stands in the clause."""
        read = (_denials, _denied_after, _of_another, _of_the_past, _supposed)
        return tuple(scope for each in read for scope in each(self.clause, self.found))

    def aside(self, start: int, end: int) -> Aside | None:
        """Why the words from `start` to `end` are set aside, if they are. Words that deny within them are part of the finding."""
        for scope in self.scopes:
            within = start <= scope.cue[0] < end
            if not (within and scope.aside in {Aside.DENIED, Aside.PAST}) and scope.start <= start < scope.end:
                return scope.aside
        return None


def read_clauses(text: str) -> list[ReadClause]:
    """The clauses of a text, idioms blanked out, each with its values and scopes. Never raises."""
    return [_with_scopes(_clause(clause.words, clause.commas)) for clause in plain_clauses(text)]


def literal_clauses(text: str) -> list[ReadClause]:
    """The clauses of a text with every word as it stands, each with its scopes. Never raises."""
    return [_with_scopes(knowledge().rules.language.clause(clause.words, (), clause.commas)) for clause in plain_clauses(text)]


def _clause(words: tuple[str, ...], commas: frozenset[int]) -> Clause:
    words, commas = _compounded(words, commas)
    rules = knowledge().rules
    blank = {place for _, (start, end) in rules.idioms.find(rules.language.clause(words)) for place in range(start, end)}
    shown = tuple(_BLANK if place in blank else word for place, word in enumerate(words)) if blank else words
    return rules.language.clause(shown, readings(shown), commas)


def _compounded(words: tuple[str, ...], commas: frozenset[int]) -> tuple[tuple[str, ...], frozenset[int]]:
    """Pairs of words that mean another thing together ("blood pressure") written as one."""
    compounds = knowledge().rules.compounds
    joined: list[str] = []
    moved: set[int] = set()
    at = 0
    while at < len(words):
        if at in commas:
            moved.add(len(joined))
        pair = compounds.get(" ".join(words[at : at + 2])) if at + 1 not in commas else None
        joined.append(pair or words[at])
        at += 2 if pair else 1
    return tuple(joined), frozenset(moved)


def _with_scopes(clause: Clause) -> ReadClause:
    found: dict[str, list[Span]] = defaultdict(list)
    for name, span in sorted(set(knowledge().rules.scope.find(clause))):
        found[name].append(span)
    clause.barriers = frozenset(scope.cue[0] for scope in _denials(clause, found))
    clause.memo.clear()
    return ReadClause(clause, found)


def _denials(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    undone = found.get("not_denial", [])
    ends = [start for start, _ in found.get("reach_ends", [])]
    new = _new_statements(clause, found)
    for name, reach in (("denial", len(clause.words)), ("denial_near", _NEAR_REACH)):
        for start, end in _longest(found.get(name, [])):
            if any(first <= start < last for first, last in undone):
                continue
            stops = [place for place in (*ends, *new) if place >= end] + [len(clause.words), end + reach]
            yield Scope(Aside.DENIED, (start, end), end, min(stops))


def _denied_after(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    undone = found.get("not_denial_after", [])
    for start, end in _longest(found.get("denial_after", [])):
        if start == 0 or any(first < end and start < last for first, last in undone):
            continue
        yield Scope(Aside.DENIED, (start, end), _statement(clause, found, start)[0], start)


def _of_another(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    if found.get("not_another", []):
        return
    new = [place for place in _new_statements(clause, found) if clause.words[place] not in _THIRD_PERSON]
    for start, end in _longest(found.get("another", [])):
        if not _FIRST_PERSON.isdisjoint(clause.words[start + 1 : end]):
            continue
        own = [place for place in range(end, len(clause.words)) if clause.words[place] in _FIRST_PERSON]
        yield Scope(Aside.ANOTHER, (start, end), start, min([*own, *(place for place in new if place >= end), len(clause.words)]))


_THIRD_PERSON = frozenset(["he", "she", "they", "his", "her", "hes", "shes", "who", "and", "el", "ella"])
_FIRST_PERSON = frozenset(["i", "im", "ive", "ill", "id", "my", "me", "mine", "we", "yo", "mi", "me", "tengo", "estoy", "我"])


def _of_the_past(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    if found.get("not_past", []):
        return
    recent = found.get("recent", [])
    for start, end in _longest(found.get("past", [])):
        first, last = _statement(clause, found, start)
        if last - first <= _LIST_ITEM + 1:
            first, last = (_statement(clause, found, first - 1)[0] if first else 0), (_statement(clause, found, last)[1] if last < len(clause.words) else last)
        if not any(first <= place < last for place, _ in recent):
            yield Scope(Aside.PAST, (start, end), first, last)


def _supposed(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    undone = found.get("not_supposed", [])
    ends = [start for start, _ in found.get("supposed_ends", [])]
    for start, end in _longest(found.get("supposed", [])):
        if any(first < end and start < last for first, last in undone):
            continue
        stops = [place for place in ends if place >= end] + [_statement(clause, found, start)[1]]
        yield Scope(Aside.SUPPOSED, (start, end), start, min(stops))


def _longest(spans: list[Span]) -> list[Span]:
    """Of spans that begin together, the longest."""
    return list(dict(spans).items())


def _new_statements(clause: Clause, found: Mapping[str, list[Span]]) -> list[int]:
    """Where a part after a comma says something new: it is longer than an item of a list, or speaks of somebody or something anew."""
    begins = {start for start, _ in found.get("begins_new", [])}
    borders = [*sorted(clause.commas), len(clause.words)]
    return [border for border, after in itertools.pairwise(borders) if after - border > _LIST_ITEM or any(place in begins for place in range(border, after))]


def _statement(clause: Clause, found: Mapping[str, list[Span]], place: int) -> Span:
    """The words that say one thing, around `place`."""
    borders = [0, *_new_statements(clause, found), len(clause.words)]
    first = max(border for border in borders if border <= place)
    return first, min((border for border in borders if border > place), default=len(clause.words))
