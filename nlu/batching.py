"""Concurrent requests understood together: what waits while a forward runs goes into the next one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from care.understanding import IntentScore, Understanding
from nlu.model import Encoder
from nlu.tokens import Tokenised, tokenise

MAX_BATCH = 16
MAX_PADDED = 2_048
"""Tokens of a batch, padding counted: long texts go in smaller batches, so that no short one waits for sixteen of them."""
_AT_ONCE = 48
"""Tokens of a lone text that is read without a change of threads, which would take longer than others that come meanwhile can wait: milliseconds."""
MAX_WAITING = 512
"""About ten seconds of work on two cores; more would time out at the caller anyway."""


class Overloaded(Exception):
    """Too many texts wait already."""


@dataclass(frozen=True)
class Answered:
    """A text's understanding, and every intent with its probability, most probable first."""

    understanding: Understanding
    ranking: list[IntentScore]


@dataclass(frozen=True, eq=False)
class _Waiting:
    text: str
    tokens: Tokenised
    answer: asyncio.Future[Answered]


class Batcher:
    """Feeds the encoder from one thread, up to `MAX_BATCH` texts at a time; a text that comes alone starts at once.

    The text that has waited longest is always next, and with it those whose length is nearest to its: padding is work for nothing.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._waiting: list[_Waiting] = []
        self._bell = asyncio.Event()

    async def understand(self, text: str) -> Answered:
        """What `text` means. Raises `Overloaded`, or what the encoder raised."""
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(text, tokenise(text), answer))
        self._bell.set()
        return await answer

    async def run(self) -> None:
        """Works until cancelled. A failing forward fails its own texts only."""
        # always the same thread: each new one would get a pool of torch threads of its own
        with ThreadPoolExecutor(1, thread_name_prefix="forward") as thread:
            while True:
                await self._bell.wait()
                if batch := self._next():
                    await self._forward(thread, batch)
                else:
                    self._bell.clear()

    def _next(self) -> list[_Waiting]:
        """The texts of the next forward, without those whose callers have gone."""
        self._waiting = [waiting for waiting in self._waiting if not waiting.answer.done()]
        if not self._waiting:
            return []
        oldest = len(self._waiting[0].tokens.ids)
        nearest = sorted(self._waiting, key=lambda waiting: abs(len(waiting.tokens.ids) - oldest))
        batch: list[_Waiting] = []
        longest = 0
        for waiting in nearest[:MAX_BATCH]:
            longest = max(longest, len(waiting.tokens.ids))
            if batch and longest * (len(batch) + 1) > MAX_PADDED:
                break
            batch.append(waiting)
        chosen = set(batch)
        self._waiting = [waiting for waiting in self._waiting if waiting not in chosen]
        return batch

    async def _forward(self, thread: ThreadPoolExecutor, batch: list[_Waiting]) -> None:
        texts, tokens = [waiting.text for waiting in batch], [waiting.tokens for waiting in batch]
        try:
            if len(batch) == 1 and len(tokens[0].ids) <= _AT_ONCE:
                answers = self._encoder.read_ranked(texts, tokens)
            else:
                answers = await asyncio.get_running_loop().run_in_executor(thread, self._encoder.read_ranked, texts, tokens)
        except Exception as error:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, (understanding, ranking) in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(Answered(understanding, ranking))
