"""What only people settle: medicines, visits, a wish for a person."""

from __future__ import annotations

from bot.actions.capability import Capability, Events
from bot.actions.turn import Turn
from care.acuity import Acuity
from care.turns.dialogue import AnswerEffect
from care.understanding import Intent

_NOTED = {
    Intent.MEDICINE_TAKEN.value: ("medicine_taken", "yes"),
    Intent.MEDICINE_MISSED.value: ("medicine_missed", "no"),
    Intent.MEDICINE_LATER.value: ("medicine_later", "later"),
}


class NoteMedicine(Capability):
    """Taken, missed or later."""

    called = "action_note_medicine"

    def act(self, turn: Turn) -> Events:
        key, value = _NOTED[turn.intent]
        turn.do(AnswerEffect(question="medicine", value=value, words=turn.text, contact=turn.context.contact))
        if value == "no":
            turn.escalate("medicine_question", Acuity.ROUTINE, "The patient missed a medicine.")
        turn.say(key)
        return []


class MedicineQuestion(Capability):
    """Never answered by us."""

    called = "action_medicine_question"

    def act(self, turn: Turn) -> Events:
        pass_on_medicine(turn)
        return []


class Appointment(Capability):
    """Passed to a person."""

    called = "action_appointment"

    def act(self, turn: Turn) -> Events:
        pass_on_appointment(turn)
        return []


class CallPerson(Capability):
    """The patient wants a person."""

    called = "action_call_person"

    def act(self, turn: Turn) -> Events:
        call_person(turn)
        return []


def pass_on_medicine(turn: Turn) -> None:
    """A medicine question goes to a person."""
    turn.say("medicine_passed_on")
    turn.escalate("medicine_question", Acuity.ROUTINE, "The patient has a question about a medicine.")


def pass_on_appointment(turn: Turn) -> None:
    """A question about a visit goes to a person."""
    turn.say("appointment_passed_on")
    turn.escalate("appointment", Acuity.ROUTINE, "The patient asks about an appointment.")


def call_person(turn: Turn) -> None:
    """A person is asked to get in touch."""
    turn.say("person_coming")
    turn.escalate("handoff_request", Acuity.URGENT, "The patient asks to speak with a person.")
