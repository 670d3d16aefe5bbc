"""The base of our actions: a name and what it does in a turn."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from rasa_sdk import Action, Tracker
from rasa_sdk.events import SlotSet
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from bot.actions.plain_words import plain_action
from bot.actions.turn import Turn

log = structlog.get_logger()
Events = list[dict[str, Any]]
Slots = dict[str, Any]
_THREADS = ThreadPoolExecutor(64, thread_name_prefix="action")
"""As many turns may wait for the encoder and the model as Rasa runs at a time and more; the model's own gate decides who goes first."""
_NAMED: dict[str, type[Capability]] = {}


class Capability(Action, ABC):  # type: ignore[misc]
    """An action named by `called`; `act` says and does, and answers the slots to set. `understands` is false for what runs where nothing was understood."""

    called: str
    understands = True

    def __init_subclass__(cls) -> None:
        if "called" in vars(cls):
            _NAMED[cls.called] = cls

    def name(self) -> str:
        """As the domain lists it."""
        return self.called

    async def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Sequence[dict[str, Any]]:
        """Runs the turn in a thread: one that waits for the model keeps no other patient's from running."""
        return await asyncio.get_running_loop().run_in_executor(_THREADS, self._run, dispatcher, tracker)

    def _run(self, dispatcher: CollectingDispatcher, tracker: Tracker) -> Events:
        """A failure is logged by its kind alone, since its text may hold the patient's words."""
        try:
            turn = Turn(dispatcher, tracker)
            acting = (_meant_by(turn) if turn.first else None) or self
            understood = [SlotSet("misses", None)] if turn.first and acting.understands and turn.slot("misses") else []
            return [*understood, *acting.act(turn)]
        except Exception as error:
            log.error("action_failed", action=self.called, error=type(error).__name__)
            raise

    @abstractmethod
    def act(self, turn: Turn) -> Events:
        """What the capability does."""


def slot_events(slots: Slots) -> Events:
    """Sets the slots."""
    return [SlotSet(name, value) for name, value in slots.items()]


def slots_of(events: Events) -> Slots:
    """The slots that these events set."""
    return {event["name"]: event["value"] for event in events if event["event"] == "slot"}


def _meant_by(turn: Turn) -> Capability | None:
    """The capability that a crisis or plain words ask for, whatever the encoder heard."""
    name = "action_crisis" if turn.in_crisis else plain_action(turn.text)
    return _NAMED[name]() if name else None
