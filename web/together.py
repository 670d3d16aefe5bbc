"""Doing together what arrives together: requests that come while a group is worked on form the next group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from starlette.concurrency import run_in_threadpool

Item = TypeVar("Item")
Result = TypeVar("Result")
_LONGEST_WAIT_S, _REST_S = 2.0, 0.02


@dataclass(frozen=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    result: asyncio.Future[Result]
    since: float = field(default_factory=time.monotonic)


class Together(Generic[Item, Result]):
    """Groups of at most `most` items, one group at a time, worked on in a thread. `work` gives each item's result, in order.

    A group takes in what comes within `gather_s` seconds; where none are set, one item alone is not kept waiting for others. In a crowd, and just after one, a
    group lets the work of `after` pass, until one of its own items has waited two seconds. Belongs to one event loop.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], most: int, after: Together[Any, Any] | None = None, gather_s: float = 0.0) -> None:
        self._work, self._most, self._after, self._gather_s = work, most, after, gather_s
        self._waiting: list[_Waiting[Item, Result]] = []
        self._working: asyncio.Task[None] | None = None
        self._groups, self._crowded = 0, False

    async def add(self, item: Item) -> Result:
        """The item's result, once its group is done. Raises what the group's work raised."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, result))
        if not self._busy:
            self._working = asyncio.create_task(self._work_on_all())
        return await result

    @property
    def _busy(self) -> bool:
        return self._working is not None and not self._working.done()

    async def _let_pass(self) -> None:
        if self._after is None or not (self._after._busy or self._after._crowded):
            return
        end, resting = self._waiting[0].since + _LONGEST_WAIT_S, False
        while not resting and time.monotonic() < end:
            groups = self._after._groups
            await asyncio.sleep(_REST_S)
            resting = not self._after._busy and self._after._groups == groups

    async def _work_on_all(self) -> None:
        while self._waiting:
            if self._gather_s:
                await asyncio.sleep(self._gather_s)
            await self._let_pass()
            group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            self._groups, self._crowded = self._groups + 1, len(group) > 1
            try:
                results = await run_in_threadpool(self._work, [each.item for each in group])
            except Exception as error:
                for each in group:
                    if not each.result.done():
                        each.result.set_exception(error)
                continue
            for each, result in zip(group, results, strict=True):
                if not each.result.done():  # else its request was given up
                    each.result.set_result(result)
