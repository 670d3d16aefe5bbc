"""Changes to messages that leave their labels true: typos, SMS shorthand, exchanged words, joined messages, made ones."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from care.acuity import highest
from care.knowledge import knowledge
from care.understanding import Intent, SpanLabel
from nlu.corpus import Example, Task
from nlu.templates import Templates, told_by_rules

_SHORTHAND = {
    "you": "u", "your": "ur", "are": "r", "because": "cuz", "please": "pls", "tomorrow": "tmrw", "today": "2day", "and": "n",
    "with": "w", "before": "b4", "something": "smth", "doctor": "dr", "appointment": "appt", "medicine": "meds", "about": "abt",
    "really": "rly", "though": "tho", "through": "thru", "going to": "gonna", "want to": "wanna", "i am": "im", "okay": "ok",
}  # fmt: skip
_SHORT_PATTERN = re.compile(r"\b(" + "|".join(_SHORTHAND) + r")\b", re.IGNORECASE)
_PUNCTUATION = re.compile(r"(?<!\d)[.,!?;:'’\"-]+(?!\d)")
_PREFACES = {Intent.GREET, Intent.THANKS, Intent.AFFIRM, Intent.DENY, Intent.GIVE_VALUE, Intent.MEDICINE_TAKEN, Intent.MEDICINE_LATER}
_EXCHANGED = set(SpanLabel) - {SpanLabel.NEGATION, SpanLabel.VALUE}
_TELLING = {SpanLabel.SYMPTOM, SpanLabel.SITE, SpanLabel.MEDICINE, SpanLabel.SEVERITY, SpanLabel.DURATION, SpanLabel.ONSET}
"""Other words of these may call for another acuity."""


class Augmentation(BaseModel):
    """The chance of each change, per message and epoch.

    `denied` and `templates` are made messages per message, `rules` the share of the red-flag rules' own texts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    typo: float = Field(ge=0, le=1)
    punctuation: float = Field(ge=0, le=1)
    shorthand: float = Field(ge=0, le=1)
    join: float = Field(ge=0, le=1)
    compose: float = Field(ge=0, le=1)
    synonym: float = Field(ge=0, le=1)
    exchange: float = Field(ge=0, le=1)
    denied: float = Field(ge=0, le=1)
    templates: float = Field(ge=0, le=1)
    rules: float = Field(ge=0, le=1)


class Augmenter:
    """Draws an epoch's messages from those of the training voices."""

    def __init__(self, examples: list[Example], chances: Augmentation, templates: Templates, rng: random.Random, most: int = 0) -> None:
        self.examples, self.chances, self.templates, self.rng = examples, chances, templates, rng
        self.most = most
        self._told_by_rules = told_by_rules()
        self._prefaces = [example for example in examples if may_preface(example)]
        self._reports = [example for example in examples if Intent.REPORT_SYMPTOM in example.intents and len(example.text) < 120]
        self._words: dict[tuple[SpanLabel, str | None], list[str]] = {}
        for example in examples:
            for span in example.spans:
                if span.label in _EXCHANGED:
                    self._words.setdefault((span.label, span.status), []).append(example.text[span.start : span.end])
        self._same: dict[str, list[str]] = {}
        for symptom in knowledge().symptoms.values():
            names = [name for name in symptom.synonyms if name.isascii()]
            self._same.update({name: names for name in names if len(names) > 1})

    def epoch(self) -> list[Example]:
        """Every message once (or as many as are drawn), perhaps changed, with the made ones among them, in random order."""
        chosen = self.rng.sample(self.examples, self.most) if 0 < self.most < len(self.examples) else self.examples
        drawn = [self.changed(example) for example in chosen]
        drawn += self.templates.denials(int(self.chances.denied * len(chosen)), self.rng)
        drawn += self.templates.made(int(self.chances.templates * len(chosen)), self.rng)
        drawn += [self.changed(example) for example in self._told_by_rules if self.rng.random() < self.chances.rules]
        self.rng.shuffle(drawn)
        return drawn

    def changed(self, example: Example) -> Example:
        """The message, perhaps changed."""
        rng, chances = self.rng, self.chances
        if rng.random() < chances.synonym:
            example = self._with_synonyms(example)
        if example.spans and rng.random() < chances.exchange:
            example = self._with_other_words(example)
        if rng.random() < chances.shorthand:
            example = _each_match(example, _SHORT_PATTERN, lambda words: _SHORTHAND[words.lower()], rng, 0.6)
        if rng.random() < chances.punctuation:
            example = _each_match(example, _PUNCTUATION, lambda _: "", rng, 0.8)
        if rng.random() < chances.typo:
            for _ in range(1 + len(example.text) // 60):
                example = _with_typo(example, rng)
        if Intent.REPORT_SYMPTOM in example.intents and len(example.text) < 120 and rng.random() < chances.compose:
            example = _joined(rng.choice(self._reports), example, rng)
        if self._prefaces and rng.random() < chances.join and not set(example.intents) & _PREFACES:
            example = _joined(rng.choice(self._prefaces), example, rng)
        return example

    def _with_synonyms(self, example: Example) -> Example:
        for number in reversed(range(len(example.spans))):
            span = example.spans[number]
            same = self._same.get(example.text[span.start : span.end].lower().replace("'", ""))
            if span.label is SpanLabel.SYMPTOM and same:
                example = _respelled(example, number, self.rng.choice(same))
        return example

    def _with_other_words(self, example: Example) -> Example:
        number = self.rng.randrange(len(example.spans))
        span = example.spans[number]
        words = self._words.get((span.label, span.status))
        if not words:
            return example
        lost = {Task.ACUITY} if span.label in _TELLING else set()
        return replace(_respelled(example, number, self.rng.choice(words)), known=example.known - lost)


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
        spans.append(replace(span, start=begin, end=stop))
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
    moved = tuple(replace(span, start=span.start + offset, end=span.end + offset) for span in second.spans)
    return replace(
        second,
        text=first.text + border + second.text,
        intents=tuple(dict.fromkeys((*first.intents, *second.intents))),
        acuity=highest((first.acuity, second.acuity)),
        spans=first.spans + moved,
        known=first.known & second.known,
    )


def _respelled(example: Example, number: int, words: str) -> Example:
    """The message with other words for one of its spans, whose borders are kept around them."""
    span = example.spans[number]
    shift = len(words) - (span.end - span.start)
    spans = [
        replace(other, start=other.start + (shift if other.start >= span.end else 0), end=other.end + (shift if other.end >= span.end else 0))
        for other in example.spans
    ]
    return replace(example, text=example.text[: span.start] + words + example.text[span.end :], spans=tuple(spans))
