"""The decision for a report: rules, encoder and model vote; the rules are never undercut, and what is doubtful goes to a person."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from care.acuity import Acuity, highest
from care.knowledge import Knowledge
from care.redflags import check, first_words
from care.redflags import make_ready as make_rules_ready
from care.retrieval import Likeness, advice_for, likeness_of
from care.texts import scripted
from care.triage.evidence import path
from care.triage.guard import Drafted, rejections
from care.triage.metrics import FALLBACKS, REJECTIONS, REPLIES, SECONDS
from care.triage.model import (
    AdviceCandidate,
    Drafter,
    DraftUnavailable,
    Layer,
    PatientContext,
    RedFlagHit,
    Report,
    Triage,
    TriageDraft,
    TriageRequest,
    Vote,
)
from care.triage.request import Findings, request_for
from care.understanding import Intent, SpanLabel, Understander, UnderstandingUnavailable

MODEL_DEADLINE_S = 5.0
ENCODER_DEADLINE_S = 3.0
"""For what the encoder is asked in all, before anything else is worked out: its vote first, then which advice is alike."""
_ENOUGH = ((Acuity.EMERGENCY, 0.2), (Acuity.URGENT, 0.5), (Acuity.ROUTINE, 0.6))
"""The encoder votes for the first level at or above which it puts this much probability. Chosen on the validation voices, beside the rules, so that hardly one
of their 344 emergencies is missed; docs/triage.md has the figures."""
_BESIDE_URGENT = 0.5
"""Where a rule already calls a clinician today, an emergency of the encoder's alone must be as likely as not: it leans for danger that nobody else has seen.
Chosen on the validation voices: of the 22 such reports below it one is an emergency (docs/triage.md)."""
_BY_ITSELF = 0.3
"""Where no rule calls a clinician today either, the patient is told of an emergency from here on; below, a person is called as for one. Chosen on the
validation voices: of the 34 such reports below it one is an emergency and four are urgent (docs/triage.md)."""
_CRISIS_SURE = 0.5
_WIDE = 2
"""Layers this many levels apart disagree: a person looks, at the higher. One level apart, see `_decided`."""
_MOST_UNDECIDING = Acuity.URGENT
"""How soon a person looks, at most, where only a model that does not decide asks for it: it calls too many harmless reports emergencies."""
_BACKED = {Acuity.EMERGENCY: 0.1, Acuity.URGENT: 0.1, Acuity.ROUTINE: 0.1}
"""How much probability the encoder must put on a level or worse for the model alone to raise a report to it by one step."""
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
_WATCHED_REPLY = "person_coming"
_AWAY = "away"
_FIRST = "my knee is swollen and I have chest pain"


@dataclass(frozen=True)
class _Heard:
    """A layer's vote with what it brought; `spoke` is false where the layer is away or its vote is silence."""

    vote: Vote
    spoke: bool
    version: str = _AWAY
    doubt: str = ""
    crisis: bool = False
    advice: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    reply: str = ""
    shares: Mapping[Acuity, float] = field(default_factory=dict)
    """The encoder's probabilities."""
    decides: bool = True


class TriageService:
    """Combines the layers. One instance serves all threads of a process."""

    def __init__(
        self,
        understander: Understander,
        drafter: Drafter | None,
        knowledge: Knowledge,
        clock: Callable[[], float] = time.monotonic,
        *,
        likeness: Likeness | None = None,
    ) -> None:
        self._understander = understander
        self._likeness = likeness
        self._drafter = drafter
        self._knowledge = knowledge
        self._clock = clock

    def assess(self, report: Report, deadline_s: float) -> Triage:
        """The triage of `report`, within `deadline_s` seconds; a layer that does not answer is noted and a person asked.

        The acuity is never below that of the rules, nor below the encoder's but where that only leans to an emergency that no rule sees, nor two steps or
        more below the model's. The encoder is asked first: neither the model nor what is worked out here takes of its time.
        """
        began = self._clock()
        ends = began + deadline_s
        encoder_ends = min(ends, began + ENCODER_DEADLINE_S)
        encoder = self._encoder(report, encoder_ends - began)
        likeness = likeness_of(report.text, self._likeness, encoder_ends - self._clock())
        hits = check(report.text, report.context)
        findings = Findings(report.text, report.context)
        symptoms = findings.present
        rules = _rules(hits, self._knowledge.version)
        request = request_for(report, findings, advice_for(report.text, symptoms, report.context, likeness=likeness))
        suspected = highest(each.vote.acuity for each in (rules, encoder) if each.spoke)
        model = self._model(request, ends - self._clock(), suspected)
        heard = [rules, encoder, model]
        doubts = _doubts(report.text, heard)
        acuity = _decided(report.text, heard)
        person = _person_acuity(acuity, heard) if doubts else acuity
        crisis = any(each.crisis for each in heard)
        watched = person.rank >= Acuity.URGENT.rank > acuity.rank
        # Advice for a mild report would reassure somebody whom a person is to see today.
        fitting = [] if watched else self._fitting(acuity, model.advice if model.decides else (), request.advice, symptoms)
        advice = first_words(hits, acuity) or fitting
        first = scripted(_WATCHED_REPLY if watched else _CRISIS_REPLY if crisis else _REPLIES[acuity], report.context.language)
        drafted, rejected = self._guarded(report, acuity, advice, model.reply, first, flagged=bool(hits) or crisis or watched)
        for each in heard:
            if each.version == _AWAY:
                FALLBACKS.labels(layer=each.vote.layer.value).inc()
        REPLIES.labels(words="drafted" if drafted else "approved").inc()
        seconds = max(0.0, self._clock() - began)
        SECONDS.observe(seconds)
        return Triage(
            acuity=acuity,
            confidence=_confidence(acuity, heard),
            red_flags=hits,
            symptoms=symptoms,
            advice=advice,
            reply=self._reply(report, first, advice, drafted),
            needs_person=bool(doubts),
            person_acuity=person,
            person_reason="; ".join(doubts),
            votes=[each.vote for each in heard],
            versions={
                "knowledge": self._knowledge.version,
                "encoder": encoder.version,
                "model": model.version,
                "prompt": self._drafter.prompt_version if self._drafter is not None and model.version != _AWAY else _AWAY,
            },
            seconds=seconds,
            questions=self._questions(findings, acuity, model.questions),
            path=path(symptoms, [hit.rule for hit in hits], advice),
            drafted=bool(drafted),
            rejected=rejected,
        )

    def _encoder(self, report: Report, left_s: float) -> _Heard:
        understanding = report.understanding
        try:
            if understanding is None:
                understanding = self._understander.understand(report.text, left_s)
        except UnderstandingUnavailable as error:
            return _away(Layer.ENCODER, "encoder", type(error).__name__)
        crisis = any(score.name is Intent.CRISIS and score.confidence >= _CRISIS_SURE for score in understanding.intents)
        acuity, confidence = (Acuity.EMERGENCY, 1.0) if crisis else _leaning(understanding.acuity)
        words = [span.text for span in understanding.spans if span.label is SpanLabel.SYMPTOM][:_MAX_WORDS]
        shares = ", ".join(f"{level.value} {understanding.acuity.get(level, 0.0):.2f}" for level in reversed(Acuity))
        note = f"crisis; {shares}" if crisis else shares
        return _Heard(
            Vote(layer=Layer.ENCODER, acuity=acuity, confidence=confidence, words=words, note=note),
            True,
            understanding.version,
            doubt="" if understanding.language == "en" else "the encoder does not know the language of the report",
            crisis=crisis,
            shares=understanding.acuity,
        )

    def _model(self, request: TriageRequest, left_s: float, suspected: Acuity) -> _Heard:
        if self._drafter is None:
            return _away(Layer.MODEL, "model", "none is configured")
        try:
            draft: TriageDraft = self._drafter.draft(request, min(MODEL_DEADLINE_S, left_s), suspected)
        except DraftUnavailable as error:
            return _away(Layer.MODEL, "model", error.reason)
        return _Heard(
            Vote(
                layer=Layer.MODEL,
                acuity=draft.acuity,
                confidence=_MODEL_UNSURE if draft.unsure else _MODEL_SURE,
                words=[each for each in (draft.rationale, *draft.findings) if each][:_MAX_WORDS],
                note="; ".join(each for each in ("unsure" if draft.unsure else "", ", ".join(draft.red_flags)) if each),
            ),
            True,
            self._drafter.version,
            doubt="the model is unsure" if draft.unsure else "",
            advice=tuple(draft.advice),
            questions=tuple(draft.questions),
            reply=draft.reply,
            decides=self._drafter.decides,
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

    def _guarded(self, report: Report, acuity: Acuity, advice: list[str], reply: str, first: str, *, flagged: bool) -> tuple[str, list[str]]:
        """The drafted reply where the guard lets it out after the words `first`, and why not where it does not."""
        if not reply.strip():
            return "", []
        said = Drafted(reply, advice, report.text, acuity, report.context.language, flagged, first, report.channel == "web")
        reasons = rejections(said)
        for reason in reasons:
            REJECTIONS.labels(reason=reason.value).inc()
        return ("" if reasons else reply.strip()), [reason.value for reason in reasons]

    def _questions(self, findings: Findings, acuity: Acuity, drafted: tuple[str, ...]) -> list[str]:
        """Those whose yes would raise the acuity: the graph's in its order, then the model's, then others asked with the symptoms found."""
        clarifiers = self._knowledge.clarifiers
        present = set(findings.present)
        others = [each.id for each in sorted(clarifiers.values(), key=lambda each: -each.raises_to.rank) if present.intersection(each.symptoms)]
        return [each for each in dict.fromkeys([*findings.questions, *drafted, *others]) if clarifiers[each].raises_to.rank > acuity.rank]

    def _reply(self, report: Report, first: str, advice: list[str], drafted: str) -> str:
        said = [drafted] if drafted else [self._knowledge.advice[each].said(report.context.language) for each in advice]
        return " ".join([first, *said])


def make_ready() -> None:
    """Reads all that a decision is made of now, not in the time of the first report: advice, lexicon, graph and rules."""
    report = Report(text=_FIRST, context=PatientContext(), understanding=None)
    findings = Findings(report.text, report.context)
    request = request_for(report, findings)
    path(findings.present, findings.red_flags, [each.id for each in request.advice])
    make_rules_ready()  # last: it keeps all that was read out of the garbage collector's rounds


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


def _leaning(shares: Mapping[Acuity, float], levels: Sequence[tuple[Acuity, float]] = _ENOUGH) -> tuple[Acuity, float]:
    """The encoder's vote among `levels`, leaning to the serious side, with the probability it rests on."""
    for level, enough in levels:
        at_or_above = _at_or_above(shares, level)
        if at_or_above >= enough:
            return level, min(1.0, at_or_above)
    return Acuity.SELF_CARE, min(1.0, max(0.0, 1.0 - _at_or_above(shares, Acuity.ROUTINE)))


def _at_or_above(shares: Mapping[Acuity, float], level: Acuity) -> float:
    """The probability of `level` or worse."""
    return sum(share for each, share in shares.items() if each.rank >= level.rank)


def _decided(text: str, heard: list[_Heard]) -> Acuity:
    """The highest vote, with three exceptions: a model that does not decide raises nothing while the encoder answers; the model alone, one step
    above the others, must have the encoder's probability behind it; and the encoder must do more than lean to an emergency that no rule sees."""
    rules, encoder, model = heard
    floor = highest([*_of_rules_and_encoder(rules, encoder), *([Acuity.ROUTINE] if _unread(text) else [])])
    highest_vote = highest([floor, *([model.vote.acuity] if model.spoke else [])])
    if highest_vote.rank <= floor.rank or (encoder.spoke and not model.decides):
        return floor
    alone = model.spoke and encoder.spoke and not _apart(heard)
    return floor if alone and _at_or_above(encoder.shares, highest_vote) < _BACKED[highest_vote] else highest_vote


def _of_rules_and_encoder(rules: _Heard, encoder: _Heard) -> list[Acuity]:
    """The votes of the two that answered; an emergency that the encoder only leans to is left out of its vote."""
    votes = [rules.vote.acuity] if rules.spoke else []
    if encoder.spoke:
        votes.append(_leaning(encoder.shares, _ENOUGH[1:])[0] if _only_leans(rules, encoder) else encoder.vote.acuity)
    return votes


def _only_leans(rules: _Heard, encoder: _Heard) -> bool:
    """Whether the encoder votes for an emergency that is too unlikely beside what the rules say."""
    needed = _BESIDE_URGENT if rules.spoke and rules.vote.acuity is Acuity.URGENT else _BY_ITSELF
    return encoder.vote.acuity is Acuity.EMERGENCY and not encoder.crisis and encoder.shares.get(Acuity.EMERGENCY, 0.0) < needed


def _person_acuity(acuity: Acuity, heard: list[_Heard]) -> Acuity:
    """How soon a person looks at a doubtful report: at the highest vote."""
    model = heard[-1]
    votes = [each.vote.acuity for each in heard if each.spoke and each is not model]
    if model.spoke:
        votes.append(model.vote.acuity if model.decides else min(model.vote.acuity, _MOST_UNDECIDING, key=lambda level: level.rank))
    return highest([Acuity.ROUTINE, acuity, *votes])


def _apart(heard: list[_Heard]) -> bool:
    """Whether the layers that answered disagree by two steps or more."""
    ranks = [each.vote.acuity.rank for each in heard if each.spoke]
    return bool(ranks) and max(ranks) - min(ranks) >= _WIDE


def _doubts(text: str, heard: list[_Heard]) -> list[str]:
    """Why a person should look, in plain sentences without the patient's words."""
    rules, encoder, _ = heard
    doubts = [each.doubt for each in heard if each.doubt]
    spoke = [each.vote for each in heard if each.spoke]
    if _apart(heard):
        doubts.append("the layers disagree: " + ", ".join(f"{vote.layer.value} {vote.acuity.value}" for vote in spoke))
    if encoder.spoke and _only_leans(rules, encoder) and rules.vote.acuity.rank < Acuity.URGENT.rank:
        doubts.append("the encoder leans to an emergency that no rule sees")
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
