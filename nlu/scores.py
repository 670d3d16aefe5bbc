"""How good answers are: intents, spans, acuity and its calibration, on labelled messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel

from care.acuity import Acuity
from care.understanding import Understanding
from nlu.corpus import Example

_BINS = 10


class Scores(BaseModel):
    """Figures between 0 and 1 over `messages` messages; None where nothing in them could show the figure.

    `intent_macro_f1` is over the intents that occur. A span is right when label, start and end are. `over_call_rate` is the share of
    `self_care` and `routine` messages that were called `urgent` or `emergency`; `under_call_rate` the share of `urgent` and `emergency`
    ones called less than `urgent`. `acuity_ece` is the expected calibration error of the most probable acuity over ten equal bins.
    """

    messages: int
    intent_macro_f1: float | None
    intent_micro_f1: float | None
    intent_exact: float | None
    span_f1: float | None
    span_overlap_f1: float | None
    acuity_accuracy: float | None
    emergencies: int
    emergency_sensitivity: float | None
    emergency_at_least_urgent: float | None
    over_call_rate: float | None
    under_call_rate: float | None
    acuity_ece: float | None
    intent_f1: dict[str, float]


def f1(right: int, predicted: int, wanted: int) -> float | None:
    """The harmonic mean of precision and recall; None where nothing was predicted or wanted."""
    return 2 * right / (predicted + wanted) if predicted + wanted else None


def score(examples: list[Example], answers: list[Understanding]) -> Scores:
    """The answers' figures, in the order of `examples`."""
    right: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for example, answer in zip(examples, answers, strict=True):
        found = {str(intent.name) for intent in answer.intents}
        labelled = {str(intent) for intent in example.intents}
        right.update(found & labelled)
        predicted.update(found)
        wanted.update(labelled)
    by_intent = {name: f1(right[name], predicted[name], wanted[name]) or 0.0 for name in sorted(wanted)}
    pairs = [(example.acuity, answer.acuity_level) for example, answer in zip(examples, answers, strict=True)]
    emergencies = [called for label, called in pairs if label is Acuity.EMERGENCY]
    serious = [called for label, called in pairs if label.rank >= Acuity.URGENT.rank]
    mild = [called for label, called in pairs if label.rank < Acuity.URGENT.rank]
    confident = [(answer.acuity[answer.acuity_level], label is answer.acuity_level) for (label, _), answer in zip(pairs, answers, strict=True)]
    return Scores(
        messages=len(examples),
        intent_macro_f1=_mean(by_intent.values()),
        intent_micro_f1=f1(right.total(), predicted.total(), wanted.total()),
        intent_exact=_mean({intent.name for intent in answer.intents} == set(example.intents) for example, answer in zip(examples, answers, strict=True)),
        span_f1=_span_f1(examples, answers, exact=True),
        span_overlap_f1=_span_f1(examples, answers, exact=False),
        acuity_accuracy=_mean(label is called for label, called in pairs),
        emergencies=len(emergencies),
        emergency_sensitivity=_mean(called is Acuity.EMERGENCY for called in emergencies),
        emergency_at_least_urgent=_mean(called.rank >= Acuity.URGENT.rank for called in emergencies),
        over_call_rate=_mean(called.rank >= Acuity.URGENT.rank for called in mild),
        under_call_rate=_mean(called.rank < Acuity.URGENT.rank for called in serious),
        acuity_ece=calibration_error(confident),
        intent_f1=by_intent,
    )


def calibration_error(confident: list[tuple[float, bool]]) -> float | None:
    """Mean distance of confidence and hit rate over ten equal bins, weighted by their size."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, hit in confident:
        bins.setdefault(min(_BINS - 1, int(confidence * _BINS)), []).append((confidence, hit))
    distances = (abs(sum(confidence for confidence, _ in members) - sum(hit for _, hit in members)) for members in bins.values())
    return sum(distances) / len(confident) if confident else None


def _span_f1(examples: list[Example], answers: list[Understanding], *, exact: bool) -> float | None:
    hits = missed = predicted = wanted = 0
    for example, answer in zip(examples, answers, strict=True):
        found = [(span.label, span.start, span.end) for span in answer.spans]
        labelled = [(span.label, span.start, span.end) for span in example.spans]
        predicted += len(found)
        wanted += len(labelled)
        if exact:
            hits += 2 * len(set(found) & set(labelled))
        else:
            hits += sum(any(_touch(one, other) for other in labelled) for one in found)
            missed += sum(any(_touch(one, other) for other in found) for one in labelled)
    return (hits + missed) / (predicted + wanted) if predicted + wanted else None


def _touch(one: tuple[str, int, int], other: tuple[str, int, int]) -> bool:
    return one[0] == other[0] and one[1] < other[2] and other[1] < one[2]


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
