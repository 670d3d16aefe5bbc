"""Not understood: asked once for other words, then a person reads it."""

from __future__ import annotations

from rasa_sdk.events import SlotSet

from bot.actions.capability import Capability, Events
from bot.actions.consent import ask_consent_again
from bot.actions.report import answer_clarifier, asked, assess
from bot.actions.turn import Turn
from care.acuity import Acuity


class NotUnderstood(Capability):
    """Out of scope, a number that nothing asked for, or the encoder is not sure; words that name a symptom are a report all the same."""

    called = "action_not_understood"
    understands = False

    def act(self, turn: Turn) -> Events:
        slots = answer_clarifier(turn)
        if slots is None and (turn.reports or turn.tells_symptom):
            slots = assess(turn)
        if slots is not None:
            return [*asked(turn, slots), SlotSet("misses", None)]
        if not turn.slot("misses"):
            return [*self._ask_for_other_words(turn), SlotSet("misses", 1)]
        turn.say("not_understood_person")
        turn.escalate("not_understood", Acuity.ROUTINE, "Two messages in a row were not understood.")
        return [SlotSet("misses", None)]

    def _ask_for_other_words(self, turn: Turn) -> Events:
        if turn.context.consent != "granted":
            return ask_consent_again(turn)
        turn.say("not_understood_first")
        return []
