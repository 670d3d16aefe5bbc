"""The real Twilio client, with a time-out of its own and, for the emulator, another address."""

from __future__ import annotations

from typing import Any

from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from care.settings import Settings

_TIMEOUT_S = 10.0
_TWILIO = "https://api.twilio.com"
# The emulator's account: no secret, it opens nothing but the emulator on this machine.
DEMO_ACCOUNT_SID = "AC00000000000000000000000000000001"
DEMO_AUTH_TOKEN = "aftercare-demo-token"  # noqa: S105


class _RedirectedHttpClient(TwilioHttpClient):  # type: ignore[misc]
    """Sends what is meant for Twilio's API to another base address."""

    def __init__(self, base: str) -> None:
        super().__init__(timeout=_TIMEOUT_S)
        self._base = base

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:
        return super().request(method, url.replace(_TWILIO, self._base, 1), *args, **kwargs)


def account_of(settings: Settings) -> tuple[str, str]:
    """The account's sid and auth token in force."""
    if settings.emulated_twilio:
        return DEMO_ACCOUNT_SID, DEMO_AUTH_TOKEN
    return settings.twilio_account_sid, settings.twilio_auth_token.get_secret_value()


def api_url(settings: Settings) -> str:
    """Where Twilio's API is reached: Twilio itself, the emulator, or the address that is set."""
    return settings.twilio_api_url or (f"http://127.0.0.1:{settings.emulator_port}" if settings.emulated_twilio else _TWILIO)


def twilio_client(settings: Settings) -> Client:
    """A client of the account in force."""
    sid, token = account_of(settings)
    return Client(sid, token, http_client=_RedirectedHttpClient(api_url(settings)))
