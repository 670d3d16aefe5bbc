"""Thresholds and temperatures, chosen on voices that were not trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from care.understanding import Intent
from nlu.labels import Temperatures

_STEPS = [0.05 * step for step in range(4, 17)]
_FEWEST = 5
"""With fewer positive examples an intent's own threshold would be chance: it takes the common one."""
_HEATS = [0.5 * 1.1**step for step in range(24)]


def best_temperatures(intents: Any, acuity: Any, wanted_intents: Any, wanted_acuity: Any) -> Temperatures:
    """The temperatures with the least loss on held-out logits; each between 0.5 and about 4.5."""
    binary, classes = nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()
    return Temperatures(
        intents=min(_HEATS, key=lambda heat: float(binary(intents / heat, wanted_intents))),
        acuity=min(_HEATS, key=lambda heat: float(classes(acuity / heat, wanted_acuity))),
    )


def best_thresholds(probabilities: Any, wanted: Any, names: list[Intent]) -> dict[Intent, float]:
    """Per intent the threshold with the best F1 on held-out probabilities `(messages, intents)`.

    Of equally good ones the middle; intents with few examples take the one that is best for all together.
    """
    common = _best(probabilities, wanted)
    chosen = {}
    for column, name in enumerate(names):
        enough = int(wanted[:, column].sum()) >= _FEWEST
        own = _best(probabilities[:, column], wanted[:, column]) if enough else common
        chosen[name] = round((own + common) / 2, 3)
    return chosen


def _best(probabilities: Any, wanted: Any) -> float:
    scored = [(_f1(probabilities >= step, wanted > 0.5), step) for step in _STEPS]
    top = max(value for value, _ in scored)
    equals = [step for value, step in scored if value >= top - 1e-9]
    return equals[len(equals) // 2]


def _f1(predicted: Any, wanted: Any) -> float:
    total = int(predicted.sum()) + int(wanted.sum())
    return 2 * int(torch.logical_and(predicted, wanted).sum()) / total if total else 0.0
