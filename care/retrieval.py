"""Approved advice for a report or question: by likeness of meaning, by shared words (BM25 over topics and text), and by the graph from symptom to advice."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from care.knowledge import knowledge
from care.knowledge.model import Advice
from care.redflags.normalise import normalise
from care.triage.model import AdviceCandidate, PatientContext
from care.understanding import UnderstandingUnavailable

_K1, _B = 1.2, 0.75
"""BM25's usual constants (Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009)."""
_TOPIC_WEIGHT = 3
"""A topic is the word that a patient asks by: it counts as often as this in the text."""
_SYMPTOM_SCORE = 3.0
_PROTOCOL_SCORE = 0.5
_LEAST_SCORE = 1.5
"""Below this only common words are shared."""
_LIKENESS_SCORE = 100.0
_LIKE_SYMPTOM_SCORE = _LIKE_PROTOCOL_SCORE = 5.0
_LEAST_LIKENESS = 0.37
"""Small talk and what is out of scope of the training voices stay below it (95 of 100), questions about recovery mostly do not."""
_MAX_READ = 4_000
LIKENESS_DEADLINE_S = 3.0
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


@dataclass(frozen=True)
class _Fit:
    """How well a statement fits, and whether that alone is enough for it to be offered."""

    advice: Advice
    score: float
    enough: bool


class Likeness(Protocol):
    """The port to what compares a text with the approved statements in meaning."""

    def alike(self, text: str, deadline_s: float) -> dict[str, float]:
        """How like `text` each approved statement is, by id, from -1 to 1, within `deadline_s` seconds. Raises `UnderstandingUnavailable`."""
        ...


def likeness_of(text: str, port: Likeness | None, deadline_s: float = LIKENESS_DEADLINE_S) -> dict[str, float] | None:
    """What `port` says of `text` within `deadline_s` seconds; None where there is none, or it is away."""
    try:
        return port.alike(text, deadline_s) if port is not None else None
    except UnderstandingUnavailable:
        return None


def advice_for(text: str, symptoms: list[str], context: PatientContext, limit: int = 5, likeness: Mapping[str, float] | None = None) -> list[AdviceCandidate]:
    """At most `limit` statements that fit `text` and the symptom ids, best first, in the patient's language; empty where nothing fits.

    Without `likeness` (the encoder is away, say) words and symptoms decide alone; with it, one that fits well enough brings the next best along.
    A statement of the patient's protocol goes before an equal one; one of other protocols, or `not_for` what the patient has, is never offered.
    """
    words = _words(text[:_MAX_READ])
    fits = [_fit(advice, words, symptoms, context, likeness) for advice in knowledge().advice.values() if _may_be_offered(advice, symptoms, context)]
    if not any(fit.enough for fit in fits):
        return []
    fits = [fit for fit in fits if fit.enough or likeness is not None]
    fits.sort(key=lambda fit: (-fit.score, fit.advice.id))
    return [AdviceCandidate(id=fit.advice.id, text=fit.advice.said(context.language)) for fit in fits[:limit]]


def _may_be_offered(advice: Advice, symptoms: list[str], context: PatientContext) -> bool:
    of_another = context.protocol and advice.protocols and context.protocol not in advice.protocols
    barred = {*context.history, *symptoms, context.protocol or ""}.intersection(advice.not_for)
    return not (of_another or barred or advice.id in _of_red_flags())


def _fit(advice: Advice, words: set[str], symptoms: list[str], context: PatientContext, likeness: Mapping[str, float] | None) -> _Fit:
    shared, of_symptoms = _shared(words, advice.id), len(set(symptoms).intersection(advice.symptoms)) ** 0.5
    by_words = shared + _SYMPTOM_SCORE * of_symptoms
    if likeness is None:
        protocol = knowledge().protocols.get(context.protocol or "")
        own = protocol is not None and advice.id in protocol.advice
        return _Fit(advice, by_words + _PROTOCOL_SCORE * own, by_words >= _LEAST_SCORE)
    like = likeness.get(advice.id, 0.0)
    meant = context.protocol in advice.protocols if context.protocol else not advice.protocols
    score = _LIKENESS_SCORE * like + shared + _LIKE_SYMPTOM_SCORE * of_symptoms + _LIKE_PROTOCOL_SCORE * meant
    return _Fit(advice, score, like >= _LEAST_LIKENESS or by_words >= _SYMPTOM_SCORE)


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
