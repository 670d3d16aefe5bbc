"""What each of Twilio's error codes means for us. Source: twilio.com/docs/api/errors/CODE."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class ErrorClass(StrEnum):
    """What is done about an error."""

    BUSY = "busy"
    FULL = "full"
    UNREACHED = "unreached"
    DEAD_NUMBER = "dead_number"
    OPTED_OUT = "opted_out"
    PROVIDER = "provider"
    FINAL = "final"


@dataclass(frozen=True)
class Handling:
    """`retries`: how long to wait before each further try, the last as often as `again` says besides; `told`: what a coordinator reads when none is left."""

    kind: ErrorClass
    retries: tuple[timedelta, ...]
    told: str
    again: int = 0

    def wait(self, attempts: int) -> timedelta | None:
        """How long after so many tries the next one is due; None where none is left."""
        if 0 < attempts <= len(self.retries):
            return self.retries[attempts - 1]
        return self.retries[-1] if self.retries and 0 < attempts <= len(self.retries) + self.again else None


_SECOND, _MINUTE, _HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
_BUSY = Handling(ErrorClass.BUSY, (2 * _SECOND, 4 * _SECOND, 8 * _SECOND, 30 * _SECOND), "Twilio had no room for it", again=240)
_FULL = Handling(ErrorClass.FULL, (_MINUTE, 5 * _MINUTE, 30 * _MINUTE), "Our number's queue at Twilio is full")
_DEAD = Handling(ErrorClass.DEAD_NUMBER, (), "The number takes no SMS: correct it or phone")
_OPTED_OUT = Handling(ErrorClass.OPTED_OUT, (), "The carrier has the patient as opted out: phone")
_PROVIDER = Handling(ErrorClass.PROVIDER, 4 * (_MINUTE,), "Twilio refuses everything from us")
_UNREACHED = Handling(ErrorClass.UNREACHED, (15 * _MINUTE, 2 * _HOUR, 24 * _HOUR), "The phone could not be reached")
_CARRIER = Handling(ErrorClass.UNREACHED, (_MINUTE,), "The carrier failed")
_UNKNOWN = Handling(ErrorClass.FINAL, (_MINUTE,), "It was refused for a reason we do not know: look the code up at Twilio")

_BY_CODE = {
    20429: _BUSY,
    429: _BUSY,
    21611: _FULL,
    30001: _FULL,
    21211: _DEAD,
    21214: _DEAD,
    21217: _DEAD,
    21614: _DEAD,
    30005: _DEAD,
    30006: _DEAD,
    21610: _OPTED_OUT,
    20003: _PROVIDER,
    20005: _PROVIDER,
    21606: _PROVIDER,
    21660: _PROVIDER,
    30002: _PROVIDER,
    30034: _PROVIDER,
    63038: _PROVIDER,
    30003: _UNREACHED,
    30008: _CARRIER,
    30004: Handling(ErrorClass.FINAL, (), "The message was blocked"),
    30007: Handling(ErrorClass.FINAL, (), "The carrier took the message for spam: have the sender's registration checked"),
    21408: Handling(ErrorClass.FINAL, (), "Messages to this country are not allowed: allow it at Twilio, or phone"),
    21612: Handling(ErrorClass.FINAL, (), "Our number cannot reach this one: phone"),
    21617: Handling(ErrorClass.FINAL, (), "The message was too long, which is a fault of ours"),
    30610: Handling(ErrorClass.BUSY, (_HOUR, 6 * _HOUR, 12 * _HOUR), "Twilio's own quiet hours hold it back"),
    30640: Handling(ErrorClass.OPTED_OUT, (), "Twilio's compliance toolkit blocks the number: phone"),
}


def handling(code: int) -> Handling:
    """What to do about an error code; with one that is not known it is tried once more."""
    return _BY_CODE.get(code, _UNKNOWN)
