"""What a series of timings is told by."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import quantiles
from typing import Self

from pydantic import BaseModel


class Spread(BaseModel):
    """Median and 95th percentile, in milliseconds."""

    p50_ms: float
    p95_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """The spread of at least two timings."""
        cuts = quantiles(seconds, n=100, method="inclusive")
        return cls(p50_ms=round(cuts[49] * 1000, 2), p95_ms=round(cuts[94] * 1000, 2))
