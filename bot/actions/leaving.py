"""A wish to be left alone, a wrong number, and insults."""

from __future__ import annotations

from rasa_sdk.events import SlotSet

from bot.actions.capability import Capability, Events
from bot.actions.report import BesideReport
from bot.actions.turn import Turn
from care.acuity import Acuity
from care.turns.dialogue import ConsentEffect


class OptOut(Capability):
    """Honours the wish at once, and lets a person check that it was one. A red flag in the same words is not lost: the rules saw it on acceptance."""

    called = "action_opt_out"

    def act(self, turn: Turn) -> Events:
        turn.say("opt_out_confirm")
        turn.do(ConsentEffect(granted=False, words=turn.text))
        acuity = Acuity.URGENT if turn.flagged else Acuity.ROUTINE
        turn.escalate("opt_out_wish", acuity, "The patient asked in free text for no more messages; messages are off.")
        return []


class WrongNumber(Capability):
    """Not the patient: stops writing to the number until a person has checked it."""

    called = "action_wrong_number"

    def act(self, turn: Turn) -> Events:
        turn.say("wrong_number")
        turn.do(ConsentEffect(granted=False, words=turn.text, source="wrong_number"))
        turn.escalate("wrong_number", Acuity.ROUTINE, "The number may not be the patient's; messages are off until it is checked.")
        return []


class Abuse(BesideReport):
    """Insults: answered calmly; the second time a person looks."""

    called = "action_abuse"

    def answer(self, turn: Turn) -> Events:
        turn.say("abuse")
        if turn.slot("insults"):
            turn.escalate("abuse", Acuity.ROUTINE, "The patient is upset with the service.")
        return [SlotSet("insults", (turn.slot("insults") or 0) + 1)]
