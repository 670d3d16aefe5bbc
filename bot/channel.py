"""The way into Rasa: one turn a request, idempotent, versioned, and with no way to pass a failure off as an answer.

Failures that Rasa swallows (a handler that crashed, an action server that broke off, an empty intent) become a 502 that names the cause, and the
conversation is put back to where it was. Where an engine cannot be reached no turn is begun: a 503 says which is away, and the message is not the cause.
"""

import asyncio
import hmac
import logging
import os
from typing import Any, Awaitable, Callable, Dict, List, Optional, Text, Tuple
from urllib.parse import urlsplit

import redis
from rasa.core.channels.channel import CollectingOutputChannel, InputChannel, UserMessage
from sanic import Blueprint, response
from sanic.request import Request
from sanic.response import HTTPResponse

from bot.answer_schema import check_schema_once

logger = logging.getLogger(__name__)
# Rasa logs a failed action with the request's body, which holds the patient's words: this channel names the failure instead.
for _name in ("rasa.core.processor", "rasa.core.actions.action", "rasa.core.http_interpreter"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
_REACHED_WITHIN_S = 3.0
_TRIGGERS = {"ask_consent", "start_check_in", "remind", "resume"}


class AftercareInput(InputChannel):
    """`POST /webhooks/aftercare/turn`: a DialogueRequest in, a DialogueResponse out."""

    def __init__(self, token: str) -> None:
        self._token = token

    @classmethod
    def name(cls) -> Text:
        """The channel's place under /webhooks."""
        return "aftercare"

    @classmethod
    def from_credentials(cls, credentials: Optional[Dict[Text, Any]]) -> "AftercareInput":
        """Reads the token from the environment; without one the server does not start."""
        check_schema_once()
        return cls(os.environ["AFTERCARE_RASA_TOKEN"])

    def blueprint(self, on_new_message: Callable[[UserMessage], Awaitable[Any]]) -> Blueprint:
        """The routes."""
        routes = Blueprint("aftercare_channel", "aftercare_channel")

        @routes.route("/", methods=["GET"])
        async def health(request: Request) -> HTTPResponse:
            agent = request.app.ctx.agent
            return response.json({"status": "ok"}, status=200 if agent and agent.is_ready() else 503)

        @routes.route("/turn", methods=["POST"])
        async def turn(request: Request) -> HTTPResponse:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                return response.json({"error": "unauthorised"}, status=401)
            body = request.json
            problem = _malformed(body)
            if problem:
                return response.json({"error": problem}, status=400)
            status, answer = await self._turn(request.app.ctx.agent, body)
            return response.json(answer, status=status)

        return routes

    async def _turn(self, agent: Any, body: Dict[str, Any]) -> Tuple[int, Dict[str, Any]]:
        store, sender = _bare_store(agent), body["sender"]
        try:
            record = store.record(sender)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            return 503, {"error": "redis_away"}
        if record and record.get("message_id") == body["message_id"] and record["version"] == body["state_version"] + 1:
            return 200, record["response"]
        needed = {"actions": agent.processor.action_endpoint}
        if not body.get("trigger"):
            needed["nlu"] = agent.processor.http_interpreter.endpoint_config
        for name, endpoint in needed.items():
            if not await _listens(endpoint.url):
                return 503, {"error": f"{name}_away"}
        if body.get("state") is not None:
            record = {"version": body["state_version"], "state": body["state"]}
            store.put(sender, record)
        elif (record["version"] if record else 0) != body["state_version"]:
            return 409, {"error": "state_needed"}
        elif record is None:
            store.put(sender, None)
        try:
            messages = await self._handle(agent, body)
            failure = "" if any("reply" in message for message in messages) else "empty_answer"
        except _Failed as failed:
            messages, failure = [], str(failed)
        except Exception as error:  # whatever broke, the turn is not lost: the caller tries again
            logger.error("turn failed: %s", type(error).__name__)
            messages, failure = [], "dialogue_crashed"
        if failure:
            store.put(sender, record)
            return 502, {"error": failure}
        moved = store.record(sender)
        answer = {
            "replies": [message["reply"] for message in messages if "reply" in message],
            "effects": [message["effect"] for message in messages if "effect" in message],
            "state": moved["state"],
            "state_version": body["state_version"] + 1,
        }
        store.put(sender, {"version": answer["state_version"], "state": moved["state"], "message_id": body["message_id"], "response": answer})
        return 200, answer

    async def _handle(self, agent: Any, body: Dict[str, Any]) -> List[Dict[str, Any]]:
        """What the actions said, in order. Raises `_Failed` where the nlu service gave no intent."""
        output = CollectingOutputChannel()
        message = UserMessage(
            body["text"] or body["trigger"],
            output,
            body["sender"],
            input_channel=self.name(),
            message_id=body["message_id"],
            metadata={"context": body["context"], "message_id": body["message_id"], "answer_by": body.get("answer_by")},
        )
        if body.get("trigger"):
            intent = {"name": f"EXTERNAL_{body['trigger']}", "confidence": 1.0}
            message.parse_data = {"text": "", "intent": intent, "entities": []}
        else:
            # Parsed here, so that a text that begins with a slash stays a text, and so that no intent is a failure.
            message.parse_data = await agent.processor.http_interpreter.parse(message)
            if not (message.parse_data.get("intent") or {}).get("name") or "understanding" not in message.parse_data:
                raise _Failed("nlu_failed")
        await agent.handle_message(message)
        return [message["custom"] for message in output.messages if "custom" in message]


def _bare_store(agent: Any) -> Any:
    """Our tracker store without Rasa's fail-safe wrapper, which answers a read error with an empty conversation."""
    bare = getattr(agent.tracker_store, "_tracker_store", None)
    if bare is not None:
        agent.tracker_store = agent.processor.tracker_store = bare
    return agent.tracker_store


async def _listens(url: str) -> bool:
    """Whether anybody takes a connection at the address."""
    address = urlsplit(url)
    opening = asyncio.open_connection(address.hostname, address.port or (443 if address.scheme == "https" else 80))
    try:
        _, writer = await asyncio.wait_for(opening, _REACHED_WITHIN_S)
    except (OSError, asyncio.TimeoutError):
        return False
    writer.close()
    return True


class _Failed(Exception):
    """A turn that has no answer; the text is the reason code."""


def _malformed(body: Any) -> str:
    if not isinstance(body, dict):
        return "body: must be a JSON object"
    for field, kind in (("message_id", str), ("sender", str), ("context", dict), ("state_version", int)):
        if not isinstance(body.get(field), kind):
            return f"{field}: missing or not a {kind.__name__}"
    if not isinstance(body.get("text", ""), str) or not (body.get("text") or body.get("trigger") in _TRIGGERS):
        return "text: must be words, or trigger one of " + ", ".join(sorted(_TRIGGERS))
    return ""
