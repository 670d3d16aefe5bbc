"""Twilio behind the SMS port, through its own client."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import requests
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

from care.messages.gateway import SentSms, SmsRefused, SmsUnanswered
from care.settings import Settings

_SERVER_ERROR = 500
_PAGE, _NEWEST = 500, 200


class TwilioGateway:
    """Sends and lists messages of one Twilio account."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self.numbers = settings.our_numbers
        self._service = settings.twilio_messaging_service_sid
        self._callback = f"{settings.public}/sms/status"

    def send(self, to: str, body: str, reference: str, sender: str) -> str:
        """Hands one message over, from our number `sender` or by the messaging service; its sid. Raises `SmsRefused`, `SmsUnanswered`."""
        way = {"messaging_service_sid": self._service} if self._service else {"from_": sender}
        try:
            message = self._client.messages.create(to=to, body=body, status_callback=f"{self._callback}?ref={reference}", **way)
        except TwilioRestException as error:
            if error.status >= _SERVER_ERROR:
                raise SmsUnanswered from error
            raise SmsRefused(error.code or error.status) from error
        except (requests.RequestException, TwilioException, ValueError) as error:
            raise SmsUnanswered from error
        return str(message.sid)

    def listed(self, to: str) -> list[SentSms]:
        """The newest of what Twilio holds to this number, also what it has queued, which no date of sending finds. Raises `SmsUnanswered`."""
        return [SentSms(str(m.sid), str(m.body)) for m in self._stream(to=to, limit=_NEWEST)]

    def received(self, since: datetime) -> Iterator[Any]:
        """The messages to our numbers since then, as Twilio lists them, the newest first, page by page. Raises `SmsUnanswered`."""
        return (m for number in self.numbers for m in self._stream(to=number, date_sent_after=since) if m.direction == "inbound")

    def status(self, sid: str) -> tuple[str, int | None]:
        """What became of a message, and the error's code. Raises `SmsUnanswered`."""
        try:
            message = self._client.messages(sid).fetch()
        except (TwilioException, requests.RequestException) as error:
            raise SmsUnanswered from error
        return str(message.status), message.error_code

    def _stream(self, **filters: Any) -> Iterator[Any]:
        try:
            yield from self._client.messages.stream(page_size=_PAGE, **filters)
        except (TwilioException, requests.RequestException) as error:
            raise SmsUnanswered from error
