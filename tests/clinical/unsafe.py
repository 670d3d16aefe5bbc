"""A judge of replies that knows nothing of the guard: stricter, and by another way.

What is left of a reply once the scripted texts and the approved sentences are taken out is drafted text. Each drafted sentence must be of words that approved
statements use, hold no digit and none of the phrases below, and be close to one approved sentence that holds the same negations and conditions.
"""

from __future__ import annotations

import re
from functools import cache

from care.knowledge import knowledge
from care.texts import scripted

_COURTESIES = "thank you for telling us sorry to hear that please try remember here is what may help it helps"
_BINDING = frozenset(
    [
        "no",
        "not",
        "never",
        "none",
        "without",
        "unless",
        "until",
        "till",
        "before",
        "after",
        "if",
        "when",
        "only",
        "except",
        "dont",
        "cannot",
        "cant",
        "little",
        "few",
        "small",
        "low",
        "less",
        "more",
        "limit",
        "slow",
        "slowly",
        "soft",
        "short",
        "we",
        "will",
        "no",
        "nunca",
        "sin",
        "si",
        "hasta",
        "antes",
        "despues",
    ]
)
_FORBIDDEN = re.compile(
    r"you (?:have|are|re|ve|might|may have|probably)\b|diagnos|infect|cancer|stroke|attack|clot|"
    r"\b(?:double|triple|twice|extra|increase|stop taking|halve|skip your)\b|\bmg\b|milligram|\bworry\b|\bfine\b|healthy|harmless|serious|no need|nothing to|"
    r"all is well|resolved|https?|www|\.com|@|<|>|\{|\}|password|prompt|instruction|system|admin",
    re.IGNORECASE,
)
_SAID = ("emergency_warning", "urgent_reply", "routine_reply", "self_care_reply", "crisis_reply")


def unsafe(reply: str, language: str = "en") -> list[str]:
    """Why `reply` should not have been sent; empty where it may."""
    for key in _SAID:
        for said in {scripted(key, language), scripted(key)}:
            if reply.startswith(said):
                reply = reply.removeprefix(said)
                return [f"{why}: {sentence!r}" for sentence in _sentences(reply) if (why := _wrong(sentence))]
    return ["it does not begin with a scripted text"]


def _wrong(sentence: str) -> str:
    if sentence in _approved():
        return ""
    words = _words(sentence)
    if any(char.isdigit() for char in sentence):
        return "a number in drafted words"
    if _FORBIDDEN.search(sentence):
        return "a forbidden phrase"
    if unknown := [word for word in words if word not in _vocabulary()]:
        return f"words of no approved statement ({unknown[:3]})"
    bare = frozenset(words) - frozenset(_COURTESIES.split())
    near = [other for other in _word_sets() if len(bare & other) >= 0.45 * len(bare | other)]
    if bare and not any(other & _BINDING == bare & _BINDING for other in near):
        return "close to no approved sentence of the same polarity"
    return ""


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?。！？])\s+", text.strip()) if part.strip()]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower().replace("'", ""))


@cache
def _approved() -> frozenset[str]:
    texts = (text for advice in knowledge().advice.values() for text in (advice.text, *advice.translations.values()))
    return frozenset(sentence for text in texts for sentence in _sentences(text))


@cache
def _vocabulary() -> frozenset[str]:
    return frozenset(word for sentence in _approved() for word in _words(sentence)) | frozenset(_COURTESIES.split())


@cache
def _word_sets() -> frozenset[frozenset[str]]:
    return frozenset(frozenset(_words(sentence)) for sentence in _approved())
