"""Web chat: opened by a one-time link and the date of birth; messages over HTTP, replies pushed over a websocket."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Cookie, Depends, HTTPException, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from aftercare.assembly import build_turn_runner
from care.clock import service_clock
from care.messages.acceptance import accept
from care.messages.conversation import Line, conversation, sent_since
from care.messages.inbox import MAX_BODY, Incoming
from care.sessions import LinkRefused, close_session, mark_gone, mark_online, open_chat, session_subject, touch
from care.settings import settings
from care.storage.engine import reading, transaction
from care.storage.tables import Channel, Patient, SessionKind
from care.turns.service import TurnRunner

router = APIRouter()
STATIC = Path(__file__).parent / "static"
COOKIE = "aftercare_chat"
_PUSH_S, _MARK_S = 0.4, 15
_NOT_OPENED = "The link or the date of birth is not right. A link works once and not for long. For a new one, text CHAT to the number that wrote to you."


class OpenChat(BaseModel):
    """What opens the chat."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=100)
    date_of_birth: date


class ChatMessage(BaseModel):
    """A message; `id` is the browser's own, so that a resend is the same message."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(pattern=r"^[A-Za-z0-9-]{8,64}$")
    text: str = Field(max_length=MAX_BODY)


class ChatLine(BaseModel):
    """A message as the browser shows it."""

    id: str
    author: str
    text: str
    at: str
    quick_replies: list[dict[str, str]]


class Conversation(BaseModel):
    """The history; `cursor` is where the socket goes on, `language` the one that the patient reads."""

    lines: list[ChatLine]
    cursor: int
    language: str


@cache
def _turns() -> TurnRunner:
    return build_turn_runner(settings())


def _patient(token: str | None) -> str | None:
    with reading() as session:
        return session_subject(session, SessionKind.CHAT, token)


def signed_in(aftercare_chat: Annotated[str | None, Cookie()] = None) -> str:
    """The patient of the session. Raises 401."""
    patient_id = _patient(aftercare_chat)
    if patient_id is None:
        raise HTTPException(401, "open the chat with the link we sent you")
    return patient_id


PatientId = Annotated[str, Depends(signed_in)]


@router.get("/", include_in_schema=False)
def page() -> FileResponse:
    """The chat page."""
    return FileResponse(STATIC / "chat.html")


@router.get("/widget.js", include_in_schema=False)
def widget() -> FileResponse:
    """The embeddable widget."""
    return FileResponse(STATIC / "widget.js", media_type="text/javascript")


@router.post("/chat/open", status_code=204)
def open_with_link(given: OpenChat, response: Response) -> None:
    """Opens a session with a one-time link and the date of birth."""
    with transaction() as session:
        try:
            token = open_chat(session, given.token, given.date_of_birth.isoformat(), service_clock().now())
        except LinkRefused:
            token = None
    if token is None:
        raise HTTPException(403, _NOT_OPENED)
    secure = settings().public.startswith("https")
    elsewhere = secure and bool(settings().embedding_origins)
    response.set_cookie(COOKIE, token, httponly=True, samesite="none" if elsewhere else "lax", secure=secure, max_age=12 * 3600)


@router.post("/chat/close", status_code=204)
def close(response: Response, aftercare_chat: Annotated[str | None, Cookie()] = None) -> None:
    """Ends the session."""
    with transaction() as session:
        close_session(session, aftercare_chat or "")
    response.delete_cookie(COOKIE)


@router.get("/chat/messages")
def history(patient_id: PatientId, aftercare_chat: Annotated[str, Cookie()] = "") -> Conversation:
    """The conversation so far."""
    with transaction(durable=False) as session:
        touch(session, aftercare_chat)
        lines, language = conversation(session, patient_id), session.get_one(Patient, patient_id).language
    cursor = max((int(line.id[3:]) for line in lines if line.author != "patient"), default=0)
    return Conversation(lines=_shown(lines), cursor=cursor, language=language)


@router.post("/chat/messages")
def send(message: ChatMessage, patient_id: PatientId, aftercare_chat: Annotated[str, Cookie()] = "") -> Conversation:
    """Stores the message once, runs the turn at once, and answers with the replies written since.

    The acknowledgement does not depend on the turn: what it could not finish, the sweep does.
    """
    with transaction() as session:
        touch(session, aftercare_chat)
        _, before = sent_since(session, patient_id, 0)
        incoming = Incoming(Channel.WEB, f"{patient_id}:{message.id}", message.text, service_clock().now(), patient_id=patient_id)
        accept(session, incoming)
    _turns().run(patient_id)
    with reading() as session:
        lines, cursor = sent_since(session, patient_id, before)
        language = session.get_one(Patient, patient_id).language
    return Conversation(lines=_shown(lines), cursor=cursor, language=language)


@router.websocket("/chat/socket")
async def socket(websocket: WebSocket, cursor: int = 0) -> None:
    """Pushes what is written to the patient after `cursor`. The rows are the truth: a lost socket loses nothing."""
    token = websocket.cookies.get(COOKIE)
    if not _may_connect(websocket.headers.get("origin", "")) or await run_in_threadpool(_patient, token) is None:
        await websocket.close(code=4403)
        return
    await websocket.accept()
    listener = asyncio.create_task(_until_closed(websocket))
    mark: datetime | None = None
    mark_at = monotonic()
    try:
        while not listener.done():
            patient_id, lines, cursor = await run_in_threadpool(_news, token, cursor)
            if patient_id is None:
                await websocket.close(code=4401)
                return
            if monotonic() >= mark_at:
                mark_at += _MARK_S
                mark = await run_in_threadpool(_mark, token)
            for line in _shown(lines):
                await websocket.send_text(line.model_dump_json())
            if lines:
                await websocket.send_json({"cursor": cursor})
            await asyncio.sleep(_PUSH_S)
    except (WebSocketDisconnect, RuntimeError):
        return
    finally:
        listener.cancel()
        if mark is not None:
            await run_in_threadpool(_unmark, token, mark)


def _may_connect(origin: str) -> bool:
    return urlsplit(origin).netloc == urlsplit(settings().public).netloc or origin in settings().embedding_origins


async def _until_closed(websocket: WebSocket) -> None:
    """The browser says nothing over the socket; this ends when it is gone."""
    try:
        while True:
            await websocket.receive_text()
    except (WebSocketDisconnect, RuntimeError):
        return


def _mark(token: str | None) -> datetime:
    with transaction(durable=False) as session:
        return mark_online(session, token or "")


def _unmark(token: str | None, mark: datetime) -> None:
    with transaction(durable=False) as session:
        mark_gone(session, token or "", mark)


def _news(token: str | None, cursor: int) -> tuple[str | None, list[Line], int]:
    with reading() as session:
        patient_id = session_subject(session, SessionKind.CHAT, token)
        if patient_id is None:
            return None, [], cursor
        lines, newest = sent_since(session, patient_id, cursor)
        return patient_id, lines, newest


def _shown(lines: list[Line]) -> list[ChatLine]:
    return [
        ChatLine(
            id=line.id,
            author="person" if line.author.startswith("user:") else line.author,
            text=line.text,
            at=line.at.isoformat(),
            quick_replies=line.quick_replies,
        )
        for line in lines
        if line.in_chat
    ]
