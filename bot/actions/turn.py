"""What an action knows of the turn it runs in, and how it says and does things."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from rasa_sdk import Tracker
from rasa_sdk.executor import CollectingDispatcher

from aftercare.assembly import build_nlu, build_triage
from bot.actions.plain_words import plain_intent
from care.acuity import Acuity
from care.lexicon import present_symptoms
from care.redflags import check
from care.retrieval import Likeness
from care.settings import settings
from care.texts import scripted
from care.triage.model import RedFlagHit, Said
from care.triage.service import TriageService
from care.turns.dialogue import DialogueContext, Effect, EscalationEffect, QuickReply, Reply
from care.understanding import Intent, Understanding

_SAID_BEFORE = 4
_WAY_BACK_S = 1.0
"""What Rasa needs from an action's answer to its own."""


@cache
def triage_service() -> TriageService:
    """Rules, encoder and model, put together once."""
    return build_triage(settings())


@cache
def advice_likeness() -> Likeness:
    """What compares a question with the approved statements."""
    return build_nlu(settings())


@dataclass(frozen=True)
class Turn:
    """One turn as an action sees it."""

    dispatcher: CollectingDispatcher
    tracker: Tracker

    @cached_property
    def context(self) -> DialogueContext:
        """Who is spoken with, as far as the dialogue may know."""
        return DialogueContext.model_validate(self.tracker.latest_message["metadata"]["context"])

    @property
    def left_s(self) -> float:
        """Seconds in which the action must answer, so that Rasa's answer still finds its caller waiting."""
        answer_by = self.tracker.latest_message["metadata"].get("answer_by")
        return (settings().reply_deadline_s if answer_by is None else answer_by - time.time()) - _WAY_BACK_S

    @property
    def text(self) -> str:
        """The patient's words."""
        return str(self.tracker.latest_message.get("text") or "")

    @property
    def said_before(self) -> list[Said]:
        """The last words of the conversation, the message at hand left out."""
        events = [event for event in self.tracker.events if event.get("event") in ("user", "bot")]
        last = max((number for number, event in enumerate(events) if event["event"] == "user"), default=len(events))
        spoken = [(event["event"], _words(event)) for event in events[:last]]
        return [Said(who="patient" if who == "user" else "service", words=words[:500]) for who, words in spoken if words][-_SAID_BEFORE:]

    @cached_property
    def understanding(self) -> Understanding | None:
        """What the encoder made of them; None where our side speaks first."""
        raw = self.tracker.latest_message.get("understanding")
        return Understanding.model_validate(raw) if raw else None

    @cached_property
    def intent(self) -> str:
        """The first intent's name; words that mean one thing alone go before what the encoder heard."""
        plain = plain_intent(self.text) if self.understanding is not None else None
        return str(plain or self.tracker.latest_message["intent"]["name"])

    @property
    def first(self) -> bool:
        """Whether this is the first action of the turn: the one that the patient's words called for."""
        return self.understanding is not None and self.tracker.latest_action_name == "action_listen"

    @cached_property
    def hits(self) -> list[RedFlagHit]:
        """The red-flag rules that fire on the words."""
        return check(self.text, self.context.clinical)

    @property
    def flagged(self) -> bool:
        """Whether a red-flag rule fires on the words."""
        return bool(self.hits)

    @property
    def in_crisis(self) -> bool:
        """Whether the words speak of suicide or self-harm."""
        return any(hit.rule.startswith("crisis") for hit in self.hits)

    @cached_property
    def tells_symptom(self) -> bool:
        """Whether the rules or the lexicon find a symptom in the words."""
        return self.flagged or bool(present_symptoms(self.text))

    @cached_property
    def reports(self) -> bool:
        """Whether the words are a report, beside whatever else they are."""
        return self.flagged or self._heard(Intent.REPORT_SYMPTOM)

    @cached_property
    def foreign(self) -> str | None:
        """The language of the words (ISO 639-1) where the models do not read it: as the encoder heard it, else the patient's own; None for English."""
        heard, own = self.understanding.language if self.understanding else "en", self.context.clinical.language
        language = heard if heard != "en" else own
        return language if language != "en" and any(char.isalpha() for char in self.text) else None

    @property
    def awaits_help(self) -> bool:
        """Whether the patient was told to call for help, and no person has resolved the emergency or let us go on."""
        return bool(self.slot("paused")) and self.context.emergency

    def slot(self, name: str) -> Any:
        """A slot's value."""
        return self.tracker.get_slot(name)

    def say(self, key: str, *, safety: bool = False, **values: str) -> None:
        """Says a scripted text."""
        text = scripted(key, self.context.clinical.language, first_name=self.context.first_name, **values)
        self.reply(Reply(text=text, key=key, safety=safety))

    def say_nothing_is_asked(self) -> None:
        """Says that no question is open; to one who awaits help, that a person knows."""
        self.say("emergency_told" if self.awaits_help else "repeat_nothing")

    def reply(self, reply: Reply) -> None:
        """Says a text."""
        self.dispatcher.utter_message(json_message={"reply": reply.model_dump(mode="json")})

    def ask(self, text: str, key: str, buttons: list[QuickReply]) -> None:
        """Asks, with quick replies."""
        self.reply(Reply(text=text, key=key, quick_replies=buttons))

    def do(self, effect: Effect) -> None:
        """Has something written with the turn."""
        self.dispatcher.utter_message(json_message={"effect": effect.model_dump(mode="json")})

    def escalate(self, reason: str, acuity: Acuity, summary: str) -> None:
        """Calls a person."""
        self.do(EscalationEffect(reason=reason, acuity=acuity, summary=summary))

    def _heard(self, intent: Intent) -> bool:
        return self.understanding is not None and any(score.name is intent for score in self.understanding.intents)


def yes_no_buttons(language: str) -> list[QuickReply]:
    """The two quick replies of a yes-or-no question."""
    return [QuickReply(label=scripted(f"button_{answer}", language), text=answer) for answer in ("yes", "no")]


def _words(event: dict[str, Any]) -> str:
    """What an event of the tracker says: our own prompts to speak first say nothing, and our replies stand in the message's JSON."""
    if event["event"] == "user":
        said = str(event.get("text") or "")
        return "" if said.startswith("/") else said
    reply = ((event.get("data") or {}).get("custom") or {}).get("reply") or {}
    return str(reply.get("text") or event.get("text") or "")
