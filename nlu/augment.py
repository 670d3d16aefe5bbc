"""Light changes to a message that leave its labels true: typos, dropped punctuation, SMS shorthand, a short message put before."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from care.acuity import highest
from care.understanding import Intent
from nlu.corpus import Example, LabelledSpan

_SHORTHAND = {
    "you": "u", "your": "ur", "are": "r", "because": "cuz", "please": "pls", "tomorrow": "tmrw", "today": "2day", "and": "n",
    "with": "w", "before": "b4", "something": "smth", "doctor": "dr", "appointment": "appt", "medicine": "meds", "about": "abt",
    "really": "rly", "though": "tho", "through": "thru", "going to": "gonna", "want to": "wanna", "i am": "im", "okay": "ok",
}  # fmt: skip
_SHORT_PATTERN = re.compile(r"\b(" + "|".join(_SHORTHAND) + r")\b", re.IGNORECASE)
_PUNCTUATION = re.compile(r"(?<!\d)[.,!?;:'’\"-]+(?!\d)")
_PREFACES = {Intent.GREET, Intent.THANKS, Intent.AFFIRM, Intent.DENY, Intent.GIVE_VALUE, Intent.MEDICINE_TAKEN, Intent.MEDICINE_LATER}


class Augmentation(BaseModel):
    """The chance of each change, per message and epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    typo: float = Field(ge=0, le=1)
    punctuation: float = Field(ge=0, le=1)
    shorthand: float = Field(ge=0, le=1)
    join: float = Field(ge=0, le=1)


def augmented(example: Example, prefaces: list[Example], chances: Augmentation, rng: random.Random) -> Example:
    """`example`, perhaps changed. `prefaces` are the messages of `may_preface` that may be put before it."""
    if rng.random() < chances.shorthand:
        example = _each_match(example, _SHORT_PATTERN, lambda words: _SHORTHAND[words.lower()], rng, 0.6)
    if rng.random() < chances.punctuation:
        example = _each_match(example, _PUNCTUATION, lambda _: "", rng, 0.8)
    if rng.random() < chances.typo:
        for _ in range(1 + len(example.text) // 60):
            example = _with_typo(example, rng)
    if prefaces and rng.random() < chances.join and not set(example.intents) & _PREFACES:
        example = _joined(rng.choice(prefaces), example, rng)
    return example


def may_preface(example: Example) -> bool:
    """Whether the message is a greeting or a short answer that can stand before any other."""
    return set(example.intents) <= _PREFACES and len(example.text) <= 40


def _edited(example: Example, start: int, end: int, words: str) -> Example:
    """`text[start:end]` replaced by `words`, every span moved along; unchanged where a span or the text would become empty."""
    shift = len(words) - (end - start)
    spans = []
    for span in example.spans:
        begin = span.start if span.start <= start else max(span.start + shift, start)
        stop = span.end if span.end <= start else max(span.end + shift, start)
        if stop <= begin:
            return example
        spans.append(LabelledSpan(span.label, begin, stop))
    text = example.text[:start] + words + example.text[end:]
    return replace(example, text=text, spans=tuple(spans)) if text.strip() else example


def _each_match(example: Example, pattern: re.Pattern[str], words: Callable[[str], str], rng: random.Random, chance: float) -> Example:
    for match in reversed(list(pattern.finditer(example.text))):
        if rng.random() < chance:
            example = _edited(example, match.start(), match.end(), words(match.group()))
    return example


def _with_typo(example: Example, rng: random.Random) -> Example:
    places = list(re.finditer(r"[A-Za-z]{4,}", example.text))
    if not places:
        return example
    word = rng.choice(places)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    pair = example.text[at : at + 2]
    kind = rng.randrange(3)
    if kind == 0:
        return _edited(example, at, at + 2, pair[::-1])
    if kind == 1:
        return _edited(example, at, at + 1, "")
    return _edited(example, at, at + 1, pair[0] * 2)


def _joined(first: Example, second: Example, rng: random.Random) -> Example:
    border = rng.choice([". ", " ", ", ", "\n"])
    offset = len(first.text) + len(border)
    moved = tuple(LabelledSpan(span.label, span.start + offset, span.end + offset) for span in second.spans)
    return Example(
        second.voice,
        first.text + border + second.text,
        tuple(dict.fromkeys((*first.intents, *second.intents))),
        highest((first.acuity, second.acuity)),
        first.spans + moved,
    )
