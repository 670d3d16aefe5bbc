"""Thoughts of ending one's life, or not being safe."""

from __future__ import annotations

from rasa_sdk.events import SlotSet

from bot.actions.capability import Capability, Events
from bot.actions.turn import Turn
from care.acuity import Acuity


class Crisis(Capability):
    """Answers with the crisis line and calls a person at once; nothing else is asked."""

    called = "action_crisis"

    def act(self, turn: Turn) -> Events:
        turn.say("crisis_reply", safety=True)
        turn.escalate("crisis", Acuity.EMERGENCY, "The patient may be in crisis or unsafe.")
        return [SlotSet("clarifying", None), SlotSet("paused", True)]
