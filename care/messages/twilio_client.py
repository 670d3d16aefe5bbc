"""The real Twilio client, with a time-out of its own and, for the emulator, another address."""

from __future__ import annotations

import threading
from typing import Any

from twilio.http import HttpClient
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from care.settings import Settings

_TIMEOUT_S = 10.0
_TWILIO = "https://api.twilio.com"
# The emulator's account: no secret, it opens nothing but the emulator on this machine.
DEMO_ACCOUNT_SID = "AC00000000000000000000000000000001"
DEMO_AUTH_TOKEN = "aftercare-demo-token"  # noqa: S105


class _HttpClient(HttpClient):  # type: ignore[misc]
    """Sends what is meant for Twilio's API to another base address, where one is set. Each thread has a client of its own: Twilio's keeps the last response
    on itself, so that of two threads one could take the other's message id for its own."""

    def __init__(self, base: str) -> None:
        super().__init__(None, False, _TIMEOUT_S)
        self._base = base
        self._mine = threading.local()

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:
        if not hasattr(self._mine, "client"):
            self._mine.client = TwilioHttpClient(timeout=_TIMEOUT_S)
        return self._mine.client.request(method, url.replace(_TWILIO, self._base, 1), *args, **kwargs)


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
    return Client(sid, token, http_client=_HttpClient(api_url(settings)))
