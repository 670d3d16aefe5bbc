"""How soon a person must act on what a patient said."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Acuity(StrEnum):
    """Four levels; compare them with `rank` or `highest`, never as strings."""

    SELF_CARE = "self_care"
    ROUTINE = "routine"
    URGENT = "urgent"
    EMERGENCY = "emergency"

    @property
    def rank(self) -> int:
        """0 for `self_care` up to 3 for `emergency`."""
        return _ORDER.index(self)


_ORDER = (Acuity.SELF_CARE, Acuity.ROUTINE, Acuity.URGENT, Acuity.EMERGENCY)


def highest(acuities: Iterable[Acuity]) -> Acuity:
    """The most serious of the given acuities; `self_care` where there is none."""
    return max(acuities, key=lambda acuity: acuity.rank, default=Acuity.SELF_CARE)
