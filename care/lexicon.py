"""Finding known symptoms in a patient's words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from care.knowledge import knowledge
from care.redflags import denied, set_aside
from care.redflags.normalise import normalise


@dataclass(frozen=True)
class FoundSymptom:
    """A symptom by its id, the normalised words it was found by, and whether it is denied or of long ago or another person."""

    id: str
    words: str
    negated: bool
    elsewhere: bool


def find_symptoms(text: str) -> list[FoundSymptom]:
    """The symptoms in `text`, each once, an affirmed mention before a denied one."""
    found: dict[str, FoundSymptom] = {}
    for clause in normalise(text[:12_000]).split("\n"):
        aside = set_aside(clause)
        for match in _pattern().finditer(clause):
            symptom = _by_synonym()[match.group(0)]
            mention = FoundSymptom(symptom, match.group(0), denied(clause, match.start()), aside)
            known = found.get(symptom)
            if known is None or (known.negated or known.elsewhere):
                found[symptom] = mention
    return list(found.values())


def present_symptoms(text: str) -> list[str]:
    """The ids of the symptoms that the patient says to have."""
    return [each.id for each in find_symptoms(text) if not each.negated and not each.elsewhere]


@cache
def _by_synonym() -> dict[str, str]:
    return {normalise(synonym): symptom.id for symptom in knowledge().symptoms.values() for synonym in symptom.synonyms}


@cache
def _pattern() -> re.Pattern[str]:
    words = sorted(_by_synonym(), key=len, reverse=True)
    return re.compile(r"\b(?:" + "|".join(re.escape(word) for word in words) + r")\b")
