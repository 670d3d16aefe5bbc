"""How far two readers of LABELLING.md agree: the corpus's labels against a second reading made without sight of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from care.acuity import Acuity
from care.understanding import Intent, SpanLabel
from nlu.borders import settled
from nlu.corpus import CORPORA, Corpus, read_markup
from nlu.scores import span_f1

SECOND_READING = CORPORA / "second_reading.yaml"


class Reading(BaseModel):
    """A message as the second reader labelled it, with its spans marked in the text."""

    model_config = ConfigDict(extra="forbid")
    voice: str
    text: str
    intents: list[Intent] = Field(min_length=1)
    acuity: Acuity


class Agreement(BaseModel):
    """Over `messages` messages: those with the same intents, with the same acuity, at most one level apart, the acuity's kappa, and the F1 of one reader's
    spans against the other's: with exact borders, of all and by label, and as soon as two touch."""

    messages: int
    same_intents: float
    same_acuity: float
    acuity_within_one: float
    acuity_kappa: float
    span_f1: float
    span_overlap_f1: float
    span_f1_by_label: dict[str, float]


def agreement(corpus: Corpus, path: Path = SECOND_READING) -> Agreement | None:
    """The agreement on those messages of the second reading that the corpus holds; None where it holds none."""
    readings = [Reading.model_validate(entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]
    labelled = {(example.voice, example.text): example for part in (corpus.train, corpus.validation, corpus.test) for example in part}
    read = [(reading, *read_markup(reading.text)) for reading in readings]
    pairs = [(first, reading) for reading, text, _ in read if (first := labelled.get((reading.voice, text)))]
    spans = [(first.spans, settled(text, marked)) for reading, text, marked in read if (first := labelled.get((reading.voice, text)))]
    if not pairs:
        return None
    levels = [(first.acuity, second.acuity) for first, second in pairs]
    same = sum(one is other for one, other in levels) / len(levels)
    ours, theirs = Counter(one for one, _ in levels), Counter(other for _, other in levels)
    chance = sum(ours[level] * theirs[level] for level in Acuity) / len(levels) ** 2
    return Agreement(
        messages=len(pairs),
        same_intents=sum(set(first.intents) == set(second.intents) for first, second in pairs) / len(pairs),
        same_acuity=same,
        acuity_within_one=sum(abs(one.rank - other.rank) <= 1 for one, other in levels) / len(levels),
        acuity_kappa=(same - chance) / (1 - chance),
        span_f1=span_f1(spans, exact=True) or 0.0,
        span_overlap_f1=span_f1(spans, exact=False) or 0.0,
        span_f1_by_label={str(label): value for label in SpanLabel if (value := span_f1(spans, exact=True, label=label)) is not None},
    )
