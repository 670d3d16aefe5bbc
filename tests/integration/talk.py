"""A conversation with the running dialogue: Rasa, its actions, the encoder and the model."""

from __future__ import annotations

from datetime import date
from uuid import uuid4

from care.keys import read_keys
from care.triage.model import PatientContext
from care.turns.dialogue import AnswerEffect, ConsentEffect, ContactDoneEffect, DialogueContext, DialogueRequest, EscalationEffect, ReportEffect, Trigger
from care.turns.rasa_client import RasaDialogue
from tests.conftest import Service


class Talk:
    """A conversation with a patient of the knee protocol. `says` and `hears` answer the keys of the replies; the rest is what the turns have done."""

    def __init__(self, service: Service, questions: list[str], consent: bool, language: str) -> None:
        self._rasa = RasaDialogue(service.url("RASA"), read_keys(service.home / "data/keys.json").rasa_token.get_secret_value())
        self._sender, self._version = f"story-{uuid4().hex}", 0
        self._questions, self._language = questions, language
        self.consent: bool | None = consent or None
        self.emergency = False
        self.answers: dict[str, float | bool | str] = {}
        self.escalations: list[str] = []
        self.reports: list[str] = []
        self.done = False
        self.texts: list[str] = []

    def says(self, text: str) -> list[str]:
        """The patient writes."""
        return self._turn(text, None)

    def hears(self, trigger: Trigger) -> list[str]:
        """Our side speaks first."""
        return self._turn("", trigger)

    def _turn(self, text: str, trigger: Trigger | None) -> list[str]:
        context = DialogueContext(
            patient=self._sender,
            first_name="Ana",
            clinic="Riverside",
            clinic_phone="555-010-0199",
            channel="web",
            consent="granted" if self.consent else "unknown",
            clinical=PatientContext(protocol="knee_replacement", day=3, age=61, sex="female", language=self._language),
            contact="contact-1" if self._questions else None,
            questions=self._questions,
            today=date.today(),
            emergency=self.emergency,
        )
        request = DialogueRequest(message_id=uuid4().hex, sender=self._sender, text=text, trigger=trigger, context=context, state_version=self._version)
        response = self._rasa.turn(request, None, deadline_s=20)
        self._version = response.state_version
        for effect in response.effects:
            match effect:
                case AnswerEffect():
                    self.answers[effect.question] = effect.value
                case EscalationEffect():
                    self.escalations.append(effect.reason)
                case ReportEffect():
                    self.reports.append(effect.words)
                case ConsentEffect():
                    self.consent = effect.granted
                case ContactDoneEffect():
                    self.done = True
        self.texts = [reply.text for reply in response.replies]
        return [reply.key for reply in response.replies]
