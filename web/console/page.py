"""What every page of the console needs: the user of the session, the form's token, the templates."""

from __future__ import annotations

import hmac
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import Cookie, Depends, Form, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.templating import Jinja2Templates
from sqlalchemy.orm import Session

from care.campaigns.service import CampaignInvalid, CampaignNotFound, EnrollmentConflict
from care.escalations.service import EscalationConflict, EscalationNotFound
from care.patients.corrections import PhoneConflict
from care.patients.record import PatientNotFound
from care.sessions import csrf_token, session_subject, touch
from care.storage.engine import reading, transaction
from care.storage.tables import Role, SessionKind, User
from care.texts import counted, language_name

COOKIE = "aftercare_console"
HOME = "/console"
_PAGE = re.compile(rf"{HOME}(/[\w/-]*)?(\?[^#\s]*)?")
pages = Jinja2Templates(directory=Path(__file__).parent / "templates")


def written(raw: str) -> str:
    """What a person typed: browsers send a new line as two characters and count it as one."""
    return raw.replace("\r\n", "\n").strip()


def some_words(raw: str) -> str:
    """The same, where there must be words. Raises `ValueError`."""
    if not (words := written(raw)):
        raise ValueError("write some words")
    return words


class SignedOut(Exception):
    """No session: the browser is sent to the sign-in page."""


def signed_in(aftercare_console: Annotated[str | None, Cookie()] = None) -> User:
    """The user of the session, which is in use. Raises `SignedOut`."""
    with transaction() as session:
        user = _user(session, aftercare_console)
        touch(session, aftercare_console or "")
        return user


def watching(aftercare_console: Annotated[str | None, Cookie()] = None) -> User:
    """The user of the session, for what a page fetches by itself: that keeps no session alive. Raises `SignedOut`."""
    with reading() as session:
        return _user(session, aftercare_console)


def _user(session: Session, token: str | None) -> User:
    user_id = session_subject(session, SessionKind.CONSOLE, token)
    user = session.get(User, user_id) if user_id else None
    if user is None or user.disabled:
        raise SignedOut
    return user


def genuine(aftercare_console: Annotated[str | None, Cookie()] = None, csrf: Annotated[str, Form()] = "") -> None:
    """The form carries the session's token. Raises 403."""
    if not hmac.compare_digest(csrf_token(aftercare_console or "").encode(), csrf.encode()):
        raise HTTPException(403, "this form is out of date; load the page again")


Coordinator = Annotated[User, Depends(signed_in)]
Watcher = Annotated[User, Depends(watching)]


def programme_lead(user: Coordinator) -> User:
    """A user with the role `lead`. Raises 403."""
    if user.role is not Role.LEAD:
        raise HTTPException(403, "this page needs the role of a programme lead")
    return user


Lead = Annotated[User, Depends(programme_lead)]


def _span(left: timedelta) -> str:
    """How long, in the largest units that matter to a person."""
    minutes = abs(int(left.total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days"


pages.env.filters["span"] = _span
pages.env.filters["language"] = language_name
pages.env.filters["counted"] = counted


PROBLEMS: dict[type[Exception], int] = {
    EscalationConflict: 409,
    EscalationNotFound: 404,
    CampaignInvalid: 422,
    CampaignNotFound: 404,
    EnrollmentConflict: 409,
    PatientNotFound: 404,
    PhoneConflict: 409,
}
"""What an act may run into, with the status of the page that says so."""


def problem_page(request: Request, error: Exception) -> Response:
    """What a person reads when an act cannot be done as asked."""
    return refusal(request, str(error), PROBLEMS[type(error)])


def refusal(request: Request, problem: str, status: int) -> Response:
    """A page that says what was wrong."""
    return pages.TemplateResponse(request, "problem.html", {"problem": problem}, status_code=status)


def taken(address: str) -> Response:
    """On to the next page, which the script can tell by its address from one that came after a failure: what was typed need not be kept."""
    return RedirectResponse(f"{address}#sent", status_code=303)


def to_login(request: Request) -> Response:
    """To the sign-in page, and from there back: to what was asked for, or to the page of the form that was sent, which was not taken."""
    sent = request.method != "GET"
    asked = request.url.path.rpartition("/")[0] if sent else request.url.path
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{HOME}/login?next={quote(asked + query, safe='')}{'&unsent=1' if sent else ''}", status_code=303)


def safe_next(asked: str) -> str:
    """The page of the console that was asked for; the board where it is anything else, such as another site."""
    return asked if _PAGE.fullmatch(asked) else HOME
