"""The console's pages and forms. Every page needs a session, every form its token."""

from __future__ import annotations

import hmac
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Cookie, Depends, Form, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates

from care.audit import record
from care.clock import service_clock
from care.escalations.board import Show, board, case_of, next_untaken
from care.escalations.service import EscalationConflict, EscalationNotFound, Outcome, acknowledge, release, resolve, take_over
from care.messages.outbox import OutboundText, write
from care.patients.consent import consent_status
from care.sessions import check_password, close_session, csrf_token, open_session, session_subject, touch
from care.settings import settings
from care.storage.engine import reading, transaction
from care.storage.tables import Channel, Conversation, SessionKind, User
from web.bell import ring_sender
from web.console.plot import plot

router = APIRouter(prefix="/console", include_in_schema=False)
COOKIE = "aftercare_console"
_pages = Jinja2Templates(directory=Path(__file__).parent / "templates")


class SignedOut(Exception):
    """No session: the browser is sent to the sign-in page."""


def signed_in(request: Request, aftercare_console: Annotated[str | None, Cookie()] = None) -> User:
    """The user of the session. Raises `SignedOut`. The live list's own polling does not keep a session alive."""
    with transaction() as session:
        user_id = session_subject(session, SessionKind.CONSOLE, aftercare_console)
        user = session.get(User, user_id) if user_id else None
        if user is None or user.disabled:
            raise SignedOut
        if not request.url.path.endswith("/board"):
            touch(session, aftercare_console or "")
        return user


def genuine(aftercare_console: Annotated[str | None, Cookie()] = None, csrf: Annotated[str, Form()] = "") -> None:
    """The form carries the session's token. Raises 403."""
    if not hmac.compare_digest(csrf_token(aftercare_console or "").encode(), csrf.encode()):
        raise HTTPException(403, "this form is out of date; load the page again")


Coordinator = Annotated[User, Depends(signed_in)]


@router.get("/login")
def login_page(request: Request) -> HTMLResponse:
    """The sign-in page."""
    return _pages.TemplateResponse(request, "login.html", {"problem": ""})


@router.post("/login")
def login(request: Request, username: Annotated[str, Form(max_length=64)], password: Annotated[str, Form(max_length=200)]) -> Response:
    """Opens a session with a new token."""
    with transaction() as session:
        user = check_password(session, username, password)
        token = open_session(session, SessionKind.CONSOLE, user.id) if user else None
        if user:
            record(session, actor=f"user:{user.id}", action="signed_in", subject=user.id, at=service_clock().now())
    if token is None:
        return _pages.TemplateResponse(request, "login.html", {"problem": "The name or the password is not right."}, status_code=403)
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
    return _pages.TemplateResponse(request, template, {"board": found, "user": user, "csrf": csrf_token(token)})


def _span(left: timedelta) -> str:
    """How long, in the largest units that matter to a person."""
    minutes = abs(int(left.total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days"


_pages.env.filters["span"] = _span


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
    return _pages.TemplateResponse(request, "case.html", values)


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


def problem_page(request: Request, error: EscalationConflict | EscalationNotFound) -> Response:
    """What a coordinator reads when the state does not allow an act."""
    status = 404 if isinstance(error, EscalationNotFound) else 409
    return _pages.TemplateResponse(request, "problem.html", {"problem": str(error)}, status_code=status)
