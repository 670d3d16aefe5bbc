"""Consent before the first health message."""

from __future__ import annotations

from rasa_sdk.events import FollowupAction, SlotSet

from bot.actions.capability import Capability, Events
from bot.actions.report import answer_clarifier
from bot.actions.turn import Turn
from care.answers import read_answer
from care.knowledge.model import Question, QuestionKind
from care.turns.dialogue import ConsentEffect

_YES_NO = Question(id="consent", kind=QuestionKind.YES_NO, text={"en": ""}, sources=["-"])


class AskConsent(Capability):
    """The first message to a patient."""

    called = "action_ask_consent"

    def act(self, turn: Turn) -> Events:
        turn.say("consent_request")
        return [SlotSet("consent_asked", True)]


class AnswerYesNo(Capability):
    """A yes or no outside the check-in: to the consent question, to a clarifying question, or to nothing."""

    called = "action_answer_yes_no"

    def act(self, turn: Turn) -> Events:
        if turn.context.consent != "granted":
            return answer_consent(turn)
        clarified = answer_clarifier(turn)
        if clarified is not None:
            return clarified
        turn.say("repeat_nothing")
        return []


def answer_consent(turn: Turn) -> Events:
    """Records a clear yes or no; asks again for anything else. A yes begins the open check-in at once."""
    answer = read_answer(_YES_NO, turn.text)
    if answer is None or not turn.slot("consent_asked"):
        turn.say("consent_needed")
        return [SlotSet("consent_asked", True)]
    turn.do(ConsentEffect(granted=answer.value is True, words=turn.text))
    turn.say("consent_thanks" if answer.value is True else "consent_declined")
    done: Events = [SlotSet("consent_asked", None)]
    if answer.value is True and turn.context.questions:
        return [*done, FollowupAction("action_start_check_in")]
    return done
