"""Approved advice for a report or question: by shared words (BM25 over topics and text) and by the graph from symptom to advice."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from care.knowledge import knowledge
from care.knowledge.model import Advice
from care.redflags.normalise import normalise
from care.triage.model import AdviceCandidate, PatientContext

_K1, _B = 1.2, 0.75
"""BM25's usual constants (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009)."""
_TOPIC_WEIGHT = 3
"""A topic is the word that a patient asks by: it counts as often as this in the text."""
_SYMPTOM_SCORE = 3.0
_PROTOCOL_SCORE = 0.5
_LEAST_SCORE = 1.5
"""Below this only common words are shared."""
_MAX_READ = 4_000
_STOP = frozenset(
    """
    a about after all am an and any are as at be been but by can could day days did do does for from get got had has have he her
    his how i if im in is it its ive just keep long me my no not now of off on or our out she should so some still take tell than
    that the them then there they this to too up us very was we well went what when where which who will with would yes you your
    """.split()  # noqa: SIM905 - a list of words reads best as words
)


@dataclass(frozen=True)
class _Index:
    counts: dict[str, Counter[str]]
    rarity: dict[str, float]
    mean_length: float


def advice_for(text: str, symptoms: list[str], context: PatientContext, limit: int = 5) -> list[AdviceCandidate]:
    """At most `limit` statements that fit `text` and the symptom ids, best first; empty where nothing fits.

    A statement of the patient's protocol goes before an equal one; one of other protocols, or `not_for` what the patient has, is never offered.
    """
    known = knowledge()
    protocol = known.protocols.get(context.protocol or "")
    own = frozenset(protocol.advice if protocol else ())
    words = _words(text[:_MAX_READ])
    barred = frozenset((*context.history, *symptoms, context.protocol or ""))
    scored = []
    for advice in known.advice.values():
        of_another = context.protocol and advice.protocols and context.protocol not in advice.protocols
        if of_another or advice.id in _of_red_flags() or barred.intersection(advice.not_for):
            continue
        score = _shared(words, advice.id) + _SYMPTOM_SCORE * len(set(symptoms).intersection(advice.symptoms)) ** 0.5
        if score >= _LEAST_SCORE:
            scored.append((score + _PROTOCOL_SCORE * (advice.id in own), advice))
    scored.sort(key=lambda pair: (-pair[0], pair[1].id))
    return [AdviceCandidate(id=advice.id, text=advice.text) for _, advice in scored[:limit]]


@cache
def _of_red_flags() -> frozenset[str]:
    """What is said with a red flag and at no other time."""
    return frozenset(each for flag in knowledge().red_flags.values() for each in flag.advice)


def _shared(words: set[str], advice: str) -> float:
    index = _index()
    counts = index.counts[advice]
    norm = _K1 * (1 - _B + _B * counts.total() / index.mean_length)
    return sum(index.rarity[word] * counts[word] * (_K1 + 1) / (counts[word] + norm) for word in words if word in counts)


def _words(text: str) -> set[str]:
    return {_stem(word) for word in re.findall(r"[^\W\d_]{2,}", normalise(text)) if word not in _STOP}


def _stem(word: str) -> str:
    """Plural and verb endings cut, so that "driving" meets "drive"."""
    for ending in ("ing", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


@cache
def _index() -> _Index:
    counts = {advice.id: _counted(advice) for advice in knowledge().advice.values()}
    found_in = Counter(word for words in counts.values() for word in words)
    total = len(counts)
    return _Index(
        counts=counts,
        rarity={word: math.log(1 + (total - number + 0.5) / (number + 0.5)) for word, number in found_in.items()},
        mean_length=sum(words.total() for words in counts.values()) / max(1, total),
    )


def _counted(advice: Advice) -> Counter[str]:
    topics = [word for topic in advice.topics for word in _words(topic.replace("_", " "))]
    body = [_stem(word) for word in re.findall(r"[^\W\d_]{2,}", normalise(advice.text)) if word not in _STOP]
    return Counter(topics * _TOPIC_WEIGHT + body)
