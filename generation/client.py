"""The client of vLLM: the only way by which a request reaches the triage model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import httpx
from pydantic import BaseModel, Field, ValidationError

from care.triage.model import DraftUnavailable, PatientContext, TriageDraft, TriageRequest
from generation import REFERENCE_MODEL
from generation.prompt import END, PROMPT_VERSION, ChatMessage, DraftMalformed, chat_messages, completion_prompt, kept_to, read_draft
from generation.schema import ResponseFormat

MAX_TOKENS = 240
"""Longest answer: more than the schema's fields need, so a cut answer is a fault."""
_FAILURES_TO_OPEN = 5
_OPEN_S = 15.0
_LEAST_S = 0.05
_PROBE = TriageRequest(report="I slept well and feel fine.", context=PatientContext())


@dataclass(frozen=True)
class Timeouts:
    """Limits in seconds: to connect, and the longest that any one answer may take whatever the deadline allows."""

    connect_s: float = 1.0
    answer_s: float = 8.0


class CompletionRequest(BaseModel):
    """What is posted to vLLM; `prompt` for a completion, `messages` for a chat."""

    model: str
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    max_tokens: int = MAX_TOKENS
    temperature: float = 0.0
    seed: int = 0
    stop: list[str] = Field(default_factory=lambda: [END])
    response_format: ResponseFormat = ResponseFormat()


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    finish_reason: str | None
    text: str | None = None
    message: _Message | None = None


class _Completion(BaseModel):
    model: str
    choices: list[_Choice] = Field(min_length=1)


@dataclass
class Breaker:
    """Opens for `open_s` seconds after `failures_to_open` failures in a row; then lets one caller try."""

    failures_to_open: int = _FAILURES_TO_OPEN
    open_s: float = _OPEN_S
    clock: Callable[[], float] = time.monotonic
    _failures: int = 0
    _closed_again_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def allows(self) -> bool:
        """Whether a request may be made now."""
        with self._lock:
            if self._failures < self.failures_to_open:
                return True
            if self.clock() < self._closed_again_at:
                return False
            self._closed_again_at = self.clock() + self.open_s
            return True

    def succeeded(self) -> None:
        """A request was answered."""
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        """A request was not answered, or not usably."""
        with self._lock:
            self._failures += 1
            if self._failures >= self.failures_to_open:
                self._closed_again_at = self.clock() + self.open_s


class VllmDrafter:
    """Implements `care.triage.model.Drafter` over vLLM's OpenAI-compatible interface; safe to share between threads.

    The reference model is asked by completion, any other by chat unless `style` says otherwise.
    """

    def __init__(
        self,
        base_url: str,
        model: str = REFERENCE_MODEL,
        api_key: str = "",
        timeouts: Timeouts | None = None,
        *,
        style: Literal["completion", "chat"] | None = None,
        breaker: Breaker | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.model = model
        self.version = model
        self.prompt_version = PROMPT_VERSION
        self._timeouts = timeouts or Timeouts()
        self._chat = (style or ("completion" if model.partition("@")[0] == REFERENCE_MODEL else "chat")) == "chat"
        self._breaker = breaker or Breaker()
        self._http = httpx.Client(
            base_url=base_url.rstrip("/").removesuffix("/v1"),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=30),
            transport=transport,
        )

    def draft(self, request: TriageRequest, deadline_s: float) -> TriageDraft:
        """The model's draft within `deadline_s` seconds; what was not offered is dropped. Raises `DraftUnavailable`."""
        if deadline_s < _LEAST_S:
            raise DraftUnavailable("no time left")
        if not self._breaker.allows():
            raise DraftUnavailable("it failed several times in a row and is being left alone for some seconds")
        try:
            draft = self._ask(request, deadline_s)
        except DraftUnavailable:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return kept_to(draft, request)

    def ready(self, deadline_s: float = 5.0) -> bool:
        """Whether the model answers a tiny report in its schema: the health page is no proof of that. Compiles the schema on first use."""
        try:
            self._ask(_PROBE, deadline_s)
        except DraftUnavailable:
            return False
        self._breaker.succeeded()
        return True

    def close(self) -> None:
        """Closes the pooled connections."""
        self._http.close()

    def _ask(self, request: TriageRequest, deadline_s: float) -> TriageDraft:
        ends = time.monotonic() + min(deadline_s, self._timeouts.answer_s)
        asked = CompletionRequest(model=self.model)
        if self._chat:
            asked.messages = chat_messages(request)
        else:
            asked.prompt = completion_prompt(request)
        body = asked.model_dump_json(exclude_none=True, by_alias=True).encode()
        path = "/v1/chat/completions" if self._chat else "/v1/completions"
        answered = self._post(path, body, ends)
        choice = answered.choices[0]
        if choice.finish_reason != "stop":
            raise DraftUnavailable(f"the answer did not end by itself ({choice.finish_reason})")
        text = choice.text if choice.message is None else choice.message.content
        try:
            draft = read_draft(text or "")
        except DraftMalformed as error:
            raise DraftUnavailable(f"the answer is not in the schema ({error})") from None
        self.version = answered.model
        return draft

    def _post(self, path: str, body: bytes, ends: float) -> _Completion:
        """Posts, reading no longer than `ends`: httpx's own limits are for each read, and a trickle would outlast them."""
        left = max(_LEAST_S, ends - time.monotonic())
        limits = httpx.Timeout(left, connect=min(left, self._timeouts.connect_s), pool=min(left, self._timeouts.connect_s))
        received = bytearray()
        try:
            with self._http.stream("POST", path, content=body, headers={"Content-Type": "application/json"}, timeout=limits) as response:
                for block in response.iter_bytes():
                    received += block
                    if time.monotonic() > ends:
                        raise DraftUnavailable("no answer in time")
                    if len(received) > 1 << 20:
                        raise DraftUnavailable("the answer is too long")
        except httpx.TimeoutException:
            raise DraftUnavailable("no answer in time") from None
        except httpx.HTTPError as error:
            raise DraftUnavailable(f"not reached ({type(error).__name__})") from None
        if response.status_code != httpx.codes.OK:
            raise DraftUnavailable(f"HTTP {response.status_code}")
        try:
            return _Completion.model_validate_json(bytes(received))
        except ValidationError:
            raise DraftUnavailable("not an OpenAI-style answer") from None
