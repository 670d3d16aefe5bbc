"""Greetings, thanks, questions about the service."""

from __future__ import annotations

from rasa_sdk.events import SlotSet

from bot.actions.capability import Capability, Events
from bot.actions.consent import ask_consent_again
from bot.actions.report import BesideReport, ask_clarifier, clarifying
from bot.actions.turn import Turn
from care.acuity import Acuity


class SmallTalk(BesideReport):
    """Hello, thanks, goodbye, what are you, how does this work: the scripted text of the intent."""

    called = "action_small_talk"

    def answer(self, turn: Turn) -> Events:
        turn.say(turn.intent)
        return []


class Repeat(Capability):
    """Says the open question again."""

    called = "action_repeat"

    def act(self, turn: Turn) -> Events:
        if now := clarifying(turn):
            ask_clarifier(turn, now)
            return []
        if turn.context.consent != "granted":
            return ask_consent_again(turn)
        turn.say_nothing_is_asked()
        return []


class Cancel(BesideReport):
    """Never mind."""

    called = "action_cancel"

    def answer(self, turn: Turn) -> Events:
        turn.say("cancelled")
        return [SlotSet("clarifying", None)]


class ChangeLanguage(BesideReport):
    """Another language: a person sets it."""

    called = "action_change_language"
    follows = True

    def answer(self, turn: Turn) -> Events:
        turn.say("change_language")
        turn.escalate("language", Acuity.ROUTINE, "The patient asks for another language.")
        return []
