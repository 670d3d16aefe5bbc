"""How far two readers of LABELLING.md agree: the corpus's labels against a second reading made without sight of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from care.acuity import Acuity
from care.understanding import Intent
from nlu.corpus import CORPORA, Corpus

SECOND_READING = CORPORA / "second_reading.yaml"


class Reading(BaseModel):
    """A message as the second reader labelled it."""

    model_config = ConfigDict(extra="forbid")
    voice: str
    text: str
    intents: list[Intent] = Field(min_length=1)
    acuity: Acuity


class Agreement(BaseModel):
    """Over `messages` messages: those with the same intents, with the same acuity, at most one level apart, and the acuity's kappa."""

    messages: int
    same_intents: float
    same_acuity: float
    acuity_within_one: float
    acuity_kappa: float


def agreement(corpus: Corpus, path: Path = SECOND_READING) -> Agreement | None:
    """The agreement on those messages of the second reading that the corpus holds; None where it holds none."""
    readings = [Reading.model_validate(entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]
    labelled = {(example.voice, example.text): example for part in (corpus.train, corpus.validation, corpus.test) for example in part}
    pairs = [(first, reading) for reading in readings if (first := labelled.get((reading.voice, reading.text)))]
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
    )
