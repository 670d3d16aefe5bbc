"""The decision for a report: rules, encoder and model vote; the rules are never undercut, and what is doubtful goes to a person."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from care.acuity import Acuity, highest
from care.knowledge import Knowledge
from care.redflags import check, first_words
from care.texts import scripted
from care.triage.model import (
    AdviceCandidate,
    Drafter,
    DraftUnavailable,
    Layer,
    RedFlagHit,
    Report,
    Triage,
    TriageDraft,
    TriageRequest,
    Vote,
)
from care.triage.request import Findings, request_for
from care.understanding import Intent, SpanLabel, Understander, Understanding, UnderstandingUnavailable

MODEL_DEADLINE_S = 5.0
_ENOUGH = ((Acuity.EMERGENCY, 0.3), (Acuity.URGENT, 0.35), (Acuity.ROUTINE, 0.5))
"""The encoder votes for the first level at or above which it puts this much probability: missing an emergency is held to cost
about twice what a false alarm costs (0.3 = 1 / (1 + 2.3)), missing a routine report as much as one."""
_CRISIS_SURE = 0.5
_WIDE = 2
"""Layers this many levels apart disagree; one level apart, the higher is taken."""
_MODEL_SURE, _MODEL_UNSURE = 0.7, 0.4
"""The model gives no probability: how its vote is weighed in `confidence`."""
_MAX_ADVICE = 2
_MAX_WORDS = 8
_REPLIES = {
    Acuity.EMERGENCY: "emergency_warning",
    Acuity.URGENT: "urgent_reply",
    Acuity.ROUTINE: "routine_reply",
    Acuity.SELF_CARE: "self_care_reply",
}
_CRISIS_REPLY = "crisis_reply"
_AWAY = "away"


@dataclass(frozen=True)
class _Heard:
    """A layer's vote with what it brought; `spoke` is false where the layer is away or its vote is silence."""

    vote: Vote
    spoke: bool
    version: str = _AWAY
    doubt: str = ""
    crisis: bool = False
    advice: tuple[str, ...] = ()


class TriageService:
    """Combines the layers. One instance serves all threads of a process."""

    def __init__(self, understander: Understander, drafter: Drafter | None, knowledge: Knowledge, clock: Callable[[], float] = time.monotonic) -> None:
        self._understander = understander
        self._drafter = drafter
        self._knowledge = knowledge
        self._clock = clock

    def assess(self, report: Report, deadline_s: float) -> Triage:
        """The triage of `report`, in about `deadline_s` seconds at most; a layer that does not answer is noted and a person asked.

        The acuity is never below that of the rules, nor below any layer's that answered.
        """
        began = self._clock()
        hits = check(report.text, report.context)
        findings = Findings(report.text, report.context)
        symptoms = findings.present
        request = request_for(report, findings)
        offered = request.advice
        rules = _rules(hits, self._knowledge.version)
        encoder = self._encoder(report)
        left_s = deadline_s - (self._clock() - began)
        model = self._model(request, left_s)
        heard = [rules, encoder, model]
        doubts = _doubts(report.text, heard)
        unread = [Acuity.ROUTINE] if _unread(report.text) else []
        acuity = highest([*(each.vote.acuity for each in heard if each.spoke), *unread])
        advice = first_words(hits, acuity) or self._fitting(acuity, model.advice, offered, symptoms)
        return Triage(
            acuity=acuity,
            confidence=_confidence(acuity, heard),
            red_flags=hits,
            symptoms=symptoms,
            advice=advice,
            reply=self._reply(report, acuity, advice, crisis=any(each.crisis for each in heard)),
            needs_person=bool(doubts),
            person_reason="; ".join(doubts),
            votes=[each.vote for each in heard],
            versions={
                "knowledge": self._knowledge.version,
                "encoder": encoder.version,
                "model": model.version,
                "prompt": self._drafter.prompt_version if self._drafter is not None and model.version != _AWAY else _AWAY,
            },
            seconds=max(0.0, self._clock() - began),
        )

    def _encoder(self, report: Report) -> _Heard:
        understanding = report.understanding
        try:
            if understanding is None:
                understanding = self._understander.understand(report.text)
        except UnderstandingUnavailable as error:
            return _away(Layer.ENCODER, "encoder", type(error).__name__)
        crisis = any(score.name is Intent.CRISIS and score.confidence >= _CRISIS_SURE for score in understanding.intents)
        acuity, confidence = (Acuity.EMERGENCY, 1.0) if crisis else _leaning(understanding)
        words = [span.text for span in understanding.spans if span.label is SpanLabel.SYMPTOM][:_MAX_WORDS]
        shares = ", ".join(f"{level.value} {understanding.acuity.get(level, 0.0):.2f}" for level in reversed(Acuity))
        note = f"crisis; {shares}" if crisis else shares
        return _Heard(
            Vote(layer=Layer.ENCODER, acuity=acuity, confidence=confidence, words=words, note=note),
            True,
            understanding.version,
            crisis=crisis,
        )

    def _model(self, request: TriageRequest, left_s: float) -> _Heard:
        if self._drafter is None:
            return _away(Layer.MODEL, "model", "none is configured")
        try:
            draft: TriageDraft = self._drafter.draft(request, min(MODEL_DEADLINE_S, left_s))
        except DraftUnavailable as error:
            return _away(Layer.MODEL, "model", error.reason)
        return _Heard(
            Vote(
                layer=Layer.MODEL,
                acuity=draft.acuity,
                confidence=_MODEL_UNSURE if draft.unsure else _MODEL_SURE,
                words=draft.findings,
                note="unsure" if draft.unsure else "",
            ),
            True,
            self._drafter.version,
            doubt="the model is unsure" if draft.unsure else "",
            advice=tuple(draft.advice),
        )

    def _fitting(self, acuity: Acuity, drafted: tuple[str, ...], offered: list[AdviceCandidate], symptoms: list[str]) -> list[str]:
        """At most two of the statements offered that the acuity allows: those the model chose first, then those on a symptom found."""
        if acuity is Acuity.EMERGENCY:
            return []
        by_symptom = [each.id for each in offered if set(symptoms).intersection(self._knowledge.advice[each.id].symptoms)]
        asked = [each.id for each in offered[:1]] if not symptoms else []
        ids = {each.id for each in offered}
        chosen = dict.fromkeys(each for each in (*drafted, *by_symptom, *asked) if each in ids and acuity in self._knowledge.advice[each].acuities)
        return list(chosen)[:_MAX_ADVICE]

    def _reply(self, report: Report, acuity: Acuity, advice: list[str], *, crisis: bool) -> str:
        key = _CRISIS_REPLY if crisis else _REPLIES[acuity]
        return " ".join([scripted(key, report.context.language), *(self._knowledge.advice[each].said(report.context.language) for each in advice)])


def _rules(hits: list[RedFlagHit], version: str) -> _Heard:
    vote = Vote(
        layer=Layer.RULES,
        acuity=highest(hit.acuity for hit in hits),
        confidence=1.0 if hits else 0.0,
        words=[hit.words for hit in hits][:_MAX_WORDS],
        note=", ".join(hit.rule for hit in hits) or "no rule fired",
    )
    return _Heard(vote, bool(hits), version, crisis=any(hit.rule.startswith("crisis") for hit in hits))


def _away(layer: Layer, name: str, reason: str) -> _Heard:
    vote = Vote(layer=layer, acuity=Acuity.SELF_CARE, confidence=0.0, note=f"{name} away: {reason}")
    return _Heard(vote, False, doubt=f"the {name} did not answer")


def _leaning(understanding: Understanding) -> tuple[Acuity, float]:
    """The encoder's vote, leaning to the serious side, with the probability it rests on."""
    at_or_above = 0.0
    for level, enough in _ENOUGH:
        at_or_above += understanding.acuity.get(level, 0.0)
        if at_or_above >= enough:
            return level, min(1.0, at_or_above)
    return Acuity.SELF_CARE, min(1.0, max(0.0, 1.0 - at_or_above))


def _doubts(text: str, heard: list[_Heard]) -> list[str]:
    """Why a person should look, in plain sentences without the patient's words."""
    doubts = [each.doubt for each in heard if each.doubt]
    spoke = [each.vote for each in heard if each.spoke]
    ranks = [vote.acuity.rank for vote in spoke]
    if ranks and max(ranks) - min(ranks) >= _WIDE:
        doubts.append("the layers disagree: " + ", ".join(f"{vote.layer.value} {vote.acuity.value}" for vote in spoke))
    if _unread(text):
        doubts.append("there is nothing in the report that the rules can read")
    return doubts


def _unread(text: str) -> bool:
    """Whether most letters are of a script that the rules do not know, or there is no text at all (a picture, say)."""
    letters = [char for char in text if char.isalpha()]
    foreign = sum(not ("a" <= char.casefold() <= "z" or "\u00c0" <= char <= "\u024f" or "\uff21" <= char <= "\uff5a") for char in letters)
    blank = not any(char.isprintable() and not char.isspace() for char in text)
    return blank or foreign * 2 > len(letters)


def _confidence(acuity: Acuity, heard: list[_Heard]) -> float:
    """How sure the layers are of the decision: 1 where a rule set it, else the mean of the votes for it over the layers that answered."""
    spoke = [each.vote for each in heard if each.spoke]
    if any(vote.layer is Layer.RULES and vote.acuity is acuity for vote in spoke):
        return 1.0
    return sum(vote.confidence for vote in spoke if vote.acuity is acuity) / len(spoke) if spoke else 0.0
