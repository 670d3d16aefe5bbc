"""The console's pages and forms. Every page needs a session, every form its token."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Cookie, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from care.audit import record
from care.clock import service_clock
from care.escalations.board import Show, board, case_of, next_untaken
from care.escalations.service import EscalationConflict, Outcome, acknowledge, release, resolve, take_over
from care.messages import breaker
from care.messages.outbox import OutboundText, write
from care.patients.consent import consent_status
from care.sessions import check_password, close_session, csrf_token, open_session
from care.settings import settings
from care.storage.engine import reading, transaction
from care.storage.tables import Channel, Conversation, SessionKind, User
from web.bell import ring_sender
from web.console.page import COOKIE, Coordinator, genuine, pages
from web.console.plot import plot

router = APIRouter(prefix="/console", include_in_schema=False)


@router.get("/login")
def login_page(request: Request) -> HTMLResponse:
    """The sign-in page."""
    return pages.TemplateResponse(request, "login.html", {"problem": ""})


@router.post("/login")
def login(request: Request, username: Annotated[str, Form(max_length=64)], password: Annotated[str, Form(max_length=200)]) -> Response:
    """Opens a session with a new token."""
    with transaction() as session:
        user = check_password(session, username, password)
        token = open_session(session, SessionKind.CONSOLE, user.id) if user else None
        if user:
            record(session, actor=f"user:{user.id}", action="signed_in", subject=user.id, at=service_clock().now())
    if token is None:
        return pages.TemplateResponse(request, "login.html", {"problem": "The name or the password is not right."}, status_code=403)
    answer = RedirectResponse("/console", status_code=303)
    answer.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=settings().public.startswith("https"), path="/console")
    return answer


@router.post("/logout", dependencies=[Depends(genuine)])
def logout(aftercare_console: Annotated[str | None, Cookie()] = None) -> Response:
    """Ends the session."""
    with transaction() as session:
        close_session(session, aftercare_console or "")
    answer = RedirectResponse("/console/login", status_code=303)
    answer.delete_cookie(COOKIE, path="/console")
    return answer


@router.get("")
def escalations(request: Request, user: Coordinator, aftercare_console: Annotated[str, Cookie()] = "", show: Show = Show.ALL) -> HTMLResponse:
    """The open escalations, or a part of them."""
    return _board(request, user, "escalations.html", aftercare_console, show)


@router.get("/board")
def live_board(request: Request, user: Coordinator, aftercare_console: Annotated[str, Cookie()] = "", show: Show = Show.ALL) -> HTMLResponse:
    """The list alone, which the page fetches every few seconds."""
    return _board(request, user, "board.html", aftercare_console, show)


def _board(request: Request, user: User, template: str, token: str, show: Show) -> HTMLResponse:
    with reading() as session:
        found = board(session, service_clock().now(), user, show)
        held = breaker.look(session)
    return pages.TemplateResponse(request, template, {"board": found, "held": held, "user": user, "csrf": csrf_token(token)})


@router.get("/escalations/{escalation_id}")
def one(request: Request, escalation_id: int, user: Coordinator, aftercare_console: Annotated[str, Cookie()] = "", problem: str = "") -> HTMLResponse:
    """One escalation with the conversation and the evidence; reading it is on record."""
    with transaction() as session:
        found = case_of(session, escalation_id)
        following = next_untaken(session, escalation_id)
        record(session, actor=f"user:{user.id}", action="case_read", subject=found.patient.id, at=service_clock().now())
    plots = [plot(question, series) for question, series in found.series.items()]
    values = {
        "case": found,
        "following": following,
        "plots": plots,
        "user": user,
        "outcomes": list(Outcome),
        "csrf": csrf_token(aftercare_console),
        "problem": problem,
    }
    return pages.TemplateResponse(request, "case.html", values)


@router.post("/escalations/{escalation_id}/acknowledge", dependencies=[Depends(genuine)])
def take(escalation_id: int, user: Coordinator) -> Response:
    """The coordinator takes the escalation on."""
    with transaction() as session:
        acknowledge(session, escalation_id, user.id, service_clock().now())
    return _back(escalation_id)


@router.post("/escalations/{escalation_id}/reply", dependencies=[Depends(genuine)])
def reply(escalation_id: int, user: Coordinator, text: Annotated[str, Form(min_length=1, max_length=1600)]) -> Response:
    """A person's words to the patient; the bot holds still from now on."""
    with transaction() as session:
        found = case_of(session, escalation_id)
        now = service_clock().now()
        if consent_status(session, found.patient.id) == "revoked":
            raise EscalationConflict("the patient opted out of messages: phone instead")
        take_over(session, found.patient.id, user.id, now)
        channel = session.get_one(Conversation, found.patient.id).channel
        write(session, found.patient.id, channel, [OutboundText(text.strip(), key="person", author=f"user:{user.id}")], now)
    if channel is Channel.SMS:
        ring_sender(found.patient.id)
    return _back(escalation_id)


@router.post("/escalations/{escalation_id}/release", dependencies=[Depends(genuine)])
def let_bot_answer(escalation_id: int, user: Coordinator) -> Response:
    """The bot answers again."""
    with transaction() as session:
        release(session, case_of(session, escalation_id).patient.id, user.id, service_clock().now())
    return _back(escalation_id)


@router.post("/escalations/{escalation_id}/resolve", dependencies=[Depends(genuine)])
def close(escalation_id: int, user: Coordinator, outcome: Annotated[Outcome, Form()], note: Annotated[str, Form(max_length=4000)] = "") -> Response:
    """Closes the escalation with its outcome."""
    with transaction() as session:
        resolve(session, escalation_id, user.id, outcome, note, service_clock().now())
    return RedirectResponse("/console", status_code=303)


def _back(escalation_id: int) -> Response:
    return RedirectResponse(f"/console/escalations/{escalation_id}", status_code=303)
