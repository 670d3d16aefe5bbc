"""Not understood: asked once for other words, then a person reads it; at once where it is in a language that the models do not read."""

from __future__ import annotations

from rasa_sdk.events import SlotSet

from bot.actions.capability import Capability, Events
from bot.actions.consent import ask_consent_again
from bot.actions.report import answer_clarifier, asked, assess
from bot.actions.turn import Turn
from care.acuity import Acuity
from care.knowledge import knowledge
from care.texts import language_name, scripted
from care.turns.dialogue import Reply

_READ_BY_PERSON = "read_by_person"


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
        if turn.foreign:
            leave_to_reader(turn, turn.foreign)
            return [*([] if turn.context.consent == "granted" else ask_consent_again(turn)), SlotSet("misses", None)]
        if turn.awaits_help:
            turn.say("emergency_told")
            return []
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


def leave_to_reader(turn: Turn, language: str) -> None:
    """Has a person read words in a language that the models do not know, and says so in the patient's language and in that of the words.

    What is in a language that the red-flag rules do not know either may hold any danger: it is read today.
    """
    texts = knowledge().texts[_READ_BY_PERSON]
    said = [scripted(_READ_BY_PERSON, each) for each in dict.fromkeys([turn.context.clinical.language, language]) if each in texts]
    turn.reply(Reply(text=" ".join(said), key=_READ_BY_PERSON))
    acuity = Acuity.ROUTINE if language in texts else Acuity.URGENT
    turn.escalate("not_understood", acuity, f"A message that the models cannot read, probably in {language_name(language)}: please read it.")
