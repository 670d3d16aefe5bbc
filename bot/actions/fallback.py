"""Not understood: asked once for other words, then a person reads it."""

from __future__ import annotations

from rasa_sdk.events import SlotSet

from bot.actions.capability import Capability, Events
from bot.actions.report import answer_clarifier, assess
from bot.actions.turn import Turn
from care.acuity import Acuity
from care.lexicon import present_symptoms
from care.redflags import check


class NotUnderstood(Capability):
    """Out of scope, or the encoder is not sure; words that name a symptom are a report all the same."""

    called = "action_not_understood"

    def act(self, turn: Turn) -> Events:
        clarified = answer_clarifier(turn)
        if clarified is not None:
            return clarified
        if check(turn.text, turn.context.clinical) or present_symptoms(turn.text):
            return assess(turn, turn.text, turn.understanding)
        if not turn.slot("misses"):
            turn.say("not_understood_first")
            return [SlotSet("misses", 1)]
        turn.say("not_understood_person")
        turn.escalate("not_understood", Acuity.ROUTINE, "Two messages in a row were not understood.")
        return [SlotSet("misses", None)]
