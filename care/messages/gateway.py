"""The port to Twilio: what it is asked, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class SmsRefused(Exception):
    """Twilio said no: `code` is its error code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Twilio refused the message with code {code}")
        self.code = code


class SmsUnanswered(Exception):
    """It is not known whether Twilio took the message."""


@dataclass(frozen=True)
class SentSms:
    """A message in Twilio's list."""

    external_id: str
    body: str


class SmsGateway(Protocol):
    """The port to Twilio, for several threads at once. `numbers` are ours."""

    numbers: list[str]

    def send(self, to: str, body: str, reference: str, sender: str) -> str:
        """Hands one message over, from our number `sender`; its sid. Raises `SmsRefused`, `SmsUnanswered`."""
        ...

    def listed(self, to: str) -> list[SentSms]:
        """The newest of what Twilio holds to this number. Raises `SmsUnanswered`."""
        ...
