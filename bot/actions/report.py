"""A report: triaged, answered from approved texts, with up to three questions that can raise its acuity."""

from __future__ import annotations

from abc import abstractmethod
from datetime import date

from pydantic import Field

from bot.actions.capability import Capability, Events, Slots, slot_events
from bot.actions.turn import Turn, triage_service, yes_no_buttons
from care.acuity import Acuity, highest
from care.answers import is_skip, read_answer
from care.knowledge import knowledge
from care.knowledge.model import Button, Clarifier, Question, QuestionKind
from care.texts import scripted
from care.triage.model import Report, Triage
from care.turns.dialogue import AwaitEffect, Reply, ReportEffect
from care.understanding import Frozen, Intent

_MOST_QUESTIONS = 3
_YES_NO = [Button(label={"en": answer}, text=answer) for answer in ("yes", "no")]
_CLARIFIER = Question(id="clarifier", kind=QuestionKind.YES_NO, text={"en": ""}, buttons=_YES_NO, sources=["-"])
_REPLIES = {
    Acuity.SELF_CARE: "self_care_reply",
    Acuity.ROUTINE: "routine_reply",
    Acuity.URGENT: "urgent_reply",
    Acuity.EMERGENCY: "emergency_warning",
}


class Clarifying(Frozen):
    """The slot `clarifying`: a report, its acuity so far, the questions left (the first one is open) and those asked before, good on one day."""

    report: str
    acuity: Acuity
    questions: list[str] = Field(min_length=1)
    asked: list[str] = Field(default_factory=list)
    day: date


class AssessReport(Capability):
    """A symptom in the patient's own words."""

    called = "action_assess_report"

    def act(self, turn: Turn) -> Events:
        slots = answer_clarifier(turn)
        return asked(turn, assess(turn) if slots is None else slots)


class BesideReport(Capability):
    """A capability for words that may tell of a symptom as well: that is assessed first, and the rest follows only where `follows`."""

    follows = False

    def act(self, turn: Turn) -> Events:
        if not turn.reports:
            return self.answer(turn)
        slots = assess(turn)
        events = self.answer(turn) if self.follows and not slots["paused"] else []
        return [*asked(turn, slots), *events]

    @abstractmethod
    def answer(self, turn: Turn) -> Events:
        """What the capability does where the words are no report, or beside it."""


class ReportWell(BesideReport):
    """The patient is well."""

    called = "action_report_well"

    def answer(self, turn: Turn) -> Events:
        turn.say("report_well")
        return []


def assess(turn: Turn, words: str | None = None, least: Acuity = Acuity.SELF_CARE) -> Slots:
    """Triages `words` (else the whole message), joined to a report that is still being clarified; answers, and calls a person where one is needed.

    `least` is the acuity that something else has settled: the answer is no milder.
    """
    before = clarifying(turn)
    said = words or turn.text
    text = f"{before.report}\n{said}" if before else said
    triage = _decide(turn, text)
    acuity = _conclude(turn, text, triage, least)
    known = [*before.asked, before.questions[0]] if before else []
    return _opened(turn, text, acuity, _clarifiers(triage.questions, acuity, known), known)


def answer_clarifier(turn: Turn) -> Slots | None:
    """Takes a yes, a no or an "I don't know" to the open clarifying question; None where the message is none, so that it is read afresh."""
    now = clarifying(turn)
    if now is None:
        return None
    yes = yes_or_no(turn, _CLARIFIER)
    if yes is None or turn.intent == Intent.UNSURE:
        unsure = is_skip(turn.text) or turn.intent == Intent.UNSURE
        return pass_over(turn) if unsure and not turn.tells_symptom else None
    if not yes:
        return assess(turn) if turn.tells_symptom else _next(turn, now)
    clarifier = knowledge().clarifiers[now.questions[0]]
    report = "\n".join([now.report, clarifier.finding, *([turn.text] if turn.tells_symptom else [])])
    triage = _raised(turn, _decide(turn, report), clarifier)
    acuity = _conclude(turn, report, triage)
    known = [*now.asked, clarifier.id]
    return _opened(turn, report, acuity, _clarifiers(now.questions, acuity, known), known)


def pass_over(turn: Turn) -> Slots:
    """Leaves the open clarifying question unanswered; a person is told, as soon as for silence where a yes would mean an emergency."""
    now = clarifying(turn)
    if now is None:
        return {}
    if now.acuity.rank < Acuity.URGENT.rank:
        dangerous = knowledge().clarifiers[now.questions[0]].raises_to is Acuity.EMERGENCY
        turn.escalate("triage_unsure", Acuity.URGENT if dangerous else Acuity.ROUTINE, "The patient could not answer a question about a report.")
    return _next(turn, now)


def asked(turn: Turn, slots: Slots) -> Events:
    """Asks the clarifying question that `slots` leave open."""
    if slots.get("clarifying"):
        ask_clarifier(turn, Clarifying.model_validate(slots["clarifying"]))
    return slot_events(slots)


def ask_clarifier(turn: Turn, now: Clarifying) -> None:
    """Puts the open question; where a yes would mean danger, silence calls a person."""
    clarifier = knowledge().clarifiers[now.questions[0]]
    if clarifier.raises_to is Acuity.EMERGENCY:
        turn.do(AwaitEffect(question=clarifier.id, acuity=Acuity.URGENT))
    texts = clarifier.text
    turn.ask(texts.get(turn.context.clinical.language, texts["en"]), f"clarify_{now.questions[0]}", yes_no_buttons(turn.context.clinical.language))


def clarifying(turn: Turn) -> Clarifying | None:
    """The report that is being clarified."""
    now = Clarifying.model_validate(turn.slot("clarifying")) if turn.slot("clarifying") else None
    return now if now and now.day == turn.context.today else None


def yes_or_no(turn: Turn, question: Question) -> bool | None:
    """The yes or no to the question; None where the message is neither."""
    answer = None if is_skip(turn.text) else read_answer(question, turn.text)
    return None if answer is None else answer.value is True


def _decide(turn: Turn, text: str) -> Triage:
    understanding = turn.understanding if text == turn.text else None
    report = Report(text=text, context=turn.context.clinical, understanding=understanding, conversation=turn.said_before, channel=turn.context.channel)
    return triage_service().assess(report, turn.left_s)


def _raised(turn: Turn, triage: Triage, clarifier: Clarifier) -> Triage:
    """`triage` after a yes to `clarifier`: no milder than what that yes means, whatever the layers make of it."""
    if triage.acuity.rank >= clarifier.raises_to.rank:
        return triage
    reasons = [triage.person_reason, f"the patient said yes to the question {clarifier.id}"]
    settled = {"acuity": clarifier.raises_to, "confidence": 1.0, "advice": [], "drafted": False, "needs_person": True}
    said = {"reply": scripted(_REPLIES[clarifier.raises_to], turn.context.clinical.language), "person_reason": "; ".join(filter(None, reasons))}
    return triage.model_copy(update=settled | said)


def _conclude(turn: Turn, text: str, triage: Triage, least: Acuity = Acuity.SELF_CARE) -> Acuity:
    """Has the report kept, calls a person, and answers; the acuity answered for."""
    turn.do(ReportEffect(words=text, triage=triage))
    _call_person(turn, triage)
    acuity = highest([triage.acuity, least])
    reply = triage.reply if acuity is triage.acuity else scripted(_REPLIES[acuity], turn.context.clinical.language)
    turn.reply(Reply(text=reply, key=f"report_{acuity}", safety=acuity is Acuity.EMERGENCY))
    return acuity


def _opened(turn: Turn, report: str, acuity: Acuity, questions: list[str], known: list[str]) -> Slots:
    """The slots after a report was answered for `acuity`, with `questions` still to ask."""
    left = Clarifying(report=report, acuity=acuity, questions=questions, asked=known, day=turn.context.today) if questions else None
    return {"clarifying": left and left.model_dump(mode="json"), "paused": acuity is Acuity.EMERGENCY}


def _next(turn: Turn, now: Clarifying) -> Slots:
    """The next question; after the last one the answer to the report stands as it was."""
    asked_now, *left = now.questions
    if left:
        return {"clarifying": now.model_copy(update={"questions": left, "asked": [*now.asked, asked_now]}).model_dump(mode="json")}
    turn.say(_REPLIES[now.acuity])
    return {"clarifying": None}


def _call_person(turn: Turn, triage: Triage) -> None:
    soon = highest([triage.acuity, triage.person_acuity])
    if triage.acuity in (Acuity.EMERGENCY, Acuity.URGENT):
        reasons = [*(flag.reason for flag in triage.red_flags), triage.person_reason]
        why = "; ".join(filter(None, reasons)) or "reported in the patient's own words"
        turn.escalate(f"triage_{triage.acuity}", soon, f"A report was triaged {triage.acuity}: {why}")
    elif triage.needs_person:
        turn.escalate("triage_unsure", soon, f"A report needs a person's look: {triage.person_reason}")


def _clarifiers(questions: list[str], acuity: Acuity, known: list[str]) -> list[str]:
    """Those of `questions` whose yes would raise the acuity, the most telling first; three in all, with those asked before."""
    clarifiers = knowledge().clarifiers
    fresh = [each for each in questions if each not in known and each in clarifiers and clarifiers[each].raises_to.rank > acuity.rank]
    return fresh[: max(0, _MOST_QUESTIONS - len(known))]
