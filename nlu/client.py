"""The way to the nlu service; needs neither torch nor the model."""

from __future__ import annotations

import json
import math
import os
from typing import TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from care.understanding import Understanding, UnderstandingUnavailable

MAX_CHARACTERS = 10_000
"""The service refuses longer texts; the encoder reads far less of them anyway."""

Answer = TypeVar("Answer")
_UNDERSTANDING = TypeAdapter(Understanding)
_LIKENESS = TypeAdapter(dict[str, float])


class NluClient:
    """Understands texts through the nlu service over pooled connections. Safe to share between threads and across a fork."""

    def __init__(self, base_url: str, timeout_s: float = 5.0) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._pool: tuple[int, httpx.Client] | None = None

    def understand(self, text: str, deadline_s: float = math.inf) -> Understanding:
        """What `text` (or its first 10,000 characters) means. Raises `UnderstandingUnavailable`, which never holds the text."""
        return self._asked("/v1/understand", text, _UNDERSTANDING, deadline_s)

    def alike(self, text: str, deadline_s: float = math.inf) -> dict[str, float]:
        """How like `text` (or its first 10,000 characters) each approved statement is. Raises `UnderstandingUnavailable`, which never holds the text."""
        return self._asked("/v1/alike", text, _LIKENESS, deadline_s)

    def _asked(self, path: str, text: str, answers: TypeAdapter[Answer], deadline_s: float) -> Answer:
        left_s = min(self._timeout_s, deadline_s)
        if left_s <= 0:
            raise UnderstandingUnavailable(f"no time is left to ask the nlu service at {self._base_url}")
        body = json.dumps({"text": text[:MAX_CHARACTERS]})
        limits = httpx.Timeout(left_s, connect=min(1.0, left_s))
        try:
            answer = self._client().post(path, content=body, headers={"Content-Type": "application/json"}, timeout=limits)
        except httpx.HTTPError as error:
            raise UnderstandingUnavailable(f"the nlu service at {self._base_url} did not answer ({type(error).__name__})") from None
        if answer.status_code != httpx.codes.OK:
            raise UnderstandingUnavailable(f"the nlu service at {self._base_url} answered {answer.status_code}")
        try:
            return answers.validate_json(answer.content)
        except ValidationError as error:
            fields = ", ".join(".".join(str(part) for part in problem["loc"]) or "body" for problem in error.errors()[:3])
            raise UnderstandingUnavailable(f"the nlu service at {self._base_url} answered outside its contract: {fields}") from None

    def close(self) -> None:
        """Closes the connections; the next call opens new ones."""
        pool, self._pool = self._pool, None
        if pool is not None and pool[0] == os.getpid():
            pool[1].close()

    def _client(self) -> httpx.Client:
        pool = self._pool
        if pool is None or pool[0] != os.getpid():
            pool = (os.getpid(), httpx.Client(base_url=self._base_url))
            self._pool = pool
        return pool[1]
