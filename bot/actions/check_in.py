"""The daily check-in: the questions of the protocol's day, one at a time, read leniently; a report in the middle is handled and the form goes on."""

from __future__ import annotations

from typing import Any

from rasa_sdk import FormValidationAction, Tracker
from rasa_sdk.events import FollowupAction, SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from bot.actions.capability import Capability, Events
from bot.actions.interruptions import interrupt
from bot.actions.report import assess
from bot.actions.turn import Turn
from care.acuity import Acuity
from care.answers import AnswerOutOfBounds, ReadAnswer, is_skip, read_answer
from care.knowledge import knowledge
from care.knowledge.model import Earlier, Question
from care.lexicon import present_symptoms
from care.redflags import check
from care.turns.dialogue import AnswerEffect, ContactDoneEffect, QuickReply


class StartCheckIn(Capability):
    """Begins the questions of the contact."""

    called = "action_start_check_in"

    def act(self, turn: Turn) -> Events:
        turn.say("check_in_intro")
        return [
            SlotSet("questions", turn.context.questions),
            SlotSet("contact", turn.context.contact),
            SlotSet("answer", None),
            SlotSet("asked_again", None),
            SlotSet("clarifying", None),
            FollowupAction("check_in_form"),
        ]


class Remind(Capability):
    """No answer yet: the open question once more."""

    called = "action_remind"

    def act(self, turn: Turn) -> Events:
        turn.say("reminder")
        return [FollowupAction("check_in_form")] if turn.slot("questions") else []


class Resume(Capability):
    """Goes on where the patient was."""

    called = "action_resume"

    def act(self, turn: Turn) -> Events:
        turn.say("check_in_resume" if turn.slot("questions") else "repeat_nothing")
        return [FollowupAction("check_in_form")] if turn.slot("questions") else []


class AskAnswer(Capability):
    """Asks the question at the head of the list."""

    called = "action_ask_answer"

    def act(self, turn: Turn) -> Events:
        question = _current(turn)
        if question is not None:
            buttons = [QuickReply(label=button.label, text=button.text) for button in question.buttons]
            turn.ask(question.text.get(turn.context.clinical.language, question.text["en"]), f"question_{question.id}", buttons)
        return []


class ValidateCheckIn(FormValidationAction):  # type: ignore[misc]
    """Reads each message as the answer to the current question."""

    def name(self) -> str:
        """As the domain lists it."""
        return "validate_check_in_form"

    async def validate_answer(self, value: Any, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> dict[str, Any]:
        """The slots after this message; `answer` is set only when no question is left, which ends the form."""
        turn = Turn(dispatcher, tracker)
        question = _current(turn)
        if question is None or turn.intent.startswith("EXTERNAL_"):
            return {"answer": None if question else "done"}
        slots = _interrupted(turn, question)
        return slots if slots is not None else _answered(turn, question)


class CheckInDone(Capability):
    """The last answer is in."""

    called = "action_check_in_done"

    def act(self, turn: Turn) -> Events:
        if turn.slot("contact"):
            turn.do(ContactDoneEffect(contact=turn.slot("contact")))
            turn.say("check_in_done")
        return [SlotSet("questions", None), SlotSet("contact", None), SlotSet("answer", None)]


class StrayValue(Capability):
    """A number that nothing asked for: asked what it is about."""

    called = "action_stray_value"

    def act(self, turn: Turn) -> Events:
        if check(turn.text, turn.context.clinical) or present_symptoms(turn.text):
            return assess(turn, turn.text, turn.understanding)
        turn.say("not_understood_first")
        return []


def _interrupted(turn: Turn, question: Question) -> dict[str, Any] | None:
    """Handles a message that is no answer; None where it is to be read as one."""
    flagged = bool(check(turn.text, turn.context.clinical))
    if not flagged and _read(turn, question) is not None:
        return None
    if flagged and not _short_answer(turn, question):
        assess(turn, turn.text, turn.understanding)
        turn.say("check_in_resume")
        return {"answer": None, "asked_again": None}
    if flagged:
        return None
    ended = interrupt(turn)
    if ended is None:
        return None
    if ended:
        return {"answer": "done", "questions": None, "contact": None}
    turn.say("check_in_resume")
    return {"answer": None}


def _answered(turn: Turn, question: Question) -> dict[str, Any]:
    """Keeps the answer and moves on, asks once more, or leaves the question to a person."""
    if is_skip(turn.text):
        return _next(turn, {})
    try:
        answer = read_answer(question, turn.text, _earlier(turn, question))
    except AnswerOutOfBounds:
        if turn.slot("asked_again") == question.id:
            return _leave_to_person(turn, question)
        turn.say("out_of_bounds")
        return {"answer": None, "asked_again": question.id}
    if answer is None:
        if turn.slot("asked_again") == question.id:
            return _leave_to_person(turn, question)
        turn.say("ask_again")
        return {"answer": None, "asked_again": question.id}
    turn.do(AnswerEffect(question=question.id, value=answer.value, unit=answer.unit, words=turn.text, contact=turn.slot("contact")))
    _act_on(turn, question, answer)
    return _next(turn, {"asked_again": None})


def _act_on(turn: Turn, question: Question, answer: ReadAnswer) -> None:
    """An answer over a threshold calls a person; words beside it that tell of a symptom are a report."""
    crossed = question.crossed(answer.value, _earlier(turn, question))
    if crossed is not None:
        turn.escalate("answer_threshold", crossed.acuity, crossed.reason)
    if answer.rest and (check(answer.rest, turn.context.clinical) or present_symptoms(answer.rest)) and question.kind != "choice":
        assess(turn, answer.rest, None)
    elif crossed is not None and crossed.acuity is Acuity.EMERGENCY:
        turn.say("emergency_warning", safety=True)
    elif crossed is not None and crossed.acuity is Acuity.URGENT:
        turn.say("urgent_reply")


def _leave_to_person(turn: Turn, question: Question) -> dict[str, Any]:
    turn.say("answer_skipped")
    turn.escalate("unreadable_answer", Acuity.ROUTINE, f"The answer to {question.id} could not be read twice: ask the patient.")
    return _next(turn, {"asked_again": None})


def _next(turn: Turn, slots: dict[str, Any]) -> dict[str, Any]:
    left = (turn.slot("questions") or [])[1:]
    return {**slots, "questions": left or None, "answer": None if left else "done"}


def _current(turn: Turn) -> Question | None:
    left = turn.slot("questions")
    return knowledge().questions[left[0]] if left else None


def _earlier(turn: Turn, question: Question) -> list[Earlier]:
    return turn.context.earlier.get(question.id, [])


def _read(turn: Turn, question: Question) -> ReadAnswer | str | None:
    try:
        return "skip" if is_skip(turn.text) else read_answer(question, turn.text, _earlier(turn, question))
    except AnswerOutOfBounds:
        return "out of bounds"


def _short_answer(turn: Turn, question: Question) -> bool:
    """Whether the message answers the question although a red flag is in it ("5. also I can't breathe")."""
    found = _read(turn, question)
    return isinstance(found, ReadAnswer)
