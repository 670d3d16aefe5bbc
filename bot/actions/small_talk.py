"""Greetings, thanks, questions about the service."""

from __future__ import annotations

from rasa_sdk.events import FollowupAction, SlotSet

from bot.actions.capability import Capability, Events
from bot.actions.turn import Turn
from care.acuity import Acuity


class SmallTalk(Capability):
    """Hello, thanks, goodbye, what are you, how does this work."""

    called = "action_small_talk"

    def act(self, turn: Turn) -> Events:
        chat(turn)
        return []


class Repeat(Capability):
    """Says the open question again."""

    called = "action_repeat"

    def act(self, turn: Turn) -> Events:
        if turn.slot("questions"):
            return [FollowupAction("check_in_form")]
        turn.say("repeat_nothing")
        return []


class Cancel(Capability):
    """Never mind."""

    called = "action_cancel"

    def act(self, turn: Turn) -> Events:
        turn.say("cancelled")
        return [SlotSet("clarifying", None)]


class ChangeLanguage(Capability):
    """Another language: a person sets it."""

    called = "action_change_language"

    def act(self, turn: Turn) -> Events:
        turn.say("change_language")
        turn.escalate("language", Acuity.ROUTINE, "The patient asks for another language.")
        return []


def chat(turn: Turn) -> None:
    """The scripted text of the intent."""
    turn.say(turn.intent)
