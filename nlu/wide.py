"""What is counted rather than learnt by gradient: a linear reading of a message's very words, and which span tag follows which.

The linear reading stands beside the network: what the network smooths over ("breth", "unsubscribe", "say again") counts here.

Features are hashed runs of one to three words and of two to five letters within a word; each of the two kinds is normalised to length one.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from care.acuity import Acuity
from care.understanding import Intent, SpanLabel
from nlu.corpus import Example, Task
from nlu.decoding import transitions_of
from nlu.tokens import Tokenised

WORDS, LETTERS = 2**13, 2**14
"""Places of the two kinds of features; two that fall together are told apart by the others."""
FEATURES = WORDS + LETTERS
TAGS = 1 + 2 * len(SpanLabel)
_STRENGTH = {"intents": 20.0, "acuity": 10.0}
"""Inverse of the ridge penalty: chosen on the validation voices."""
_SAME = 1e-3


class Wide:
    """The weights of every feature for each intent and each cumulative acuity logit, `(features, outputs)`, and a bias for each output.

    `transitions` is how likely a span tag follows another, `(tags, tags)`.
    """

    def __init__(self, weights: Any, bias: Any, transitions: Any) -> None:
        self.weights, self.bias, self.transitions = weights, bias, transitions

    def scores(self, texts: list[Tokenised]) -> tuple[Any, Any]:
        """What the words say: `(texts, intents)` and `(texts, acuities - 1)`."""
        rows = []
        for text in texts:
            places, values = features_of(text.words)
            rows.append(values @ self.weights[places] + self.bias if len(places) else self.bias)
        scores = torch.from_numpy(np.stack(rows)).float()
        return scores[:, : len(Intent)], scores[:, len(Intent) :]

    def state(self) -> dict[str, Any]:
        """The weights as they are shipped: a byte each, with a scale for each output."""
        scale = np.abs(self.weights).max(axis=0) / 127 + _SAME / 127
        return {
            "wide.weights": torch.from_numpy(np.round(self.weights / scale).astype(np.int8)),
            "wide.scale": torch.from_numpy(scale.astype(np.float32)),
            "wide.bias": torch.from_numpy(self.bias.astype(np.float32)),
            "wide.transitions": torch.from_numpy(self.transitions.astype(np.float32)),
        }

    @classmethod
    def of(cls, state: dict[str, Any]) -> Wide:
        """The inverse of `state`. Raises `KeyError` for a missing part, `ValueError` for one of another shape."""
        weights, scale, bias, transitions = (state[f"wide.{name}"].numpy() for name in ("weights", "scale", "bias", "transitions"))
        outputs = len(Intent) + len(Acuity) - 1
        if weights.shape != (FEATURES, outputs) or scale.shape != bias.shape or bias.shape != (outputs,):
            raise ValueError(f"wide.weights is {weights.shape}, expected {(FEATURES, outputs)}")
        if transitions.shape != (TAGS, TAGS):
            raise ValueError(f"wide.transitions is {transitions.shape}, expected {(TAGS, TAGS)}")
        return cls(weights.astype(np.float32) * scale, bias, transitions)

    @classmethod
    def silent(cls) -> Wide:
        """One that adds nothing."""
        outputs = len(Intent) + len(Acuity) - 1
        return cls(np.zeros((FEATURES, outputs), dtype=np.float32), np.zeros(outputs, dtype=np.float32), np.zeros((TAGS, TAGS), dtype=np.float32))


def features_of(words: list[str]) -> tuple[Any, Any]:
    """The places of the words' features, and how much each counts."""
    runs = Counter(_place(" ".join(words[at : at + length]), WORDS) for length in (1, 2, 3) for at in range(len(words) - length + 1))
    letters: Counter[int] = Counter()
    for word in words:
        letters.update(_letters(word))
    places = np.fromiter((*runs, *(WORDS + place for place in letters)), dtype=np.int64)
    values = np.concatenate([_unit(runs.values()), _unit(letters.values())])
    return places, values


def fitted(examples: Iterable[Example], words: Iterable[list[str]], tags: Iterable[list[int]]) -> Wide:
    """The weights that tell the examples' intents and acuities by logistic regression, each output on its own; and what follows what in `tags`."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    known = list(examples)
    rows = [features_of(each) for each in words]
    ends = np.cumsum([0, *(len(places) for places, _ in rows)])
    matrix = csr_matrix((np.concatenate([values for _, values in rows]), np.concatenate([places for places, _ in rows]), ends), shape=(len(rows), FEATURES))
    outputs: list[tuple[Task, Any]] = [(Task.INTENTS, [intent in example.intents for example in known]) for intent in Intent]
    outputs += [(Task.ACUITY, [example.acuity.rank > level.rank for example in known]) for level in list(Acuity)[:-1]]
    columns, bias = [], []
    for task, told in outputs:
        use = np.array([task in example.known for example in known])
        wanted = np.array(told)[use]
        if wanted.all() or not wanted.any():
            columns.append(np.zeros(FEATURES))
            bias.append(4.0 if wanted.any() else -4.0)
            continue
        model = LogisticRegression(C=_STRENGTH[task], solver="liblinear").fit(matrix[use], wanted)
        columns.append(model.coef_[0])
        bias.append(float(model.intercept_[0]))
    return Wide.of(Wide(np.stack(columns, axis=1), np.array(bias), transitions_of(tags, TAGS)).state())


def _unit(counts: Iterable[int]) -> Any:
    values = np.fromiter(counts, dtype=np.float32)
    return values / math.sqrt(float((values**2).sum()) or 1.0)


@lru_cache(maxsize=8192)
def _letters(word: str) -> tuple[int, ...]:
    padded = f" {word} "
    return tuple(_place(padded[at : at + length], LETTERS) for length in (2, 3, 4, 5) for at in range(len(padded) - length + 1))


def _place(feature: str, places: int) -> int:
    return zlib.crc32(feature.encode("utf-8", "surrogatepass")) % places
