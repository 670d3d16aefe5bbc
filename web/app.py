"""The web process: webhooks, web chat, console, API, health."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

from care.escalations.service import EscalationConflict, EscalationNotFound
from care.logs import configure_logs
from care.settings import settings
from web import api, chat, health, sms
from web.console import routes as console

_MAX_BODY = 1024 * 1024
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; connect-src 'self' ws: wss:; frame-ancestors 'self'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app() -> FastAPI:
    """The application that uvicorn serves."""
    configure_logs()
    app = FastAPI(title="Aftercare", version="0.1.0", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None)
    app.mount("/static", StaticFiles(directory=chat.STATIC), name="static")
    if origins := settings().embedding_origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_credentials=True, allow_methods=["GET", "POST"], allow_headers=["Content-Type"])
    for module in (health, sms, chat, api, console):
        app.include_router(module.router)

    @app.middleware("http")
    async def guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        length = request.headers.get("content-length", "0")
        if not length.isdigit() or int(length) > _MAX_BODY:
            return JSONResponse({"detail": f"the body must be at most {_MAX_BODY} bytes"}, status_code=413)
        response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(RequestValidationError)
    async def name_the_fields(_request: Request, error: RequestValidationError) -> Response:
        problems = [{"field": ".".join(str(part) for part in problem["loc"]), "problem": problem["msg"]} for problem in error.errors()]
        return JSONResponse({"detail": problems}, status_code=422)

    @app.exception_handler(console.SignedOut)
    async def to_login(_request: Request, _error: console.SignedOut) -> Response:
        return RedirectResponse("/console/login", status_code=303)

    app.add_exception_handler(EscalationConflict, console.problem_page)  # type: ignore[arg-type]
    app.add_exception_handler(EscalationNotFound, console.problem_page)  # type: ignore[arg-type]
    return app
