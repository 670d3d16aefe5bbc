"""Concurrent requests understood together: what waits while a forward runs goes into the next one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from care.understanding import IntentScore, Understanding
from nlu.model import Encoder
from nlu.tokens import Tokenised, tokenise

MAX_BATCH = 16
MAX_WAITING = 512
"""About ten seconds of work on two cores; more would time out at the caller anyway."""


class Overloaded(Exception):
    """Too many texts wait already."""


@dataclass(frozen=True)
class Answered:
    """A text's understanding, and every intent with its probability, most probable first."""

    understanding: Understanding
    ranking: list[IntentScore]


@dataclass(frozen=True)
class _Waiting:
    text: str
    tokens: Tokenised
    answer: asyncio.Future[Answered]


class Batcher:
    """Feeds the encoder from one task, up to `MAX_BATCH` texts at a time; a text that comes alone starts at once."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(MAX_WAITING)

    async def understand(self, text: str) -> Answered:
        """What `text` means. Raises `Overloaded`, or what the encoder raised."""
        answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait(_Waiting(text, tokenise(text), answer))
        except asyncio.QueueFull:
            raise Overloaded from None
        return await answer

    async def run(self) -> None:
        """Works until cancelled. A failing forward fails its own texts only."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            wanted = [waiting for waiting in batch if not waiting.answer.done()]
            if wanted:
                await self._forward(wanted)

    async def _forward(self, batch: list[_Waiting]) -> None:
        texts, tokens = [waiting.text for waiting in batch], [waiting.tokens for waiting in batch]
        try:
            answers = await asyncio.to_thread(self._encoder.read_ranked, texts, tokens)
        except Exception as error:
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, (understanding, ranking) in zip(batch, answers, strict=True):
            if not waiting.answer.done():
                waiting.answer.set_result(Answered(understanding, ranking))
