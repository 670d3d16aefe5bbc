"""A worker in which the turn of a message that says POISON kills its process, as one that runs out of memory would."""

from __future__ import annotations

import os
import signal

from care.turns.dialogue import DialogueRequest, DialogueResponse
from care.turns.rasa_client import RasaDialogue
from workers.app import app

__all__ = ["app"]
_turn = RasaDialogue.turn


def _deadly(self: RasaDialogue, request: DialogueRequest, state: object, deadline_s: float) -> DialogueResponse:
    if "POISON" in request.text:
        os.kill(os.getpid(), signal.SIGKILL)
    return _turn(self, request, state, deadline_s)


RasaDialogue.turn = _deadly  # type: ignore[method-assign]
