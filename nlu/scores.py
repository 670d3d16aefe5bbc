"""How good answers are: intents, spans, acuity and its calibration, on labelled messages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from pydantic import BaseModel

from care.acuity import Acuity
from care.understanding import Intent, SpanLabel, SymptomStatus, Understanding
from nlu.corpus import Example

_BINS = 10


class Marked(Protocol):
    """Words of a text that were marked, by a reader or by the encoder."""

    @property
    def label(self) -> SpanLabel:
        """What they were marked as."""
        ...

    @property
    def start(self) -> int:
        """Where they begin, in characters."""
        ...

    @property
    def end(self) -> int:
        """Where they end."""
        ...


class Scores(BaseModel):
    """Figures between 0 and 1 over `messages` messages; None where nothing in them could show the figure.

    `intent_macro_f1` is over the intents that occur. A span is right when label, start and end are. `over_call_rate` is the share of
    `self_care` and `routine` messages that were called `urgent` or `emergency`; `under_call_rate` the share of `urgent` and `emergency`
    ones called less than `urgent`; `false_alarm_rate` the share of all that are no emergency and were called one. What is called is
    the level under the thresholds that lean to the serious side; `acuity_accuracy` and `acuity_ece`, the expected calibration error
    over ten equal bins, are of the most probable level. `status_accuracy` is over the symptoms found with the right borders,
    `status_f1` the mean F1 of the denied, another's and past ones among them. A message is rejected where the answer is out of scope,
    or no intent at all.
    """

    messages: int
    intent_macro_f1: float | None
    intent_micro_f1: float | None
    intent_exact: float | None
    span_f1: float | None
    span_overlap_f1: float | None
    status_accuracy: float | None
    status_f1: float | None
    status_f1_by_status: dict[str, float]
    acuity_accuracy: float | None
    emergencies: int
    emergency_sensitivity: float | None
    emergency_at_least_urgent: float | None
    over_call_rate: float | None
    under_call_rate: float | None
    false_alarm_rate: float | None
    acuity_ece: float | None
    out_of_scope_rejected: float | None
    false_rejections: float | None
    intent_f1: dict[str, float]
    span_f1_by_label: dict[str, float]


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
    calm = [called for label, called in pairs if label is not Acuity.EMERGENCY]
    probable = [most_probable(answer) for answer in answers]
    confident = [(answer.acuity[level], example.acuity is level) for example, answer, level in zip(examples, answers, probable, strict=True)]
    spans = [(example.spans, answer.spans) for example, answer in zip(examples, answers, strict=True)]
    statuses = _statuses(examples, answers)
    by_status = {
        str(status): f1(sum(a is b is status for a, b in statuses), sum(b is status for _, b in statuses), sum(a is status for a, _ in statuses)) or 0.0
        for status in sorted({label for label, _ in statuses} - {SymptomStatus.PRESENT})
    }
    foreign = [rejected(answer) for example, answer in zip(examples, answers, strict=True) if Intent.OUT_OF_SCOPE in example.intents]
    ours = [rejected(answer) for example, answer in zip(examples, answers, strict=True) if Intent.OUT_OF_SCOPE not in example.intents]
    return Scores(
        messages=len(examples),
        intent_macro_f1=_mean(by_intent.values()),
        intent_micro_f1=f1(right.total(), predicted.total(), wanted.total()),
        intent_exact=_mean({intent.name for intent in answer.intents} == set(example.intents) for example, answer in zip(examples, answers, strict=True)),
        span_f1=span_f1(spans, exact=True),
        span_overlap_f1=span_f1(spans, exact=False),
        status_accuracy=_mean(label is answer for label, answer in statuses),
        status_f1=_mean(by_status.values()),
        status_f1_by_status=by_status,
        acuity_accuracy=_mean(hit for _, hit in confident),
        emergencies=len(emergencies),
        emergency_sensitivity=_mean(called is Acuity.EMERGENCY for called in emergencies),
        emergency_at_least_urgent=_mean(called.rank >= Acuity.URGENT.rank for called in emergencies),
        over_call_rate=_mean(called.rank >= Acuity.URGENT.rank for called in mild),
        under_call_rate=_mean(called.rank < Acuity.URGENT.rank for called in serious),
        false_alarm_rate=_mean(called is Acuity.EMERGENCY for called in calm),
        acuity_ece=calibration_error(confident),
        out_of_scope_rejected=_mean(foreign),
        false_rejections=_mean(ours),
        intent_f1=by_intent,
        span_f1_by_label={str(label): value for label in SpanLabel if (value := span_f1(spans, exact=True, label=label)) is not None},
    )


def most_probable(answer: Understanding) -> Acuity:
    """The level with the highest probability."""
    return max(answer.acuity, key=lambda level: answer.acuity[level])


def rejected(answer: Understanding) -> bool:
    """Whether the message is answered as out of scope, or as not understood."""
    return not answer.intents or any(intent.name is Intent.OUT_OF_SCOPE for intent in answer.intents)


def _statuses(examples: list[Example], answers: list[Understanding]) -> list[tuple[SymptomStatus, SymptomStatus]]:
    """The labelled and the answered status of every symptom found with the right borders."""
    pairs = []
    for example, answer in zip(examples, answers, strict=True):
        found = {(span.start, span.end): span.status for span in answer.spans if span.status is not None}
        for span in example.spans:
            status = found.get((span.start, span.end))
            if span.status is not None and status is not None:
                pairs.append((span.status, status))
    return pairs


def calibration_error(confident: list[tuple[float, bool]]) -> float | None:
    """Mean distance of confidence and hit rate over ten equal bins, weighted by their size."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, hit in confident:
        bins.setdefault(min(_BINS - 1, int(confidence * _BINS)), []).append((confidence, hit))
    distances = (abs(sum(confidence for confidence, _ in members) - sum(hit for _, hit in members)) for members in bins.values())
    return sum(distances) / len(confident) if confident else None


def span_f1(pairs: Sequence[tuple[Sequence[Marked], Sequence[Marked]]], *, exact: bool, label: SpanLabel | None = None) -> float | None:
    """The F1 of each text's labelled and answered spans, of one label or all, with exact borders or as soon as two of a label touch."""
    hits = missed = predicted = wanted = 0
    for one, other in pairs:
        labelled = [(span.label, span.start, span.end) for span in one if label in {None, span.label}]
        found = [(span.label, span.start, span.end) for span in other if label in {None, span.label}]
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
