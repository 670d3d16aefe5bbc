"""Who may ask the model now: a breaker that leaves a failing server alone, and a gate that lets the more serious in first and turns others away."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from care.acuity import Acuity


@dataclass
class Breaker:
    """Opens for `open_s` seconds after `failures_to_open` failures in a row; then lets one caller try."""

    failures_to_open: int = 5
    open_s: float = 15.0
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
        """A request was answered, usably or not."""
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        """A request was not answered, though it had the time."""
        with self._lock:
            self._failures += 1
            if self._failures >= self.failures_to_open:
                self._closed_again_at = self.clock() + self.open_s


class Shed(Exception):
    """The request was turned away: more serious ones, or too many, wait."""


class Gate:
    """At most `places` requests at a time, `kept` of them for urgent and emergency ones; waiters go by acuity, then by arrival.

    Where more than `most_waiting` wait, the least serious is turned away (of equal ones, the newest): it is answered without the model.
    For use on one event loop.
    """

    def __init__(self, places: int = 32, kept: int = 4, most_waiting: int = 64) -> None:
        self._free, self._kept, self._most = places, min(kept, places - 1), most_waiting
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    @asynccontextmanager
    async def place(self, acuity: Acuity) -> AsyncIterator[None]:
        """Holds a place. Raises `Shed`."""
        await self._enter(acuity.rank)
        try:
            yield
        finally:
            self._free += 1
            self._let_in()

    async def _enter(self, rank: int) -> None:
        if self._free > self._least_free(rank) and not any(not turn.done() and -waiting >= rank for waiting, _, turn in self._waiting):
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-rank, next(self._arrivals), turn))
        self._turn_away()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._free += 1
                self._let_in()
            raise

    def _least_free(self, rank: int) -> int:
        """How many places must stay free after a request of this rank."""
        return 0 if rank >= Acuity.URGENT.rank else self._kept

    def _turn_away(self) -> None:
        self._waiting = [each for each in self._waiting if not each[2].done()]
        heapq.heapify(self._waiting)
        while len(self._waiting) > self._most:
            last = max(self._waiting)
            self._waiting.remove(last)
            heapq.heapify(self._waiting)
            last[2].set_exception(Shed())

    def _let_in(self) -> None:
        while self._waiting and (self._waiting[0][2].done() or self._free > self._least_free(-self._waiting[0][0])):
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self._free -= 1
                turn.set_result(None)
