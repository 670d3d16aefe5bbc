"""Temperatures and thresholds, chosen on voices that were not trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from care.acuity import Acuity
from care.understanding import Intent
from nlu.labels import Leaning, Shares

_STEPS = [0.05 * step for step in range(4, 17)]
_FEWEST = 5
"""With fewer positive examples an intent's own threshold would be chance: it takes the common one."""
_HEATS = [0.4 * 1.1**step for step in range(26)]
_SHARES = (0.0, 0.2, 0.35, 0.5, 0.7, 1.0)
_LEVELS = [0.01 * step for step in range(2, 71)]
_FOUND, _ALARMS = 0.99, 0.137
"""Wanted share of emergencies called so, and most false alarms: the 15 % that are allowed less a standard error on the validation voices."""
_LEAST, _TURNED_AWAY = (0.6, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2), 0.025
"""Of the messages that are ours 3 % may be turned away; the rest is margin."""
_MARGIN = 0.8
"""The threshold that finds the emergencies of a few voices is lowered by this for those of others."""


def best_heat(loss: Any, logits: Any) -> float:
    """The temperature with the least `loss` of the divided logits; between 0.4 and about 4.3."""
    return min(_HEATS, key=lambda heat: float(loss(logits / heat)))


def intent_heat(logits: Any, wanted: Any) -> float:
    """The temperature of the intents, each on its own."""
    return best_heat(lambda cooled: nn.functional.binary_cross_entropy_with_logits(cooled, wanted), logits)


def acuity_heat(logits: Any, wanted: Any) -> float:
    """The temperature of the cumulative acuity logits by the likelihood of the levels."""
    return best_heat(lambda cooled: nn.functional.nll_loss(level_probabilities(cooled).clamp(min=1e-9).log(), wanted), logits)


def best_shares(intents: tuple[Any, Any], acuity: tuple[Any, Any], wanted: Any, level: Any) -> Shares:
    """How much of the second logits of each pair to add to the first, by the likelihood of the held-out labels at the best temperature."""

    def unlike_intents(share: float) -> float:
        logits = intents[0] + share * intents[1]
        return float(nn.functional.binary_cross_entropy_with_logits(logits / intent_heat(logits, wanted), wanted))

    def unlike_acuity(share: float) -> float:
        logits = (acuity[0] + share * acuity[1]).cummin(dim=1).values
        return float(nn.functional.nll_loss(level_probabilities(logits / acuity_heat(logits, level)).clamp(min=1e-9).log(), level))

    return Shares(intents=min(_SHARES, key=unlike_intents), acuity=min(_SHARES, key=unlike_acuity))


def level_probabilities(logits: Any) -> Any:
    """`(texts, acuities)` from cumulative logits `(texts, acuities - 1)`."""
    above = torch.sigmoid(logits)
    ones, zeros = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
    return torch.cat([ones, above], dim=1) - torch.cat([above, zeros], dim=1)


def best_thresholds(probabilities: Any, wanted: Any, names: list[Intent]) -> dict[Intent, float]:
    """Per intent the threshold with the best F1 on held-out probabilities `(messages, intents)`.

    Of equally good ones the middle; half way to the one that is best for all together, which those with few examples take.
    """
    common = _best(probabilities, wanted)
    chosen = {}
    for column, name in enumerate(names):
        enough = int(wanted[:, column].sum()) >= _FEWEST
        own = _best(probabilities[:, column], wanted[:, column]) if enough else common
        chosen[name] = round((own + common) / 2, 3)
    return chosen


def best_least(probabilities: Any, wanted: Any, thresholds: list[float], names: list[Intent]) -> float:
    """The probability at which the likeliest intent is answered where none reaches its threshold.

    The highest at which few messages are turned away that are ours: as out of scope, or for want of any intent.
    """
    outside = names.index(Intent.OUT_OF_SCOPE)
    ours = wanted[:, outside] < 0.5
    sure = probabilities >= torch.tensor(thresholds)
    top = nn.functional.one_hot(probabilities.argmax(1), probabilities.shape[1]).bool() & ~sure.any(dim=1, keepdim=True)
    for least in _LEAST:
        answered = sure | (top & (probabilities >= least))
        if float((answered[ours, outside] | ~answered[ours].any(dim=1)).float().mean()) <= _TURNED_AWAY:
            return least
    return _LEAST[-1]


def best_leaning(probabilities: Any, wanted: Any) -> Leaning:
    """Thresholds for `probabilities` of levels `(texts, acuities)`: emergencies, and what is urgent or more, are hardly ever called less."""
    levels = list(Acuity)
    above = probabilities.flip(1).cumsum(1).flip(1)
    found = {}
    for level in (Acuity.URGENT, Acuity.EMERGENCY):
        at = levels.index(level)
        found[level] = _serious(above[:, at], wanted >= at)
    return Leaning(routine=0.5, urgent=found[Acuity.URGENT], emergency=found[Acuity.EMERGENCY])


def _serious(probability: Any, serious: Any) -> float:
    """The highest threshold that finds nearly all, with margin; higher where that would give too many false alarms."""
    finding = [step for step in _LEVELS if not serious.any() or float((probability[serious] >= step).float().mean()) >= _FOUND]
    quiet = [step for step in _LEVELS if serious.all() or float((probability[~serious] >= step).float().mean()) <= _ALARMS]
    wished = _MARGIN * max(finding, default=_LEVELS[0])
    return round(min(0.5, max(wished, min(quiet, default=_LEVELS[-1]))), 3)


def _best(probabilities: Any, wanted: Any) -> float:
    scored = [(_f1(probabilities >= step, wanted > 0.5), step) for step in _STEPS]
    top = max(value for value, _ in scored)
    equals = [step for value, step in scored if value >= top - 1e-9]
    return equals[len(equals) // 2]


def _f1(predicted: Any, wanted: Any) -> float:
    total = int(predicted.sum()) + int(wanted.sum())
    return 2 * int(torch.logical_and(predicted, wanted).sum()) / total if total else 0.0
