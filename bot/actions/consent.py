"""Consent before the first health message."""

from __future__ import annotations

from rasa_sdk.events import FollowupAction, SlotSet

from bot.actions.capability import Capability, Events
from bot.actions.report import answer_clarifier, ask_clarifier, asked, assess, clarifying, yes_or_no
from bot.actions.turn import Turn
from care.knowledge.model import Question, QuestionKind
from care.turns.dialogue import ConsentEffect

_CONSENT = Question(id="consent", kind=QuestionKind.YES_NO, text={"en": ""}, sources=["-"])


class AskConsent(Capability):
    """The first message to a patient; the second time, in short."""

    called = "action_ask_consent"

    def act(self, turn: Turn) -> Events:
        if turn.slot("consent_asked"):
            return ask_consent_again(turn)
        turn.say("consent_request")
        return [SlotSet("consent_asked", True)]


class AnswerYesNo(Capability):
    """A yes or no outside the check-in: to a clarifying question, to the consent question, or to nothing; a report in it comes first."""

    called = "action_answer_yes_no"

    def act(self, turn: Turn) -> Events:
        clarified = answer_clarifier(turn)
        if clarified is None and turn.reports:
            clarified = assess(turn)
        if clarified is not None:
            return asked(turn, clarified)
        if turn.context.consent != "granted":
            return _answer_consent(turn)
        if now := clarifying(turn):
            ask_clarifier(turn, now)
            return []
        turn.say_nothing_is_asked()
        return []


def ask_consent_again(turn: Turn) -> Events:
    """Asks in short."""
    turn.say("consent_needed")
    return [SlotSet("consent_asked", True)]


def _answer_consent(turn: Turn) -> Events:
    """Records a clear yes or no; asks again for anything else. A yes begins the open check-in at once."""
    granted = yes_or_no(turn, _CONSENT)
    if granted is None or not turn.slot("consent_asked"):
        return ask_consent_again(turn)
    turn.do(ConsentEffect(granted=granted, words=turn.text))
    turn.say("consent_thanks" if granted else "consent_declined")
    begins = granted and bool(turn.context.questions)
    return [SlotSet("consent_asked", None), *([FollowupAction("action_start_check_in")] if begins else [])]
