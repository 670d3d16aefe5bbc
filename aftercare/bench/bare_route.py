"""The bare route that `aftercare bench ingest` compares with: it checks Twilio's signature, and nothing else."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from twilio.request_validator import RequestValidator

from care.messages.twilio_client import account_of
from care.settings import settings

PATH = "/sms/inbound"


def create_app() -> Starlette:
    """The application that uvicorn serves."""
    validator = RequestValidator(account_of(settings())[1])
    url = settings().public + PATH

    async def inbound(request: Request) -> Response:
        genuine = validator.validate(url, await request.form(), request.headers.get("x-twilio-signature", ""))
        return Response("<Response/>", media_type="text/xml", status_code=200 if genuine else 403)

    return Starlette(routes=[Route(PATH, inbound, methods=["POST"])])
