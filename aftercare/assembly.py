"""Which adapter fills which port: the one place where the parts are put together."""

from __future__ import annotations

import atexit

from care.clock import service_clock
from care.keys import keys
from care.knowledge import knowledge
from care.messages.handing_over import SendPolicy
from care.messages.sending import Sender
from care.messages.twilio_client import twilio_client
from care.messages.twilio_gateway import TwilioGateway
from care.settings import Settings
from care.triage.service import TriageService
from care.turns.dialogue import Dialogue
from care.turns.rasa_client import RasaDialogue
from care.turns.service import TurnRunner
from generation import REFERENCE_MODEL
from generation.client import VllmDrafter
from nlu.client import NluClient


def build_nlu(settings: Settings) -> NluClient:
    """The nlu service: what a message means, and which advice is like it."""
    return NluClient(settings.nlu)


def build_drafter(settings: Settings) -> VllmDrafter:
    """The generative model behind vLLM."""
    drafter = VllmDrafter(settings.vllm, settings.vllm_model or REFERENCE_MODEL, keys().vllm_token.get_secret_value())
    atexit.register(drafter.close)
    return drafter


def build_triage(settings: Settings) -> TriageService:
    """Rules, encoder and model together."""
    nlu = build_nlu(settings)
    return TriageService(nlu, build_drafter(settings), knowledge(), likeness=nlu)


def build_dialogue(settings: Settings) -> Dialogue:
    """Rasa through its idempotent channel."""
    return RasaDialogue(settings.rasa, keys().rasa_token.get_secret_value())


def build_turn_runner(settings: Settings) -> TurnRunner:
    """What handles accepted messages."""
    return TurnRunner(build_dialogue(settings), service_clock(), settings)


def build_gateway(settings: Settings) -> TwilioGateway:
    """Twilio, or its emulator."""
    return TwilioGateway(twilio_client(settings), settings)


def build_sender(settings: Settings) -> Sender:
    """What sends the outbox."""
    return Sender(build_gateway(settings), service_clock(), SendPolicy(segments_per_second=settings.sms_segments_per_second))
