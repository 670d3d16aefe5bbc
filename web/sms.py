"""Twilio's webhooks: checked, stored, acknowledged; nothing else happens before the answer."""

from __future__ import annotations

import re
from typing import Annotated, TypeVar
from xml.sax.saxutils import escape

from fastapi import APIRouter, BackgroundTasks, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from care.clock import service_clock
from care.messages.inbox import Accepted, Incoming, accept
from care.messages.receipts import take_receipt
from care.messages.twilio_client import account_of
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Channel
from web.bell import ring, ring_sender
from web.twilio_signature import SignatureInvalid, check_signature, tokens_of

router = APIRouter(prefix="/sms")
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


@router.post("/inbound")
async def inbound(request: Request, background: BackgroundTasks) -> Response:
    """A text from a phone. Answers empty TwiML (a neutral text to a number nobody knows) once the message is stored."""
    form = await _genuine_form(request)
    sms = _read(InboundSms, form)
    if sms.account_sid != account_of(settings())[0] or sms.to not in settings().our_numbers:
        raise HTTPException(403, "not our account or number")
    accepted = await run_in_threadpool(_accept, sms)
    if accepted.new and accepted.patient_id:
        if accepted.answered:
            background.add_task(ring_sender, accepted.patient_id)
        background.add_task(ring, accepted.patient_id)
    if accepted.stranger_answer:
        return _twiml(f"<Response><Message>{escape(accepted.stranger_answer)}</Message></Response>")
    return _twiml(_EMPTY)


@router.post("/status")
async def status(request: Request) -> Response:
    """A delivery receipt of one of our messages, named by `ref`."""
    form = await _genuine_form(request)
    receipt = _read(Receipt, form)
    reference = request.query_params.get("ref", "")
    if not re.fullmatch(r"[0-9a-f]{32}", reference):
        raise HTTPException(400, "ref: missing or malformed")
    await run_in_threadpool(_receive, reference, receipt)
    return Response(status_code=204)


def _accept(sms: InboundSms) -> Accepted:
    with transaction() as session:
        incoming = Incoming(Channel.SMS, sms.message_sid, sms.body, service_clock().now(), phone=sms.sender, media=sms.media, ours=sms.to)
        return accept(session, incoming)


def _receive(reference: str, receipt: Receipt) -> None:
    with transaction() as session:
        take_receipt(session, reference, receipt.message_sid, receipt.status, receipt.error_code, service_clock().now())


async def _genuine_form(request: Request) -> FormData:
    """The form of a request that Twilio signed. Raises 403, 415 or 400."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != _FORM:
        raise HTTPException(415, f"the body must be {_FORM}")
    form = await request.form(max_fields=200)
    params = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
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
    if len({name for name, _ in params}) != len(params):
        raise HTTPException(400, "a parameter stands twice")
    return form


def _read(kind: type[_Form], form: FormData) -> _Form:
    try:
        return kind.model_validate(dict(form))
    except ValidationError as error:
        fields = ", ".join(str(problem["loc"][0]) for problem in error.errors())
        raise HTTPException(403, f"not a message of Twilio's: {fields}") from error


def _twiml(text: str) -> Response:
    return Response(text, media_type="text/xml")
