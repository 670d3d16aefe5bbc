"""What a patient may say in the middle of the check-in, and how it is handled before the form goes on."""

from __future__ import annotations

from bot.actions.advice import advise
from bot.actions.crisis import answer_crisis
from bot.actions.leaving import leave, talk_of_abuse, wrong_person
from bot.actions.passing_on import call_person, pass_on_appointment, pass_on_medicine
from bot.actions.report import assess
from bot.actions.small_talk import chat
from bot.actions.turn import Turn
from care.lexicon import present_symptoms
from care.understanding import Intent


def interrupt(turn: Turn) -> bool | None:
    """Handles what is no answer: True where the check-in ends with it, False where it goes on, None where it was nothing of the kind."""
    match turn.intent:
        case Intent.CRISIS:
            answer_crisis(turn)
        case Intent.OPT_OUT:
            leave(turn)
            return True
        case Intent.WRONG_NUMBER:
            wrong_person(turn)
            return True
        case Intent.CANCEL:
            turn.say("cancelled")
            return True
        case Intent.REPORT_SYMPTOM:
            assess(turn, turn.text, turn.understanding)
        case Intent.ASK_ADVICE:
            advise(turn)
        case Intent.ASK_MEDICINE:
            pass_on_medicine(turn)
        case Intent.ASK_APPOINTMENT:
            pass_on_appointment(turn)
        case Intent.REQUEST_PERSON:
            call_person(turn)
        case Intent.ABUSE:
            talk_of_abuse(turn)
        case Intent.REPEAT:
            pass
        case Intent.GREET | Intent.THANKS | Intent.GOODBYE | Intent.BOT_CHALLENGE | Intent.HELP:
            chat(turn)
        case _:
            if not present_symptoms(turn.text):
                return None
            assess(turn, turn.text, turn.understanding)
    return False
