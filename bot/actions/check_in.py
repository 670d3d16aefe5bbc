"""The daily check-in: the questions of the protocol's day, one at a time, read leniently; a report in the middle is handled and the form goes on."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from rasa_sdk import FormValidationAction, Tracker
from rasa_sdk.events import FollowupAction, SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from bot.actions.capability import Capability, Events, Slots, slot_events
from bot.actions.fallback import leave_to_reader
from bot.actions.interruptions import asks_something, interrupt
from bot.actions.report import answer_clarifier, ask_clarifier, assess, clarifying, pass_over
from bot.actions.turn import Turn
from care.acuity import Acuity
from care.answers import AnswerOutOfBounds, ReadAnswer, is_skip, read_answer
from care.campaigns.outreach import INTROS
from care.knowledge import knowledge
from care.knowledge.model import Earlier, Question, QuestionKind, StepKind
from care.lexicon import present_symptoms
from care.redflags import check
from care.turns.dialogue import AnswerEffect, ContactDoneEffect, QuickReply

_UNPAUSED: Events = [SlotSet("paused", None)]


class _Unread(Enum):
    """What a message to a question is that holds no value for it."""

    SKIPPED = auto()
    OUT_OF_BOUNDS = auto()


class StartCheckIn(Capability):
    """Begins the questions of the contact; what was left of an earlier one is dropped."""

    called = "action_start_check_in"

    def act(self, turn: Turn) -> Events:
        turn.say(INTROS[turn.context.kind or StepKind.CHECK_IN], appointment=turn.context.appointment)
        return _begin(turn)


class Remind(Capability):
    """No answer yet: the open question once more, or the check-in from its start where none is open."""

    called = "action_remind"

    def act(self, turn: Turn) -> Events:
        turn.say("reminder")
        return [*_UNPAUSED, FollowupAction("check_in_form")] if turn.slot("questions") else _begin(turn)


class Resume(Capability):
    """Goes on where the patient was."""

    called = "action_resume"

    def act(self, turn: Turn) -> Events:
        if turn.slot("questions"):
            turn.say("check_in_resume")
            return [*_UNPAUSED, FollowupAction("check_in_form")]
        turn.say("repeat_nothing")
        return []


class AskAnswer(Capability):
    """Asks the open clarifying question, else the question at the head of the list; nothing while the patient is told to call for help."""

    called = "action_ask_answer"

    def act(self, turn: Turn) -> Events:
        if turn.slot("paused"):
            return []
        question = _current(turn)
        if now := clarifying(turn):
            ask_clarifier(turn, now)
        elif question is not None:
            buttons = [QuickReply(label=button.shown(turn.context.clinical.language), text=button.text) for button in question.buttons]
            turn.ask(question.text.get(turn.context.clinical.language, question.text["en"]), f"question_{question.id}", buttons)
        return []


class ValidateCheckIn(FormValidationAction):  # type: ignore[misc]
    """Reads each message as the answer to the current question."""

    def name(self) -> str:
        """As the domain lists it."""
        return "validate_check_in_form"

    async def validate_answer(self, value: Any, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> dict[str, Any]:
        """The slots after this message; `answer` is set only when nothing is left to ask, which ends the form."""
        turn = Turn(dispatcher, tracker)
        if value is None:  # the form has just begun: the message was not for it
            return {"answer": None if _current(turn) else "done"}
        slots = _heard(turn)
        left = slots.get("questions", turn.slot("questions"))
        return {"answer": None if left or _clarifies(turn, slots) else "done", **slots}


class CheckInDone(Capability):
    """The last answer is in."""

    called = "action_check_in_done"

    def act(self, turn: Turn) -> Events:
        if turn.slot("contact"):
            turn.do(ContactDoneEffect(contact=turn.slot("contact")))
            if not turn.slot("paused"):
                turn.say("check_in_done")
        return [SlotSet("questions", None), SlotSet("contact", None), SlotSet("answer", None)]


def _heard(turn: Turn) -> Slots:
    """Handles the message: as an answer to the clarifying question or to the question, or as something else, after which the check-in goes on."""
    slots = answer_clarifier(turn)
    question = _current(turn)
    awaited = question if slots is None and not turn.slot("paused") else None
    found = _read(turn, awaited) if awaited else None
    if awaited and _is_answer(turn, found):
        return {"clarifying": None} | _answered(turn, awaited, found)
    if slots is None:
        slots = interrupt(turn)
    if slots is None and clarifying(turn):
        slots = pass_over(turn)
    if slots is None and awaited:
        return _unreadable(turn, awaited, "ask_again")
    if slots is None and turn.foreign:
        leave_to_reader(turn, turn.foreign)
    elif slots is None and turn.awaits_help:
        turn.say("emergency_told")
    waits = turn.awaits_help and not _clarifies(turn, slots or {})
    slots = {"paused": None} | (slots or {}) | ({"paused": True} if waits else {})
    if question is not None and slots.get("answer") is None and not slots["paused"] and not _clarifies(turn, slots):
        turn.say("check_in_resume")
    return slots


def _clarifies(turn: Turn, slots: Slots) -> bool:
    return bool(slots["clarifying"] if "clarifying" in slots else clarifying(turn))


def _is_answer(turn: Turn, found: ReadAnswer | _Unread | None) -> bool:
    """Whether the message is to be taken as an answer; where there is a red flag in it, only for a value ("5. also I can't breathe")."""
    if asks_something(turn):
        return False
    return isinstance(found, ReadAnswer) if turn.flagged else found is not None


def _answered(turn: Turn, question: Question, found: ReadAnswer | _Unread | None) -> Slots:
    """Keeps the answer and moves on."""
    if not isinstance(found, ReadAnswer):
        return _next(turn) if found is _Unread.SKIPPED else _unreadable(turn, question, "out_of_bounds")
    turn.do(AnswerEffect(question=question.id, value=found.value, unit=found.unit, words=turn.text, contact=turn.slot("contact")))
    return _next(turn) | _act_on(turn, question, found)


def _act_on(turn: Turn, question: Question, answer: ReadAnswer) -> Slots:
    """An answer over a threshold calls a person; words beside it that tell of a symptom are a report."""
    crossed = question.crossed(answer.value, _earlier(turn, question))
    if crossed is not None:
        turn.escalate("answer_threshold", crossed.acuity, crossed.reason)
    words = "" if question.kind is QuestionKind.CHOICE else answer.rest
    flags = check(turn.text, turn.context.clinical)
    if flags and (crossed is None or flags[0].acuity.rank > crossed.acuity.rank):
        words = turn.text
    if words and (flags or present_symptoms(words)):
        return assess(turn, words, crossed.acuity if crossed else Acuity.SELF_CARE)
    if crossed is not None and crossed.acuity is Acuity.EMERGENCY:
        turn.say("emergency_warning", safety=True)
        return {"paused": True}
    if crossed is not None and crossed.acuity is Acuity.URGENT:
        turn.say("urgent_reply")
    return {}


def _unreadable(turn: Turn, question: Question, asking: str) -> Slots:
    """Asks once more; the second time the question is left to a person. Words that the models cannot read are so at once, and the question is asked again."""
    if turn.slot("asked_again") != question.id:
        if turn.foreign:
            leave_to_reader(turn, turn.foreign)
        else:
            turn.say(asking)
        return {"asked_again": question.id}
    turn.say("answer_skipped")
    turn.escalate("unreadable_answer", Acuity.ROUTINE, f"The answer to {question.id} could not be read twice: ask the patient.")
    return _next(turn)


def _begin(turn: Turn) -> Events:
    fresh = {"questions": turn.context.questions, "contact": turn.context.contact, "answer": None, "asked_again": None, "clarifying": None, "paused": None}
    return [*slot_events(fresh), FollowupAction("check_in_form")]


def _next(turn: Turn) -> Slots:
    return {"questions": (turn.slot("questions") or [])[1:] or None, "asked_again": None}


def _current(turn: Turn) -> Question | None:
    left = turn.slot("questions")
    return knowledge().questions[left[0]] if left else None


def _earlier(turn: Turn, question: Question) -> list[Earlier]:
    return turn.context.earlier.get(question.id, [])


def _read(turn: Turn, question: Question) -> ReadAnswer | _Unread | None:
    try:
        return _Unread.SKIPPED if is_skip(turn.text) else read_answer(question, turn.text, _earlier(turn, question))
    except AnswerOutOfBounds:
        return _Unread.OUT_OF_BOUNDS
