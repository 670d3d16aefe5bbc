"""Red-flag rules: they run on every message when it is accepted, need no model, and nothing lowers what they set."""

from __future__ import annotations

import re
from functools import cache

from care.knowledge import knowledge
from care.knowledge.model import RedFlag
from care.redflags.normalise import normalise
from care.triage.model import PatientContext, RedFlagHit

_NEGATION = re.compile(
    r"\b(no|not|isnt|arent|wasnt|dont|doesnt|didnt|havent|hasnt|never|without|denies|nothing like|none of|no sign of|no more|stopped having|sin|ningun)\b(?: \w+){0,4} ?$"
)
_NOT_A_DENIAL = re.compile(
    r"\b(not only|no doubt|not sure|cant|dont know|not feeling|not right|not good|no better|not better|no relief|not going away|no idea|no puedo)\b(?: \w+){0,3} ?$"
)
_LONG_AGO = re.compile(r"\b(in (19|20)\d\d|years? ago|last year|back in|when i was|decades? ago|as a (kid|child)|history of|\w+ years back)\b")
_RELATIVE_PAST = re.compile(
    r"\b(my|a) (late )?(mum|mom|mother|dad|father|sister|brother|aunt|uncle|grandma|grandmother|grandpa|grandfather|neighbou?r|friend|cousin|coworker|colleague)\b"
    r"(?: \w+){0,2} (had|died|passed)\b"
)
_MAX_READ = 12_000


def check(text: str, context: PatientContext | None = None) -> list[RedFlagHit]:
    """The rules that fire on `text`, the most serious first. Deterministic; never raises for any text."""
    clauses = normalise(text[:_MAX_READ]).split("\n")
    whole = " ".join(clauses)
    hits = []
    for flag, groups in _compiled():
        if flag.protocols and (context is None or context.protocol not in flag.protocols):
            continue
        found = next((words for clause in clauses if (words := _fires(flag, groups, clause))), None)
        if found is None and len(groups) > 1 and not any(set_aside(clause) for clause in clauses):
            found = _fires(flag, groups, whole)
        if found:
            hits.append(RedFlagHit(rule=flag.id, acuity=flag.acuity, reason=flag.reason, words=found, sources=flag.sources))
    return sorted(hits, key=lambda hit: (-hit.acuity.rank, hit.rule))


def _fires(flag: RedFlag, groups: list[list[re.Pattern[str]]], clause: str) -> str | None:
    """The words on which the rule fires in this clause, or None."""
    if not flag.ignore_negation and set_aside(clause):
        return None
    found = []
    for group in groups:
        matches = (match for pattern in group for match in pattern.finditer(clause))
        match = next((match for match in matches if flag.ignore_negation or not _denied_match(clause, match)), None)
        if match is None:
            return None
        found.append(match.group(0))
    return " / ".join(dict.fromkeys(found))


def denied(clause: str, start: int) -> bool:
    """Whether the words from `start` are denied by what stands before them."""
    before = clause[:start]
    return bool(_NEGATION.search(before)) and not _NOT_A_DENIAL.search(before)


def _denied_match(clause: str, match: re.Match[str]) -> bool:
    inside = re.search(r"\bno (?!feeling|control|pee|urine|relief)\w+$", match.group(0))
    return bool(inside) or denied(clause, match.start())


def set_aside(clause: str) -> bool:
    """Of long ago or of a relative's past, and not of now."""
    if re.search(r"\b(again|now|today|tonight|right now|this morning)\b", clause):
        return False
    return bool(_LONG_AGO.search(clause) or _RELATIVE_PAST.search(clause))


@cache
def _compiled() -> list[tuple[RedFlag, list[list[re.Pattern[str]]]]]:
    return [(flag, [[re.compile(pattern) for pattern in group] for group in flag.all]) for flag in knowledge().red_flags.values()]
