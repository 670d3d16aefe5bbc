"""The web process: webhooks, web chat, console, API, health."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException as Refused
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from care.logs import configure_logs
from care.redflags import make_ready
from care.settings import settings
from web import api, chat, health, sms
from web.bell import ready_bell
from web.console import campaigns, patients
from web.console import routes as console
from web.console.page import HOME, PROBLEMS, SignedOut, problem_page, refusal, to_login

_MAX_BODY = 1024 * 1024
_TOO_LARGE = f"the body must be at most {_MAX_BODY} bytes"
_HEADERS = [
    (b"content-security-policy", b"default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'self'; base-uri 'none'; form-action 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]
_SWITCH_S = 0.0005
"""After so long a thread whose statement the database has answered gets its turn: by Python's own 5 ms, each statement waits so long for the event loop."""
_COLLECTED_AFTER = (50_000, 20, 100)
"""What a request leaves behind goes by its references: garbage is looked for so rarely, since in a burst that took a fifth of the time."""


class Guard:
    """Refuses bodies that are too large, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(header for header in _HEADERS if header[0] not in given)]
            await send(message)

        received = 0

        async def receive_bounded() -> Message:
            """A body may come in pieces, without its length."""
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > _MAX_BODY:
                raise HTTPException(413, _TOO_LARGE)
            return message

        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) <= _MAX_BODY:
            await self._app(scope, receive_bounded, send_guarded)
        else:
            await JSONResponse({"detail": _TOO_LARGE}, status_code=413)(scope, receive, send_guarded)


def create_app() -> Starlette:
    """The application that uvicorn serves, its rules read and its bell ready, so that the first message is not kept waiting for them.

    Twilio's webhooks stand before FastAPI: what that would do for them costs more than storing the message.
    """
    configure_logs()
    make_ready()
    ready_bell()
    sys.setswitchinterval(_SWITCH_S)
    gc.set_threshold(*_COLLECTED_AFTER)
    handlers: dict[Any, Any] = {HTTPException: http_exception_handler}
    return Starlette(routes=[*sms.routes, Mount("/", _pages())], middleware=[Middleware(Guard)], exception_handlers=handlers, lifespan=_lifespan)


@asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[None]:
    leftovers = asyncio.create_task(sms.accept_what_is_left())
    yield
    leftovers.cancel()


def _pages() -> FastAPI:
    app = FastAPI(title="Aftercare", version="0.1.0", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None)
    app.mount("/static", StaticFiles(directory=chat.STATIC), name="static")
    if origins := settings().embedding_origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_credentials=True, allow_methods=["GET", "POST"], allow_headers=["Content-Type"])
    for module in (health, chat, api, console, campaigns, patients):
        app.include_router(module.router)

    @app.exception_handler(RequestValidationError)
    async def name_the_fields(request: Request, error: RequestValidationError) -> Response:
        if request.url.path.startswith(HOME):
            return refusal(request, "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors()), 422)
        problems = [{"field": ".".join(str(part) for part in problem["loc"]), "problem": problem["msg"]} for problem in error.errors()]
        return JSONResponse({"detail": problems}, status_code=422)

    @app.exception_handler(Refused)
    async def say_why(request: Request, error: Refused) -> Response:
        return refusal(request, error.detail, error.status_code) if request.url.path.startswith(HOME) else await http_exception_handler(request, error)

    @app.exception_handler(SignedOut)
    async def sign_in_first(request: Request, _error: SignedOut) -> Response:
        return to_login(request)

    for problem in PROBLEMS:
        app.add_exception_handler(problem, problem_page)
    return app
