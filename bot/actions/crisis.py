"""Thoughts of ending one's life, or not being safe."""

from __future__ import annotations

from bot.actions.capability import Capability, Events
from bot.actions.turn import Turn
from care.acuity import Acuity


class Crisis(Capability):
    """Answers with the crisis line and calls a person at once."""

    called = "action_crisis"

    def act(self, turn: Turn) -> Events:
        answer_crisis(turn)
        return []


def answer_crisis(turn: Turn) -> None:
    """The approved crisis text, and an emergency for a person."""
    turn.say("crisis_reply", safety=True)
    turn.escalate("crisis", Acuity.EMERGENCY, "The patient may be in crisis or unsafe.")
