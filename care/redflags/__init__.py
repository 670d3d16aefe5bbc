"""Red-flag rules: they run on every message when it is accepted, need no model, and nothing lowers what they set."""

from __future__ import annotations

import gc
import re
import textwrap
from collections.abc import Sequence
from functools import lru_cache

from care.acuity import Acuity
from care.knowledge import knowledge
from care.knowledge.patterns import Pattern, Phrase
from care.knowledge.rules import Rule
from care.redflags.scope import Aside, ReadClause, read_clauses
from care.triage.model import PatientContext, RedFlagHit

_READ_AT_ONCE, _READ_AGAIN = 6_000, 300
_CHECKED_LATELY = 256
_PASSAGE = 250
_ELLIPSIS = re.compile(r"\.{2,}|\u2026")
_MOST_FIRST_WORDS = 2
_SAID_BY_THE_WARNING = frozenset({"flag_call_now", "flag_crisis_line", "flag_watch_worse"})
_WIDE = 3
"""An excuse counts where it overlaps the finding or stands at most this many words beside it."""


def check(text: str, context: PatientContext | None = None) -> list[RedFlagHit]:
    """The rules that fire on `text`, the most serious first. A longer text is read 6,000 characters at a time. Deterministic; never raises for any text."""
    protocol, day = (context.protocol, context.day) if context else (None, None)
    if len(text) <= _READ_AT_ONCE:
        return list(_checked(text, protocol, day))
    found: dict[str, RedFlagHit] = {}
    for start in range(0, len(text), _READ_AT_ONCE - _READ_AGAIN):
        for hit in _checked(text[start : start + _READ_AT_ONCE], protocol, day):
            found.setdefault(hit.rule, hit)
    return sorted(found.values(), key=lambda hit: -hit.acuity.rank)


def make_ready() -> None:
    """Reads the knowledge and the rules now, not with the first message, and keeps them out of the garbage collector's rounds: each would stop the process for
    half a second."""
    check("chesst pain")
    gc.collect()
    gc.freeze()


def first_words(hits: Sequence[RedFlagHit], acuity: Acuity) -> list[str]:
    """The advice that the rules of this acuity have for the time until help is there, at most two; what the warning says itself is left out."""
    rules = knowledge().red_flags
    wanted = dict.fromkeys(advice for hit in hits if hit.acuity is acuity for advice in rules[hit.rule].advice)
    return [each for each in wanted if each not in _SAID_BY_THE_WARNING and acuity in knowledge().advice[each].acuities][:_MOST_FIRST_WORDS]


def shortened(text: str, context: PatientContext | None, most: int) -> str:
    """`text` in at most about `most` characters: how it begins and ends, and between them every passage on which a rule fires."""
    if len(text) <= most:
        return text
    passages = textwrap.wrap(text, _PASSAGE, break_on_hyphens=False)
    each_end = most // (4 * _PASSAGE)
    flagged = [passage for passage in passages[each_end:-each_end] if check(passage, context)]
    return " ... ".join([*passages[:each_end], *flagged[: 2 * each_end], *passages[-each_end:]])


@lru_cache(_CHECKED_LATELY)
def _checked(text: str, protocol: str | None, day: int | None) -> tuple[RedFlagHit, ...]:
    clauses = read_clauses(text)
    if _ELLIPSIS.search(text):  # dots may end a sentence, or be a breath within one: both are read
        clauses += read_clauses(_ELLIPSIS.sub(" ", text))
    keys = frozenset().union(*(clause.words.all_keys for clause in clauses))
    hits: dict[str, RedFlagHit] = {}
    for rule, pattern in knowledge().rules.patterns.possible(keys):
        flag = rule.flag
        if flag.id in hits or not pattern.is_for(protocol, day):
            continue
        if found := _pattern_found(pattern, rule, clauses, protocol):
            hits[flag.id] = RedFlagHit(rule=flag.id, acuity=flag.acuity, reason=flag.reason, words=found, sources=flag.sources)
    return tuple(hits.values())


def _pattern_found(pattern: Pattern, rule: Rule, clauses: list[ReadClause], protocol: str | None) -> str | None:
    words = []
    for together in pattern.anywhere:
        found = next((found for clause in clauses if (found := _together(together, rule, clause, protocol))), None)
        if found is None:
            return None
        words.append(found)
    return " / ".join(dict.fromkeys(words))


def _together(phrases: tuple[Phrase, ...], rule: Rule, clause: ReadClause, protocol: str | None) -> str | None:
    """The words of all these phrases in one clause, none of them set aside or excused."""
    if not all(any(phrase.find(clause.words)) for phrase in phrases):
        return None
    words = []
    for phrase in phrases:
        place = next((place for place in phrase.find(clause.clause) if not _set_aside(place, rule, clause, protocol)), None)
        if place is None:
            return None
        words.append(" ".join(clause.clause.words[place[0] : place[1]]))
    return " / ".join(dict.fromkeys(words))


def _set_aside(place: tuple[int, int], rule: Rule, clause: ReadClause, protocol: str | None) -> bool:
    aside = clause.aside(*place)
    overlooked = (
        (aside in {Aside.DENIED, Aside.SUPPOSED} and rule.flag.even_if_denied)
        or (aside is Aside.ANOTHER and rule.flag.of_anyone)
        or (aside is Aside.EXPECTED and (rule.flag.acuity is Acuity.EMERGENCY or _measured(place, clause)))
    )
    if aside is not None and not overlooked:
        return True
    return any(
        start - _WIDE < place[1] and place[0] < end + _WIDE and (not protocols or protocol in protocols.split())
        for protocols, (start, end) in rule.unless.find(clause.clause)
    )


def _measured(place: tuple[int, int], clause: ReadClause) -> bool:
    """Whether the finding is a value that was read, and no more."""
    return any((value.start, value.end) == place for value in clause.words.values)
