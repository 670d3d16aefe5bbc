"""The base of our actions: a name and what it does in a turn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import structlog
from rasa_sdk import Action, Tracker
from rasa_sdk.executor import CollectingDispatcher
from rasa_sdk.types import DomainDict

from bot.actions.turn import Turn

log = structlog.get_logger()
Events = list[dict[str, Any]]


class Capability(Action, ABC):  # type: ignore[misc]
    """An action named by `called`; `act` says and does, and answers the slots to set."""

    called: str

    def name(self) -> str:
        """As the domain lists it."""
        return self.called

    def run(self, dispatcher: CollectingDispatcher, tracker: Tracker, domain: DomainDict) -> Sequence[dict[str, Any]]:
        """Runs the turn; a failure is logged by its kind alone, since its text may hold the patient's words."""
        try:
            return self.act(Turn(dispatcher, tracker))
        except Exception as error:
            log.error("action_failed", action=self.called, error=type(error).__name__)
            raise

    @abstractmethod
    def act(self, turn: Turn) -> Events:
        """What the capability does."""
