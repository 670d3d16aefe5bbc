"""The figures over judged cases: acuity with its confusion and calibration, intents, what is out of scope, and the same by group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel

from aftercare.evaluation.cases import Case
from care.acuity import Acuity
from care.understanding import Intent
from nlu.scores import Scores

NOT_SURE = "not sure"
_BINS = 10


@dataclass(frozen=True)
class Judged:
    """A case and what was answered: the acuity called, the most probable one with its probability, and the intents, most probable first.

    `intents` is None where they were not asked for. What is called may lean to the serious side of what is most probable; `probable` is None
    where there is but the one answer.
    """

    case: Case
    called: Acuity
    probable: Acuity | None
    confidence: float
    intents: tuple[Intent, ...] | None = None


class Bin(BaseModel):
    """Answers of like confidence: how sure they were in the mean, and what share was right."""

    answers: int
    confidence: float
    right: float


class AcuityFigures(BaseModel):
    """Shares between 0 and 1; None where no case could show it.

    All are of the level called but `probable_accuracy` and `ece`, which are of the most probable one. `false_alarms` is the share of non-emergencies
    called emergency; `over_called` of those that need no clinician today called urgent or more; `under_called` of those that need one today called
    less. `ece` is the expected calibration error over ten equal bins
    (Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, 2015).
    """

    messages: int
    accuracy: float | None
    probable_accuracy: float | None
    emergencies: int
    sensitivity: float | None
    at_least_urgent: float | None
    false_alarms: float | None
    over_called: float | None
    under_called: float | None
    ece: float | None


class IntentFigures(BaseModel):
    """One intent: how many messages have it, and how well it is found."""

    messages: int
    precision: float | None
    recall: float | None
    f1: float


class ScopeFigures(BaseModel):
    """What is nothing to do with care. Rejected: called out of scope before anything else, or nothing was sure.

    `taken_for_out_of_scope` is the share of messages in scope that were called out of scope; `falsely_rejected` counts the unsure ones too.
    `no_report` are the messages that report no symptom (small talk, say), of which `not_taken_for_report` were not called a report either.
    """

    out_of_scope: int
    rejected: float | None
    in_scope: int
    falsely_rejected: float | None
    taken_for_out_of_scope: float | None
    no_report: int
    not_taken_for_report: float | None
    not_sure: float | None


class SpanFigures(BaseModel):
    """Marked words found: F1 with exact borders, also by label, and with any overlap of the same label.

    Of the symptoms found with exact borders, how often it is right whose they are and when (`status_accuracy`), and the F1 of each such status but the
    patient's own now: denied, another's, past.
    """

    exact_f1: float | None
    overlap_f1: float | None
    by_label: dict[str, float]
    status_accuracy: float | None
    statuses: dict[str, float]

    @classmethod
    def of(cls, scores: Scores) -> Self:
        """The part on marked words of the encoder's scores."""
        return cls(
            exact_f1=scores.span_f1,
            overlap_f1=scores.span_overlap_f1,
            by_label=scores.span_f1_by_label,
            status_accuracy=scores.status_accuracy,
            statuses=scores.status_f1_by_status,
        )


class Missed(BaseModel):
    """An emergency that was called less."""

    id: str
    group: str
    called: Acuity
    confidence: float
    text: str


class Figures(BaseModel):
    """Everything measured on a set of cases. The matrices go from what is right to what was answered."""

    acuity: AcuityFigures | None
    intent_macro_f1: float | None
    intent_micro_f1: float | None
    intents: dict[str, IntentFigures]
    scope: ScopeFigures | None
    spans: SpanFigures | None
    confusion: dict[str, dict[str, int]]
    intent_confusion: dict[str, dict[str, int]]
    calibration: list[Bin]
    groups: dict[str, dict[str, AcuityFigures]]
    missed: list[Missed]


def measure(judged: Sequence[Judged], spans: SpanFigures | None = None) -> Figures:
    """The figures over `judged`; those of the spans are measured where they are labelled."""
    levelled = [each for each in judged if each.case.right]
    named = [each for each in judged if each.case.intents and each.intents is not None]
    intents = _intents(named)
    return Figures(
        acuity=acuity_figures(levelled) if levelled else None,
        intent_macro_f1=_mean(each.f1 for each in intents.values()),
        intent_micro_f1=_micro(named),
        intents=intents,
        scope=_scope(named) if named else None,
        spans=spans,
        confusion=_matrix((each.case.label, each.called.value) for each in levelled),
        intent_confusion=_matrix((next(iter(each.case.intents)).value, _first(each)) for each in named if len(each.case.intents) == 1),
        calibration=_bins(levelled),
        groups=_groups(levelled),
        missed=[_missed(each) for each in levelled if _is_emergency(each) and each.called is not Acuity.EMERGENCY],
    )


def acuity_figures(judged: Sequence[Judged]) -> AcuityFigures:
    """The figures of the acuity over judged cases that are labelled with one."""
    emergencies = [each for each in judged if _is_emergency(each)]
    others = [each for each in judged if Acuity.EMERGENCY not in each.case.right]
    today = [each for each in judged if min(level.rank for level in each.case.right) >= Acuity.URGENT.rank]
    mild = [each for each in judged if max(level.rank for level in each.case.right) < Acuity.URGENT.rank]
    return AcuityFigures(
        messages=len(judged),
        accuracy=_mean(each.called in each.case.right for each in judged),
        probable_accuracy=_mean(each.probable in each.case.right for each in judged if each.probable is not None),
        emergencies=len(emergencies),
        sensitivity=_mean(each.called is Acuity.EMERGENCY for each in emergencies),
        at_least_urgent=_mean(each.called.rank >= Acuity.URGENT.rank for each in emergencies),
        false_alarms=_mean(each.called is Acuity.EMERGENCY for each in others),
        over_called=_mean(each.called.rank >= Acuity.URGENT.rank for each in mild),
        under_called=_mean(each.called.rank < Acuity.URGENT.rank for each in today),
        ece=sum(each.answers * abs(each.confidence - each.right) for each in _bins(judged)) / len(judged) if judged else None,
    )


def _intents(judged: Sequence[Judged]) -> dict[str, IntentFigures]:
    right: Counter[Intent] = Counter()
    found: Counter[Intent] = Counter()
    wanted: Counter[Intent] = Counter()
    for each in judged:
        answered = set(each.intents or ())
        right.update(answered & each.case.intents)
        found.update(answered)
        wanted.update(each.case.intents)
    return {
        intent.value: IntentFigures(
            messages=wanted[intent],
            precision=right[intent] / found[intent] if found[intent] else None,
            recall=right[intent] / wanted[intent],
            f1=2 * right[intent] / (found[intent] + wanted[intent]),
        )
        for intent in sorted(wanted)
    }


def _micro(judged: Sequence[Judged]) -> float | None:
    right = sum(len(set(each.intents or ()) & each.case.intents) for each in judged)
    total = sum(len(each.intents or ()) + len(each.case.intents) for each in judged)
    return 2 * right / total if total else None


def _scope(judged: Sequence[Judged]) -> ScopeFigures:
    outside = [each for each in judged if Intent.OUT_OF_SCOPE in each.case.intents]
    inside = [each for each in judged if Intent.OUT_OF_SCOPE not in each.case.intents]
    no_report = [each for each in judged if Intent.REPORT_SYMPTOM not in each.case.intents]
    rejections = {Intent.OUT_OF_SCOPE.value, NOT_SURE}
    return ScopeFigures(
        out_of_scope=len(outside),
        rejected=_mean(_first(each) in rejections for each in outside),
        in_scope=len(inside),
        falsely_rejected=_mean(_first(each) in rejections for each in inside),
        taken_for_out_of_scope=_mean(_first(each) == Intent.OUT_OF_SCOPE.value for each in inside),
        no_report=len(no_report),
        not_taken_for_report=_mean(Intent.REPORT_SYMPTOM not in (each.intents or ()) for each in no_report),
        not_sure=_mean(_first(each) == NOT_SURE for each in judged),
    )


def _bins(judged: Sequence[Judged]) -> list[Bin]:
    members: dict[int, list[Judged]] = defaultdict(list)
    for each in judged:
        members[min(_BINS - 1, int(each.confidence * _BINS))].append(each)
    return [
        Bin(
            answers=len(those),
            confidence=sum(each.confidence for each in those) / len(those),
            right=sum((each.probable or each.called) in each.case.right for each in those) / len(those),
        )
        for _, those in sorted(members.items())
    ]


def _groups(judged: Sequence[Judged]) -> dict[str, dict[str, AcuityFigures]]:
    members: dict[str, dict[str, list[Judged]]] = {}
    for each in judged:
        for kind, name in each.case.groups.items():
            members.setdefault(kind, {}).setdefault(name, []).append(each)
    return {kind: {name: acuity_figures(those) for name, those in sorted(by_name.items())} for kind, by_name in members.items()}


def _matrix(pairs: Iterable[tuple[str, str]]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for wanted, answered in pairs:
        counts.setdefault(wanted, Counter())[answered] += 1
    return {wanted: dict(answered) for wanted, answered in sorted(counts.items())}


def _missed(judged: Judged) -> Missed:
    group = judged.case.voice or judged.case.context.protocol or ""
    return Missed(id=judged.case.id, group=group, called=judged.called, confidence=judged.confidence, text=judged.case.text)


def _is_emergency(judged: Judged) -> bool:
    return judged.case.right == {Acuity.EMERGENCY}


def _first(judged: Judged) -> str:
    return judged.intents[0].value if judged.intents else NOT_SURE


def _mean(values: Iterable[float]) -> float | None:
    listed = list(values)
    return sum(listed) / len(listed) if listed else None
