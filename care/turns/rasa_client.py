"""The way to Rasa: our own idempotent channel, with a token, a deadline and no trust in a 200."""

from __future__ import annotations

import time
from typing import Any

import httpx
from pydantic import ValidationError

from care.turns.dialogue import DialogueFailed, DialogueRequest, DialogueResponse

_AWAY = "_away"
"""Ends the reason of a turn that Rasa did not begin since it could not reach what it needs."""


class RasaDialogue:
    """Runs turns on a Rasa server through its `aftercare` channel."""

    def __init__(self, base_url: str, token: str) -> None:
        self._client = httpx.Client(base_url=base_url, headers={"Authorization": f"Bearer {token}"}, limits=httpx.Limits(max_connections=64))

    def turn(self, request: DialogueRequest, state: Any, deadline_s: float) -> DialogueResponse:
        """One turn within `deadline_s` seconds; the dialogue's state is sent only where Rasa's own copy is another. Raises `DialogueFailed`."""
        answer_by = time.time() + deadline_s
        answer = self._post(request, answer_by)
        if answer.status_code == httpx.codes.CONFLICT:
            answer = self._post(request.model_copy(update={"state": state or {}}), answer_by)
        if answer.status_code != httpx.codes.OK:
            reason = _reason(answer)
            raise DialogueFailed(reason, reached=not reason.endswith(_AWAY))
        try:
            response = DialogueResponse.model_validate_json(answer.content)
        except ValidationError as error:
            raise DialogueFailed("Rasa's answer was not in its contract") from error
        if not response.replies:
            raise DialogueFailed("Rasa answered nothing")
        return response

    def _post(self, request: DialogueRequest, answer_by: float) -> httpx.Response:
        left_s = answer_by - time.time()
        if left_s <= 0:
            raise DialogueFailed("Rasa did not answer in time")
        try:
            return self._client.post(
                "/webhooks/aftercare/turn",
                content=request.model_copy(update={"answer_by": answer_by}).model_dump_json(),
                headers={"Content-Type": "application/json"},
                timeout=httpx.Timeout(left_s, connect=min(1.0, left_s)),
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise DialogueFailed("Rasa could not be reached", reached=False) from error
        except httpx.TimeoutException as error:
            raise DialogueFailed("Rasa did not answer in time") from error
        except httpx.HTTPError as error:
            raise DialogueFailed("Rasa broke off its answer") from error


def _reason(answer: httpx.Response) -> str:
    try:
        code = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        code = None
    return str(code)[:80] if code else f"Rasa answered {answer.status_code}"
