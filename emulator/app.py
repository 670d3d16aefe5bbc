"""Twilio's REST API for Messages, its signed webhooks and receipts, faults on demand, and the phones."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Annotated, Any, Literal
from zlib import crc32

import aiohttp
from fastapi import Depends, FastAPI, Form, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel, Field
from twilio.request_validator import RequestValidator
from yarl import URL

from emulator.store import QUEUED, Ledger, Sms

_STATIC = Path(__file__).parent / "static"
_CSP = "default-src 'self'; frame-ancestors 'none'"
_basic = HTTPBasic(auto_error=False)
_TIMEOUT_S, _CONNECTIONS = 15.0, 100
_KEPT_ALIVE_S = 4.0
"""Shorter than servers keep a quiet connection: a webhook that meets one just closed would be lost."""
FaultKind = Literal[
    "429",
    "5xx",
    "20003",
    "21211",
    "21610",
    "21614",
    "30003",
    "30005",
    "30008",
    "63038",
    "slow",
    "accepted_no_answer",
    "list_late",
    "out_of_order",
    "repeated",
    "receipts_lost",
    "webhook_lost",
]


_REFUSALS: dict[FaultKind, tuple[int, int, str]] = {
    "20003": (401, 20003, "Authenticate"),
    "21211": (400, 21211, "Invalid 'To' Phone Number"),
    "21610": (400, 21610, "Attempt to send to unsubscribed recipient"),
    "21614": (400, 21614, "'To' number is not a valid mobile number"),
    "63038": (429, 63038, "Account exceeded its daily messages limit"),
}
_UNDELIVERED: tuple[FaultKind, ...] = ("30003", "30005", "30008")


@dataclass(frozen=True)
class Account:
    """The emulated account and where its webhooks go."""

    sid: str
    token: str
    numbers: list[str]
    inbound_url: str


class Fault(BaseModel):
    """A fault for the next `count` messages (of `to`, where given), or for a `share` of them by chance. `seconds`: how long `slow` takes, or how long a message
    that was taken is missing from the list (`list_late`)."""

    kind: FaultKind
    count: int = Field(1, ge=1, le=100_000)
    share: float = Field(1.0, gt=0, le=1)
    to: str | None = None
    seconds: float = Field(5.0, ge=0, le=600)


class PhoneMessage(BaseModel):
    """What a phone sends."""

    body: str = Field("", max_length=1600)
    media: int = Field(0, ge=0, le=10)


class _TwimlMessages(HTMLParser):
    """The <Message> texts of a TwiML answer."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "message":
            self._inside = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "message":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data


class Emulator:
    """The account's state: the ledger, the faults to play, and the jobs that post webhooks, which need `client`."""

    client: aiohttp.ClientSession

    def __init__(self, account: Account, ledger: Ledger) -> None:
        self.account = account
        self.ledger = ledger
        self.faults: deque[Fault] = deque()
        self._listed_from: dict[str, float] = {}
        self._jobs: set[asyncio.Task[None]] = set()
        self._chance = random.Random(0)  # noqa: S311 - the same faults in every run
        self._validator = RequestValidator(account.token)

    def fault(self, to: str, *kinds: FaultKind) -> Fault | None:
        """The next fault of these kinds that meets this number, used up by one."""
        for fault in self.faults:
            if fault.kind in kinds and fault.to in (None, to) and self._chance.random() < fault.share:
                fault.count -= 1
                if not fault.count:
                    self.faults.remove(fault)
                return fault
        return None

    def hide(self, sms: Sms, seconds: float) -> None:
        """Leaves a message out of the list for so long."""
        self._listed_from[sms.sid] = time.monotonic() + seconds

    def is_listed(self, sms: Sms) -> bool:
        """Whether the list shows the message yet."""
        return time.monotonic() >= self._listed_from.get(sms.sid, 0)

    def forget_faults(self) -> None:
        """Everything works again, and the list shows every message."""
        self.faults.clear()
        self._listed_from.clear()

    def later(self, job: Any) -> None:
        """Runs a webhook job beside the request."""
        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(self._jobs.discard)

    async def play_receipts(self, sms: Sms) -> None:
        """Posts the delivery receipts of an accepted message."""
        lost = self.fault(sms.recipient, *_UNDELIVERED)
        final, code = ("undelivered", int(lost.kind)) if lost else ("delivered", None)
        statuses = ["sent", final]
        silent = self.fault(sms.recipient, "receipts_lost") is not None
        if self.fault(sms.recipient, "out_of_order"):
            statuses.reverse()
        if self.fault(sms.recipient, "repeated"):
            statuses = [status for status in statuses for _ in range(2)]
        for status in statuses:
            await asyncio.sleep(0.02)
            current = self.ledger.get(sms.sid)
            if current is not None and current.status not in ("delivered", "undelivered"):
                self.ledger.set_status(sms.sid, status, code if status == "undelivered" else None)
            if sms.callback and not silent:
                fields = {"MessageSid": sms.sid, "SmsSid": sms.sid, "AccountSid": self.account.sid, "From": sms.sender, "To": sms.recipient}
                fields |= {"MessageStatus": status, "SmsStatus": status, "ApiVersion": "2010-04-01"}
                if status == "undelivered":
                    fields["ErrorCode"] = str(code)
                await self._post(sms.callback, fields)

    async def deliver_inbound(self, sms: Sms) -> None:
        """Posts a phone's message to the inbound webhook; texts in the TwiML answer go back to the phone."""
        if self.fault(sms.sender, "webhook_lost"):
            return
        fields = {
            "MessageSid": sms.sid, "SmsSid": sms.sid, "SmsMessageSid": sms.sid, "AccountSid": self.account.sid, "From": sms.sender, "To": sms.recipient,
            "Body": sms.body, "NumMedia": str(sms.media), "NumSegments": "1", "SmsStatus": "received", "ApiVersion": "2010-04-01", "FromState": "",
        }  # fmt: skip
        twiml = await self._post(self.account.inbound_url, fields)
        if twiml:
            reader = _TwimlMessages()
            reader.feed(twiml)
            for text in reader.texts:
                self.ledger.add("outbound-reply", sms.recipient, sms.sender, text, "delivered")

    async def _post(self, url: str, fields: dict[str, str]) -> str | None:
        """What a webhook answers with success, after one attempt, and one more where the connection itself failed, as Twilio does."""
        headers = {
            "X-Twilio-Signature": self._validator.compute_signature(url, fields),
            "I-Twilio-Idempotency-Token": secrets.token_hex(16),
        }
        for _ in range(2):
            try:
                async with self.client.post(URL(url, encoded=True), data=fields, headers=headers) as answer:
                    return await answer.text() if answer.ok else None
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.2)
            except (aiohttp.ClientError, TimeoutError):
                return None
        return None


def create_app(account: Account, ledger: Ledger) -> FastAPI:
    """The emulator's application."""
    emulator = Emulator(account, ledger)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEPT_ALIVE_S)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(_TIMEOUT_S)) as emulator.client:
            yield

    app = FastAPI(title="Twilio emulator", lifespan=lifespan, docs_url=None, redoc_url=None)

    def authorised(sid: str, given: Annotated[HTTPBasicCredentials | None, Depends(_basic)]) -> None:
        if given is None or sid != account.sid or given.username != account.sid or not secrets.compare_digest(given.password, account.token):
            raise _twilio_error(401, 20003, "Authenticate")

    @app.exception_handler(HTTPException)
    async def as_twilio(_request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail if isinstance(error.detail, dict) else {"code": error.status_code, "message": str(error.detail), "status": error.status_code}
        return JSONResponse(detail, status_code=error.status_code)

    base = "/2010-04-01/Accounts/{sid}/Messages"

    @app.post(base + ".json", dependencies=[Depends(authorised)], status_code=201)
    async def create(
        to: Annotated[str, Form(alias="To")],
        body: Annotated[str, Form(alias="Body")],
        sender: Annotated[str, Form(alias="From")] = "",
        service: Annotated[str, Form(alias="MessagingServiceSid")] = "",
        callback: Annotated[str | None, Form(alias="StatusCallback")] = None,
    ) -> Any:
        if service.startswith("MG"):
            sender = account.numbers[crc32(to.encode()) % len(account.numbers)]
        if sender not in account.numbers:
            raise _twilio_error(400, 21606, "The From number is not one of this account's")
        if not to.startswith("+") or not to[1:].isdigit():
            raise _twilio_error(400, 21211, "Invalid 'To' Phone Number")
        if len(body) > 1600:
            raise _twilio_error(400, 21617, "The concatenated message body exceeds the 1600 character limit")
        if slow := emulator.fault(to, "slow"):
            await asyncio.sleep(slow.seconds)
        if emulator.fault(to, "429"):
            raise _twilio_error(429, 20429, "Too Many Requests")
        if emulator.fault(to, "5xx"):
            raise _twilio_error(503, 20503, "Service unavailable")
        if refusal := emulator.fault(to, *_REFUSALS):
            raise _twilio_error(*_REFUSALS[refusal.kind])
        sms = ledger.add("outbound-api", sender, to, body, QUEUED, callback)
        if late := emulator.fault(to, "list_late"):
            emulator.hide(sms, late.seconds)
        emulator.later(emulator.play_receipts(sms))
        if emulator.fault(to, "accepted_no_answer"):
            return _DroppedConnection()
        return JSONResponse(_resource(account, sms), status_code=201)

    @app.get(base + "/{message}.json", dependencies=[Depends(authorised)])
    async def fetch(message: str) -> dict[str, Any]:
        sms = ledger.get(message)
        if sms is None:
            raise _twilio_error(404, 20404, "The requested resource was not found")
        return _resource(account, sms)

    @app.get(base + ".json", dependencies=[Depends(authorised)])
    async def listing(
        request: Request,
        to: Annotated[str, Query(alias="To")] = "",
        sender: Annotated[str, Query(alias="From")] = "",
        on: Annotated[str, Query(alias="DateSent")] = "",
        after: Annotated[str, Query(alias="DateSent>")] = "",
        before: Annotated[str, Query(alias="DateSent<")] = "",
        size: Annotated[int, Query(alias="PageSize", ge=1, le=1000)] = 50,
        page: Annotated[int, Query(alias="Page", ge=0)] = 0,
    ) -> dict[str, Any]:
        since, until = _moment(after or on), _moment(before)
        if since is not None and on:
            until = since + timedelta(days=1)
        found = [sms for sms in ledger.find(to, sender, since, until) if emulator.is_listed(sms)]
        shown = found[page * size : (page + 1) * size]
        path = f"/2010-04-01/Accounts/{account.sid}/Messages.json"
        more = f"{path}?{request.url.include_query_params(Page=page + 1, PageSize=size).query}" if len(found) > (page + 1) * size else None
        return {"messages": [_resource(account, sms) for sms in shown], "page": page, "page_size": size, "next_page_uri": more, "uri": path}

    @app.get("/faults")
    async def faults() -> list[Fault]:
        return list(emulator.faults)

    @app.post("/faults", status_code=201)
    async def add_fault(fault: Fault) -> Fault:
        emulator.faults.append(fault)
        return fault

    @app.delete("/faults", status_code=204)
    async def clear_faults() -> None:
        emulator.forget_faults()

    @app.get("/phones")
    async def phones() -> list[str]:
        return ledger.numbers(set(account.numbers))

    @app.get("/phones/{number}/messages")
    async def phone_messages(number: str) -> list[dict[str, Any]]:
        return [
            {
                "sid": sms.sid,
                "direction": "out" if sms.direction == "inbound" else "in",
                "body": sms.body,
                "status": sms.status,
                "at": sms.created.isoformat(),
            }
            for sms in ledger.of_phone(number)
        ]

    @app.post("/phones/{number}/messages", status_code=201)
    async def phone_sends(number: str, message: PhoneMessage) -> dict[str, str]:
        sms = ledger.add("inbound", number, account.numbers[0], message.body, "received", media=message.media)
        emulator.later(emulator.deliver_inbound(sms))
        return {"sid": sms.sid}

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/")
    async def page_of_phones() -> FileResponse:
        return FileResponse(_STATIC / "phones.html", headers={"Content-Security-Policy": _CSP})

    @app.get("/static/{name}")
    async def static(name: Literal["phones.js", "phones.css"]) -> FileResponse:
        return FileResponse(_STATIC / name)

    return app


class _DroppedConnection(Response):
    """Breaks the connection off after the message was taken: a length is promised that never comes."""

    def __init__(self) -> None:
        super().__init__(status_code=201, headers={"Content-Length": "4096", "Connection": "close"})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": self.raw_headers})
        raise ConnectionResetError("dropped on purpose")


def _twilio_error(status: int, code: int, message: str) -> HTTPException:
    return HTTPException(status, {"code": code, "message": message, "more_info": f"https://www.twilio.com/docs/errors/{code}", "status": status})


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _resource(account: Account, sms: Sms) -> dict[str, Any]:
    stamp = format_datetime(sms.created)
    sent = None if sms.status == QUEUED else stamp
    return {
        "sid": sms.sid, "account_sid": account.sid, "messaging_service_sid": None, "to": sms.recipient, "from": sms.sender, "body": sms.body,
        "status": sms.status, "direction": sms.direction, "num_segments": "1", "num_media": str(sms.media), "error_code": sms.error_code, "error_message": None,
        "date_created": stamp, "date_sent": sent, "date_updated": stamp, "price": None, "price_unit": "USD", "api_version": "2010-04-01",
        "uri": f"/2010-04-01/Accounts/{account.sid}/Messages/{sms.sid}.json", "subresource_uris": {},
    }  # fmt: skip
