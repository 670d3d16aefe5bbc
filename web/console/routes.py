"""The console's pages and forms. Every page needs a session, every form its token."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Cookie, Depends, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BeforeValidator, StringConstraints

from care.audit import record
from care.clock import service_clock
from care.escalations.board import Show, board, case_of, escalation_of, next_untaken, note_reading, reading_is_noted, talk_of
from care.escalations.service import EscalationConflict, Outcome, acknowledge, answer, release, resolve, take_from
from care.messages import breaker
from care.messages.outbox import OutboundText, write
from care.patients.consent import consent_status
from care.sessions import close_session, csrf_token, open_session
from care.settings import settings
from care.storage.engine import reading, transaction
from care.storage.tables import Conversation, SessionKind, User
from care.users import check_password
from web.bell import ring_sender
from web.console.page import COOKIE, HOME, Coordinator, Watcher, genuine, pages, safe_next, some_words, taken, written
from web.console.plot import plot

router = APIRouter(prefix=HOME, include_in_schema=False)


LONGEST_REPLY, LONGEST_NOTE = 1600, 4000
ReplyText = Annotated[str, BeforeValidator(some_words), StringConstraints(max_length=LONGEST_REPLY), Form()]
Note = Annotated[str, BeforeValidator(written), StringConstraints(max_length=LONGEST_NOTE), Form()]


@router.get("/login")
def login_page(request: Request) -> HTMLResponse:
    """The sign-in page."""
    return pages.TemplateResponse(request, "login.html", {"problem": ""})


@router.post("/login")
def login(
    request: Request,
    username: Annotated[str, Form(max_length=64)],
    password: Annotated[str, Form(max_length=200)],
    asked: Annotated[str, Query(alias="next")] = HOME,
) -> Response:
    """Opens a session with a new token, and goes on to the page that was asked for."""
    with transaction() as session:
        user = check_password(session, username, password)
        token = open_session(session, SessionKind.CONSOLE, user.id) if user else None
        if user:
            record(session, actor=f"user:{user.id}", action="signed_in", subject=user.id, at=service_clock().now())
    if token is None:
        return pages.TemplateResponse(request, "login.html", {"problem": "The name or the password is not right."}, status_code=403)
    signed_in = RedirectResponse(safe_next(asked), status_code=303)
    signed_in.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=settings().public.startswith("https"), path="/console")
    return signed_in


@router.post("/logout", dependencies=[Depends(genuine)])
def logout(aftercare_console: Annotated[str | None, Cookie()] = None) -> Response:
    """Ends the session."""
    with transaction() as session:
        close_session(session, aftercare_console or "")
    signed_out = RedirectResponse("/console/login", status_code=303)
    signed_out.delete_cookie(COOKIE, path="/console")
    return signed_out


@router.get("")
def escalations(request: Request, user: Coordinator, aftercare_console: Annotated[str, Cookie()] = "", show: Show = Show.ALL) -> HTMLResponse:
    """The open escalations, or a part of them."""
    return _board(request, user, "escalations.html", aftercare_console, show)


@router.get("/board")
def live_board(request: Request, user: Watcher, aftercare_console: Annotated[str, Cookie()] = "", show: Show = Show.ALL) -> HTMLResponse:
    """The list alone, which the page fetches every few seconds."""
    return _board(request, user, "board.html", aftercare_console, show)


def _board(request: Request, user: User, template: str, token: str, show: Show) -> HTMLResponse:
    with reading() as session:
        found = board(session, service_clock().now(), user, show)
        held = breaker.look(session)
    title = f"({found.untaken_emergencies}) Escalations" if found.untaken_emergencies else "Escalations"
    return pages.TemplateResponse(request, template, {"board": found, "title": title, "held": held, "user": user, "csrf": csrf_token(token)})


@router.get("/escalations/{escalation_id}")
def one(request: Request, escalation_id: int, user: Coordinator, aftercare_console: Annotated[str, Cookie()] = "", problem: str = "") -> HTMLResponse:
    """One escalation with the conversation and the evidence; reading it is on record."""
    now = service_clock().now()
    with transaction() as session:
        found = case_of(session, escalation_id, now)
        following = next_untaken(session, escalation_id)
        note_reading(session, user, found.patient.id, now)
    plots = [plot(question, series) for question, series in found.series.items()]
    values = {
        "case": found,
        "talk": found.talk,
        "following": following,
        "plots": plots,
        "user": user,
        "outcomes": list(Outcome),
        "longest_reply": LONGEST_REPLY,
        "longest_note": LONGEST_NOTE,
        "csrf": csrf_token(aftercare_console),
        "problem": problem,
    }
    return pages.TemplateResponse(request, "case.html", values)


@router.get("/escalations/{escalation_id}/talk")
def live_talk(request: Request, escalation_id: int, user: Watcher) -> HTMLResponse:
    """The conversation alone, which the page fetches every few seconds; on record where the page's own reading is not, or is long ago."""
    now = service_clock().now()
    with reading() as session:
        found = talk_of(session, escalation_id)
        noted = reading_is_noted(session, user, found.patient_id, now)
    if not noted:
        with transaction() as session:
            note_reading(session, user, found.patient_id, now)
    return pages.TemplateResponse(request, "talk.html", {"talk": found})


@router.post("/escalations/{escalation_id}/acknowledge", dependencies=[Depends(genuine)])
def take(escalation_id: int, user: Coordinator) -> Response:
    """The coordinator takes the escalation on."""
    with transaction() as session:
        acknowledge(session, escalation_id, user.id, service_clock().now())
    return _back(escalation_id)


@router.post("/escalations/{escalation_id}/take-over", dependencies=[Depends(genuine)])
def take_from_colleague(escalation_id: int, user: Coordinator) -> Response:
    """The coordinator takes the escalation from a colleague."""
    with transaction() as session:
        take_from(session, escalation_id, user.id, service_clock().now())
    return _back(escalation_id)


@router.post("/escalations/{escalation_id}/reply", dependencies=[Depends(genuine)])
def reply(escalation_id: int, user: Coordinator, text: ReplyText) -> Response:
    """A person's words to the patient: who writes has taken the case, and the bot holds still from now on."""
    with transaction() as session:
        now = service_clock().now()
        patient_id = escalation_of(session, escalation_id).patient_id
        if consent_status(session, patient_id) == "revoked":
            raise EscalationConflict("the patient opted out of messages: phone instead")
        answer(session, escalation_id, user.id, now)
        channel = session.get_one(Conversation, patient_id).channel
        write(session, patient_id, channel, [OutboundText(text, key="person", author=f"user:{user.id}")], now)
    ring_sender(patient_id)
    return _back(escalation_id)


@router.post("/escalations/{escalation_id}/release", dependencies=[Depends(genuine)])
def let_bot_answer(escalation_id: int, user: Coordinator) -> Response:
    """The bot answers again."""
    with transaction() as session:
        release(session, escalation_of(session, escalation_id).patient_id, user.id, service_clock().now())
    return _back(escalation_id)


@router.post("/escalations/{escalation_id}/resolve", dependencies=[Depends(genuine)])
def close(escalation_id: int, user: Coordinator, outcome: Annotated[Outcome, Form()], note: Note = "") -> Response:
    """Closes the escalation with its outcome."""
    with transaction() as session:
        resolve(session, escalation_id, user.id, outcome, note, service_clock().now())
    return taken(HOME)


def _back(escalation_id: int) -> Response:
    return taken(f"{HOME}/escalations/{escalation_id}")
