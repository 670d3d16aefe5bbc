"""Doing together what arrives together: requests that come while a group is worked on form the next group."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Item = TypeVar("Item")
Result = TypeVar("Result")


class Together(Generic[Item, Result]):
    """Groups of at most `most` items, one group at a time, worked on in a thread. `work` gives each item's result, in order.

    One item alone is not kept waiting for others. Belongs to one event loop.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], most: int) -> None:
        self._work, self._most = work, most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._working: asyncio.Task[None] | None = None

    async def add(self, item: Item) -> Result:
        """The item's result, once its group is done. Raises what the group's work raised."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, result))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work_on_all())
        return await result

    async def _work_on_all(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                results = await run_in_threadpool(self._work, [item for item, _ in group])
            except Exception as error:
                for _, waiting in group:
                    if not waiting.done():
                        waiting.set_exception(error)
                continue
            for (_, waiting), result in zip(group, results, strict=True):
                if not waiting.done():  # else its request was given up
                    waiting.set_result(result)
