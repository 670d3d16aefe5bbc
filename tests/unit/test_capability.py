"""The action server: one turn that waits keeps no other from running."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from rasa_sdk import Tracker
from rasa_sdk.executor import CollectingDispatcher

from bot.actions.capability import Capability, Events
from bot.actions.turn import Turn

BOTH_INSIDE = threading.Barrier(2)


class Waiting(Capability):
    """Waits until another turn is inside as well."""

    called = "action_of_a_test"

    def act(self, turn: Turn) -> Events:
        BOTH_INSIDE.wait(20)
        return []


def test_two_turns_run_at_the_same_time() -> None:
    async def both() -> list[Any]:
        tracker = Tracker("s", {}, {"text": "hello", "metadata": {}}, [], False, None, {}, "action_listen")
        return await asyncio.gather(*(Waiting().run(CollectingDispatcher(), tracker, {}) for _ in range(2)))

    assert asyncio.run(both()) == [[], []]


def test_what_was_said_before_leaves_out_the_message_at_hand_and_our_prompts() -> None:
    events = [
        {"event": "user", "text": "/start_check_in"},
        {"event": "bot", "text": None, "data": {"custom": {"reply": {"text": "How is the pain?"}}}},
        {"event": "user", "text": "so so"},
        {"event": "slot", "name": "misses", "value": None},
        {"event": "bot", "text": None, "data": {"custom": {"effect": {"kind": "await"}}}},
        {"event": "user", "text": "I feel dizzy"},
    ]
    tracker = Tracker("s", {}, {"text": "I feel dizzy", "metadata": {}}, events, False, None, {}, "action_listen")
    assert [(said.who, said.words) for said in Turn(CollectingDispatcher(), tracker).said_before] == [("service", "How is the pain?"), ("patient", "so so")]
