"""The client of vLLM: the only way by which a request reaches the triage model.

One event loop in a thread of its own serves all callers of a process over pooled connections. A call has a deadline that covers all of it: the
wait for a place, the tries and the answer. Failures become `DraftUnavailable` with a reason that says what to do.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import re
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import Any, Literal, TypeVar

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from care.acuity import Acuity
from care.triage.model import DraftUnavailable, PatientContext, TriageDraft, TriageRequest
from generation import REFERENCE_MODEL, decides
from generation.metrics import FAILURES, SECONDS, TOKENS
from generation.prompt import (
    CONTEXT_TOKENS,
    END,
    MAX_ANSWER_TOKENS,
    PROMPT_VERSION,
    ChatMessage,
    DraftMalformed,
    chat_messages,
    completion_prompt,
    folded,
    kept_to,
    read_draft,
    refuses_system,
)
from generation.schema import DRAFT_FORMAT, ResponseFormat
from generation.shedding import Breaker, Gate, Shed

LEAST_VLLM, BEYOND_VLLM = (0, 30), (1, 0)
"""vLLM from 0.30 on (before it, one malformed structured output could end the engine) and below 1.0."""
_LEAST_S = 0.05
_RETRY_NEEDS_S = 1.0
_FAIR_S = 1.0
"""A server that had less time than this to answer is not to blame."""
_RETRY_AFTER_S = (0.05, 0.25)
_MAX_ANSWER_BYTES = 1 << 20
_PROBE = TriageRequest(report="I slept well and feel fine.", context=PatientContext())
_Result = TypeVar("_Result")
_Answer = TypeVar("_Answer", bound=BaseModel)


@dataclass(frozen=True)
class Timeouts:
    """Limits in seconds: to connect, and the longest that any one answer may take whatever the deadline allows."""

    connect_s: float = 1.0
    answer_s: float = 8.0


class CompletionRequest(BaseModel):
    """What is posted to vLLM; `prompt` for a completion, `messages` for a chat. Of those that wait there, the lowest `priority` goes first."""

    model: str
    prompt: str | None = None
    messages: list[ChatMessage] | None = None
    max_tokens: int = MAX_ANSWER_TOKENS
    temperature: float = 0.0
    seed: int = 0
    priority: int = 0
    stop: list[str] = Field(default_factory=lambda: [END])
    response_format: ResponseFormat = Field(default_factory=lambda: DRAFT_FORMAT)  # a plain default would be copied for each request


class ServedInvalid(Exception):
    """What is served is not what the service is configured for; the message says what to do."""


class _Message(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    finish_reason: str | None
    text: str | None = None
    message: _Message | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Completion(BaseModel):
    model: str
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage = _Usage()


class _Card(BaseModel):
    id: str


class _Cards(BaseModel):
    data: list[_Card]


class _Version(BaseModel):
    version: str


class _PassingFailure(DraftUnavailable):
    """A failure that may be gone at a second try."""


class _ServerFailure(_PassingFailure):
    """The server is not reached, or fails."""


class _SystemRefused(DraftUnavailable):
    """The model's chat template has no system role."""


class _NoAnswer(_PassingFailure):
    """No answer in the time that was left."""


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
        gate: Gate | None = None,
    ) -> None:
        self.model = model
        self.version = model
        self.prompt_version = PROMPT_VERSION
        self.decides = decides(model)
        self._timeouts = timeouts or Timeouts()
        self._chat = (style or ("completion" if model.partition("@")[0] == REFERENCE_MODEL else "chat")) == "chat"
        self._folds = False
        self._breaker = breaker or Breaker()
        self._gate = gate or Gate()
        self._url = base_url.rstrip("/").removesuffix("/v1")
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="vllm-client", daemon=True).start()

    def draft(self, request: TriageRequest, deadline_s: float, suspected: Acuity = Acuity.SELF_CARE) -> TriageDraft:
        """The model's draft within `deadline_s` seconds, `suspected` emergencies first; what was not offered is dropped. Raises `DraftUnavailable`."""
        return self._run(self.draft_async(request, deadline_s, suspected), deadline_s)

    async def draft_async(self, request: TriageRequest, deadline_s: float, suspected: Acuity = Acuity.SELF_CARE) -> TriageDraft:
        """`draft` for callers on an event loop of their own; one client serves one loop."""
        began = time.monotonic()
        try:
            if deadline_s < _LEAST_S:
                raise DraftUnavailable("no time left")
            if not self._breaker.allows():
                raise DraftUnavailable("it failed several times in a row and is being left alone for some seconds")
            async with asyncio.timeout(deadline_s), self._gate.place(suspected):
                draft = await self._counted(request, began + min(deadline_s, self._timeouts.answer_s + self._timeouts.connect_s), suspected)
        except (DraftUnavailable, TimeoutError, Shed) as error:
            reason = {TimeoutError: "no answer in time", Shed: "too many reports wait for it"}.get(type(error), getattr(error, "reason", ""))
            FAILURES.labels(reason=_label(reason)).inc()
            raise DraftUnavailable(reason) from None
        finally:
            SECONDS.observe(time.monotonic() - began)
        return kept_to(draft, request)

    def asked(self, request: TriageRequest, suspected: Acuity = Acuity.SELF_CARE) -> tuple[str, bytes]:
        """The path and the body by which vLLM is asked about a request."""
        asked = CompletionRequest(model=self.model, priority=-suspected.rank)
        if self._chat:
            asked.messages = folded(chat_messages(request)) if self._folds else chat_messages(request)
        else:
            asked.prompt = completion_prompt(request)
            asked.max_tokens = min(MAX_ANSWER_TOKENS, CONTEXT_TOKENS - len(asked.prompt.encode()))
        path = "/v1/chat/completions" if self._chat else "/v1/completions"
        return path, asked.model_dump_json(exclude_none=True, by_alias=True).encode()

    def ready(self, deadline_s: float = 5.0) -> bool:
        """Whether the model answers a tiny report in its schema: the health page is no proof of that. Compiles the schema on first use."""
        try:
            self._run(self._within(self._ask(_PROBE, time.monotonic() + deadline_s), deadline_s), deadline_s)
        except DraftUnavailable:
            return False
        self._breaker.succeeded()
        return True

    def check_served(self, deadline_s: float = 5.0) -> None:
        """Asks vLLM for its version and its models. Raises `ServedInvalid`, or `DraftUnavailable` where it does not answer."""
        ends = time.monotonic() + deadline_s
        version = self._run(self._within(self._get("/version", _Version, ends), deadline_s), deadline_s).version
        numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
        if not LEAST_VLLM <= numbers < BEYOND_VLLM:
            raise ServedInvalid(
                f"vLLM {version} is served at {self._url}, tried are {LEAST_VLLM[0]}.{LEAST_VLLM[1]} and later below {BEYOND_VLLM[0]}.0; "
                "install the version in deploy/requirements/vllm.txt with `make envs`"
            )
        served = [card.id for card in self._run(self._within(self._get("/v1/models", _Cards, ends), deadline_s), deadline_s).data]
        if not any(name == self.model or name.partition("@")[0] == self.model for name in served):
            raise ServedInvalid(
                f"the model {self.model} is configured and {', '.join(served) or 'none'} is served at {self._url}; "
                "set AFTERCARE_VLLM_MODEL to a served name, or start vLLM with that model"
            )

    def close(self) -> None:
        """Closes the pooled connections and ends the client's thread."""
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _leave(self) -> None:
        await self._http.close()

    @cached_property
    def _http(self) -> aiohttp.ClientSession:
        """Made by the first call, on the loop that it serves."""
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=64, keepalive_timeout=30), headers=self._headers)

    def _run(self, work: Coroutine[Any, Any, _Result], deadline_s: float) -> _Result:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(max(0.0, deadline_s) + 1.0)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise DraftUnavailable("no answer in time") from None

    async def _within(self, work: Coroutine[Any, Any, _Result], deadline_s: float) -> _Result:
        try:
            async with asyncio.timeout(deadline_s):
                return await work
        except TimeoutError:
            raise DraftUnavailable("no answer in time") from None

    async def _counted(self, request: TriageRequest, ends: float, suspected: Acuity) -> TriageDraft:
        """Asks, once more after a passing failure where time is left; the breaker learns whether the server serves, whatever the answer holds."""
        began = time.monotonic()
        try:
            try:
                draft = await self._ask(request, ends, suspected)
            except _PassingFailure:
                wait_s = random.uniform(*_RETRY_AFTER_S)  # noqa: S311 - jitter
                if ends - time.monotonic() < _RETRY_NEEDS_S + wait_s:
                    raise
                await asyncio.sleep(wait_s)
                draft = await self._ask(request, ends, suspected)
        except _ServerFailure:
            self._breaker.failed()
            raise
        except (_NoAnswer, asyncio.CancelledError):
            if time.monotonic() - began >= _FAIR_S:
                self._breaker.failed()
            raise
        except DraftUnavailable:
            self._breaker.succeeded()
            raise
        self._breaker.succeeded()
        return draft

    async def _ask(self, request: TriageRequest, ends: float, suspected: Acuity = Acuity.SELF_CARE) -> TriageDraft:
        try:
            response = await self._answered("POST", ends, *self.asked(request, suspected))
        except _SystemRefused:
            if self._folds:
                raise
            self._folds = True
            return await self._ask(request, ends, suspected)
        answered = _read(_Completion, response)
        TOKENS.labels(kind="prompt").inc(answered.usage.prompt_tokens)
        TOKENS.labels(kind="answer").inc(answered.usage.completion_tokens or 0)
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

    async def _get(self, path: str, kind: type[_Answer], ends: float) -> _Answer:
        return _read(kind, await self._answered("GET", ends, path))

    async def _answered(self, method: str, ends: float, path: str, body: bytes | None = None) -> bytes:
        left = max(_LEAST_S, ends - time.monotonic())
        limits = aiohttp.ClientTimeout(total=left, sock_connect=min(left, self._timeouts.connect_s))
        received = bytearray()
        try:
            async with self._http.request(method, self._url + path, data=body, timeout=limits, allow_redirects=False) as response:
                async for block in response.content.iter_any():
                    received += block
                    if len(received) > _MAX_ANSWER_BYTES:
                        raise DraftUnavailable("the answer is too long")
        except TimeoutError:
            raise _NoAnswer("no answer in time") from None
        except aiohttp.ClientError as error:
            raise _ServerFailure(f"not reached ({type(error).__name__})") from None
        if response.status != HTTPStatus.OK:
            raise self._refused(response.status, bytes(received))
        return bytes(received)

    def _refused(self, status: int, body: bytes) -> DraftUnavailable:
        said = body[:2000].decode("utf-8", "replace").casefold()
        if status == HTTPStatus.BAD_REQUEST and ("context length" in said or "max_model_len" in said or "maximum model length" in said):
            return DraftUnavailable("the prompt is longer than the model's context: raise max_model_len in generation/serve.yaml to 2560 or more (HTTP 400)")
        if status == HTTPStatus.BAD_REQUEST and self._chat and refuses_system(said):
            return _SystemRefused("the model's chat template refuses the prompt: serve one with a user role at least (HTTP 400)")
        if status == HTTPStatus.NOT_FOUND:
            return DraftUnavailable(f"the model {self.model} is not served there: set AFTERCARE_VLLM_MODEL to a served name (HTTP 404)")
        if status == HTTPStatus.UNAUTHORIZED:
            return DraftUnavailable("the key is refused: start vLLM with this installation's key (HTTP 401)")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _ServerFailure(f"HTTP {status}")
        return (_PassingFailure if status == HTTPStatus.TOO_MANY_REQUESTS else DraftUnavailable)(f"HTTP {status}")


def _read(kind: type[_Answer], body: bytes) -> _Answer:
    try:
        return kind.model_validate_json(body)
    except ValidationError:
        raise DraftUnavailable("not an OpenAI-style answer: AFTERCARE_VLLM_URL must be vLLM's address") from None


def _label(reason: str) -> str:
    """A reason as one of few metric labels."""
    known = ("in time", "not reached", "too many", "left alone", "schema", "end by itself", "context", "not served", "key", "HTTP")
    return next((name.replace(" ", "_").lower() for name in known if name in reason), "other")
