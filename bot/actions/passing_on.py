"""What only people settle: medicines, visits, a wish for a person."""

from __future__ import annotations

from bot.actions.capability import Events
from bot.actions.report import BesideReport
from bot.actions.turn import Turn
from care.acuity import Acuity
from care.turns.dialogue import AnswerEffect
from care.understanding import Intent

_NOTED = {
    Intent.MEDICINE_TAKEN.value: ("medicine_taken", "yes"),
    Intent.MEDICINE_MISSED.value: ("medicine_missed", "no"),
    Intent.MEDICINE_LATER.value: ("medicine_later", "later"),
}


class NoteMedicine(BesideReport):
    """Taken, missed or later."""

    called = "action_note_medicine"
    follows = True

    def answer(self, turn: Turn) -> Events:
        key, value = _NOTED[turn.intent]
        turn.do(AnswerEffect(question="medicine", value=value, words=turn.text, contact=turn.context.contact))
        if value == "no":
            turn.escalate("medicine_question", Acuity.ROUTINE, "The patient missed a medicine.")
        turn.say(key)
        return []


class MedicineQuestion(BesideReport):
    """Never answered by us."""

    called = "action_medicine_question"
    follows = True

    def answer(self, turn: Turn) -> Events:
        turn.say("medicine_passed_on")
        turn.escalate("medicine_question", Acuity.ROUTINE, "The patient has a question about a medicine.")
        return []


class Appointment(BesideReport):
    """Passed to a person."""

    called = "action_appointment"
    follows = True

    def answer(self, turn: Turn) -> Events:
        turn.say("appointment_passed_on")
        turn.escalate("appointment", Acuity.ROUTINE, "The patient asks about an appointment.")
        return []


class CallPerson(BesideReport):
    """The patient wants a person, who is asked to get in touch."""

    called = "action_call_person"
    follows = True

    def answer(self, turn: Turn) -> Events:
        turn.say("person_coming")
        turn.escalate("handoff_request", Acuity.URGENT, "The patient asks to speak with a person.")
        return []
