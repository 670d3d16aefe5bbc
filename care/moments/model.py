"""What a moment is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class MomentKind(StrEnum):
    """What is told: a day, a time of day, both, how long, from when to when, or how often."""

    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    DURATION = "duration"
    DATE_RANGE = "daterange"
    TIME_RANGE = "timerange"
    DATETIME_RANGE = "datetimerange"
    REPEATED = "set"


@dataclass(frozen=True)
class Moment:
    """What stands at `text[start:end]`. Of a range, `first` is in it and `until` is not; `seconds` is a duration's length.

    Without a zone: the patient's own calendar and clock, as the reference time was given.
    """

    kind: MomentKind
    start: int
    end: int
    first: datetime | None = None
    until: datetime | None = None
    seconds: float | None = None
