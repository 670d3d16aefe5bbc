"""The one way to the time of day, so that a month can pass in minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Protocol

from care.settings import settings


class Clock(Protocol):
    """Where the domain asks for the time."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        ...


@dataclass(frozen=True)
class ServiceClock:
    """The service's time: real time, or `speed` times as fast since `origin`."""

    speed: float
    origin: datetime

    def now(self) -> datetime:
        """The present moment of the service, in UTC."""
        real = datetime.now(UTC)
        return real if self.speed == 1 else self.origin + (real - self.origin) * self.speed


@dataclass
class ManualClock:
    """A clock that tests set and move by hand."""

    moment: datetime

    def now(self) -> datetime:
        """The moment that was set last."""
        return self.moment

    def advance(self, by: timedelta) -> None:
        """Moves the clock forward."""
        self.moment += by


def service_time(real: timedelta) -> timedelta:
    """How far the service's clock goes while so much real time passes."""
    return real * settings().clock_speed


def real_time(service: timedelta) -> timedelta:
    """How much real time passes while the service's clock goes so far."""
    return service / settings().clock_speed


@cache
def service_clock() -> Clock:
    """The clock of this installation. All processes share the origin of a fast clock through a file in the data folder."""
    speed = settings().clock_speed
    if speed == 1:
        return ServiceClock(1, datetime.now(UTC))
    return ServiceClock(speed, _shared_origin(settings().data_dir / "clock-origin"))


def _shared_origin(path: Path) -> datetime:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as new:
            new.write(str(time.time()))
    except FileExistsError:
        pass
    return datetime.fromtimestamp(float(path.read_text()), UTC)
