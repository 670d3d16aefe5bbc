"""A report: triaged, answered from approved texts, with up to three questions that can raise its acuity."""

from __future__ import annotations

from rasa_sdk.events import SlotSet

from bot.actions.capability import Capability, Events
from bot.actions.turn import Turn, triage_service, yes_no_buttons
from care.acuity import Acuity
from care.answers import read_answer
from care.knowledge import knowledge
from care.knowledge.model import Question, QuestionKind
from care.settings import settings
from care.triage.model import Report, Triage
from care.turns.dialogue import Reply, ReportEffect
from care.understanding import Understanding

_MOST_QUESTIONS = 3
_YES_NO = Question(id="clarifier", kind=QuestionKind.YES_NO, text={"en": ""}, sources=["-"])


class AssessReport(Capability):
    """A symptom in the patient's own words."""

    called = "action_assess_report"

    def act(self, turn: Turn) -> Events:
        return assess(turn, turn.text, turn.understanding)


class ReportWell(Capability):
    """The patient is well; said so, unless the rules hear something else."""

    called = "action_report_well"

    def act(self, turn: Turn) -> Events:
        turn.say("report_well")
        return []


def assess(turn: Turn, text: str, understanding: Understanding | None) -> Events:
    """Triages the report, answers, calls a person where one is needed, and asks the first clarifying question."""
    triage = _decide(turn, text, understanding)
    turn.do(ReportEffect(words=text, triage=triage))
    _call_person(turn, triage)
    turn.reply(Reply(text=triage.reply, key=f"report_{triage.acuity}", safety=triage.acuity is Acuity.EMERGENCY))
    questions = _clarifiers(triage)
    if not questions:
        return [SlotSet("clarifying", None)]
    _ask(turn, questions[0])
    return [SlotSet("clarifying", {"report": text, "acuity": triage.acuity.value, "questions": questions})]


def answer_clarifier(turn: Turn) -> Events | None:
    """Takes a yes or no to the open clarifying question; None where the message is none, so that it is read afresh."""
    open_question = turn.slot("clarifying")
    answer = read_answer(_YES_NO, turn.text)
    if not open_question or answer is None:
        return None
    asked, *left = open_question["questions"]
    report = open_question["report"]
    if answer.value is True:
        report = f"{report}\n{knowledge().clarifiers[asked].finding}"
        triage = _decide(turn, report, None)
        turn.do(ReportEffect(words=report, triage=triage))
        if triage.acuity.rank > Acuity(open_question["acuity"]).rank:
            _call_person(turn, triage)
            turn.reply(Reply(text=triage.reply, key=f"report_{triage.acuity}", safety=triage.acuity is Acuity.EMERGENCY))
            return [SlotSet("clarifying", None)]
    if not left:
        turn.say("self_care_reply" if open_question["acuity"] == Acuity.SELF_CARE else "routine_reply")
        return [SlotSet("clarifying", None)]
    _ask(turn, left[0])
    return [SlotSet("clarifying", {**open_question, "report": report, "questions": left})]


def _decide(turn: Turn, text: str, understanding: Understanding | None) -> Triage:
    report = Report(text=text, context=turn.context.clinical, understanding=understanding)
    return triage_service().assess(report, settings().reply_deadline_s - 1.5)


def _call_person(turn: Turn, triage: Triage) -> None:
    if triage.acuity in (Acuity.EMERGENCY, Acuity.URGENT):
        why = "; ".join(flag.reason for flag in triage.red_flags) or triage.person_reason or "reported in the patient's own words"
        turn.escalate(f"triage_{triage.acuity}", triage.acuity, f"A report was triaged {triage.acuity}: {why}")
    elif triage.needs_person:
        turn.escalate("triage_unsure", Acuity.ROUTINE, f"A report needs a person's look: {triage.person_reason}")


def _clarifiers(triage: Triage) -> list[str]:
    """Questions on the symptoms found whose yes would raise the acuity, the most telling first."""
    if triage.acuity is Acuity.EMERGENCY:
        return []
    fitting = [each for each in knowledge().clarifiers.values() if set(each.symptoms) & set(triage.symptoms) and each.raises_to.rank > triage.acuity.rank]
    return [each.id for each in sorted(fitting, key=lambda each: -each.raises_to.rank)][:_MOST_QUESTIONS]


def _ask(turn: Turn, clarifier: str) -> None:
    texts = knowledge().clarifiers[clarifier].text
    turn.ask(texts.get(turn.context.clinical.language, texts["en"]), f"clarify_{clarifier}", yes_no_buttons())
