"""Twilio's webhooks: checked, stored, acknowledged; nothing else happens before the answer. The rules read a message right after it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import Annotated, TypeVar
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

import structlog
from fastapi import BackgroundTasks, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy.exc import DBAPIError
from starlette.concurrency import run_in_threadpool
from starlette.routing import Mount, Route

from care.clock import service_clock
from care.messages.acceptance import Accepted, accept_waiting
from care.messages.inbox import Incoming, Stored, store
from care.messages.receipts import Told, take_receipt, take_usual_receipts
from care.messages.sweep import unread_patients
from care.messages.twilio_client import account_of
from care.settings import settings
from care.storage.engine import reading, transaction
from care.storage.tables import Channel
from web.bell import ring_for_accepted
from web.together import Together
from web.twilio_signature import SignatureInvalid, check_signature, tokens_of

log = structlog.get_logger()
_MOST_TOGETHER, _MOST_FIELDS, _LOOK_S = 100, 200, 3
_RECEIPTS_GATHER_S = 0.03
"""Nobody waits for a receipt: one transaction keeps what comes within so long."""
_EMPTY = '<?xml version="1.0" encoding="UTF-8"?><Response/>'
_FORM = "application/x-www-form-urlencoded"
_Form = TypeVar("_Form", bound=BaseModel)
Number = Annotated[str, StringConstraints(pattern=r"^\+?[0-9]{3,16}$")]


class InboundSms(BaseModel):
    """What we read of Twilio's inbound webhook; its other parameters are left alone."""

    model_config = ConfigDict(extra="ignore")

    message_sid: str = Field(alias="MessageSid", pattern=r"^(SM|MM)[0-9a-f]{32}$")
    account_sid: str = Field(alias="AccountSid")
    sender: Number = Field(alias="From")
    to: Number = Field(alias="To")
    body: str = Field("", alias="Body", max_length=20_000)
    media: int = Field(0, alias="NumMedia", ge=0, le=100)


class Receipt(BaseModel):
    """What we read of a delivery receipt."""

    model_config = ConfigDict(extra="ignore")

    message_sid: str = Field(alias="MessageSid", pattern=r"^(SM|MM)[0-9a-f]{32}$")
    account_sid: str = Field(alias="AccountSid")
    status: str = Field(alias="MessageStatus", max_length=20)
    error_code: int | None = Field(None, alias="ErrorCode")


async def inbound(request: Request) -> Response:
    """A text from a phone. Answers empty TwiML (a neutral text to a number nobody knows) once the message is stored."""
    form = await _genuine_form(request)
    sms = _read(InboundSms, form)
    if sms.account_sid != account_of(settings())[0] or sms.to not in settings().our_numbers:
        raise HTTPException(403, "not our account or number")
    incoming = Incoming(Channel.SMS, sms.message_sid, sms.body, service_clock().now(), phone=sms.sender, media=sms.media, ours=sms.to)
    stored = await _inbox.add(incoming)
    if stored is None:
        stored = await run_in_threadpool(_store_alone, incoming)
    background = BackgroundTasks()
    if stored.patient_id:
        background.add_task(_accept, stored.patient_id)
    if stored.stranger_answer:
        return _twiml(f"<Response><Message>{escape(stored.stranger_answer)}</Message></Response>", background)
    return _twiml(_EMPTY, background)


async def status(request: Request) -> Response:
    """A delivery receipt of one of our messages, named by `ref`."""
    form = await _genuine_form(request)
    receipt = _read(Receipt, form)
    reference = request.query_params.get("ref", "")
    if not re.fullmatch(r"[0-9a-f]{32}", reference):
        raise HTTPException(400, "ref: missing or malformed")
    told = Told(reference, receipt.message_sid, receipt.status, receipt.error_code)
    if not await _receipts.add(told):
        await run_in_threadpool(_receive_alone, told)
    return Response(status_code=204)


def _store_all(incoming: Sequence[Incoming]) -> list[Stored | None]:
    """Stores messages that arrived together in one transaction; None for each that is to be stored by itself. One that cannot be stored fails no other."""
    try:
        with transaction() as session:
            return [*store(session, incoming)]
    except DBAPIError as error:
        log.warning("storing_one_by_one", messages=len(incoming), error=type(error).__name__)
        return [None] * len(incoming)


def _store_alone(incoming: Incoming) -> Stored:
    with transaction() as session:
        return store(session, [incoming])[0]


async def _accept(patient_id: str) -> None:
    """Has the rules read what the patient wrote, and rings for what they and the dialogue are to do; a broker that hangs keeps no other message unread."""
    await asyncio.gather(*(_bells.add(accepted) for accepted in await _acceptance.add(patient_id)))


def _accept_all(patient_ids: Sequence[str]) -> list[list[Accepted]]:
    done: dict[str, list[Accepted]] = {}
    for accepted in accept_waiting(patient_ids):
        done.setdefault(accepted.patient_id, []).append(accepted)
    return [done.pop(patient_id, []) for patient_id in patient_ids]


def _ring_all(accepted: Sequence[Accepted]) -> list[None]:
    ring_for_accepted(accepted)
    return [None] * len(accepted)


async def accept_what_is_left() -> None:
    """Every few seconds accepts what has been stored since the last look and before: a process that stored it died, or its patient was busy. Runs until it is
    cancelled."""
    seen: set[str] = set()
    while True:
        await asyncio.sleep(_LOOK_S)
        try:
            unread = await run_in_threadpool(_unread)
            await asyncio.gather(*(_accept(patient_id) for patient_id in unread if patient_id in seen))
            seen = set(unread)
        except Exception as error:  # whatever it is, the next look comes
            log.error("looking_again_later", error=type(error).__name__)


def _unread() -> list[str]:
    with reading() as session:
        return unread_patients(session)


def _receive_all(receipts: Sequence[Told]) -> list[bool]:
    """Keeps the receipts that only say that a message went forward; false for each that is to be looked at by itself."""
    try:
        with transaction() as session:
            return take_usual_receipts(session, receipts)
    except DBAPIError as error:
        log.warning("receipts_one_by_one", receipts=len(receipts), error=type(error).__name__)
        return [False] * len(receipts)


def _receive_alone(told: Told) -> None:
    with transaction() as session:
        take_receipt(session, told, service_clock().now())


routes = [Mount("/sms", routes=[Route("/inbound", inbound, methods=["POST"]), Route("/status", status, methods=["POST"])])]
_inbox: Together[Incoming, Stored | None] = Together(_store_all, _MOST_TOGETHER)
_receipts: Together[Told, bool] = Together(_receive_all, _MOST_TOGETHER, gather_s=_RECEIPTS_GATHER_S)
_acceptance: Together[str, list[Accepted]] = Together(_accept_all, _MOST_TOGETHER, after=_inbox)
_bells: Together[Accepted, None] = Together(_ring_all, _MOST_TOGETHER)


async def _genuine_form(request: Request) -> dict[str, str]:
    """The form of a request that Twilio signed. Raises 403, 415 or 400."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != _FORM:
        raise HTTPException(415, f"the body must be {_FORM}")
    try:
        params = parse_qsl((await request.body()).decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise HTTPException(400, f"more than {_MOST_FIELDS} parameters") from error
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["path"] + (f"?{query}" if query else "")
    try:
        check_signature(
            settings().public,
            path,
            params,
            b"",
            request.headers.get("x-twilio-signature"),
            tokens_of(settings(), account_of(settings())[1]),
        )
    except SignatureInvalid as error:
        raise HTTPException(403, str(error)) from error
    form = dict(params)
    if len(form) != len(params):
        raise HTTPException(400, "a parameter stands twice")
    return form


def _read(kind: type[_Form], form: dict[str, str]) -> _Form:
    try:
        return kind.model_validate(form)
    except ValidationError as error:
        fields = ", ".join(str(problem["loc"][0]) for problem in error.errors())
        raise HTTPException(403, f"not a message of Twilio's: {fields}") from error


def _twiml(text: str, background: BackgroundTasks) -> Response:
    return Response(text, media_type="text/xml", background=background)
