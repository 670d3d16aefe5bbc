"""`python -m bot.actions`: the action server."""

from __future__ import annotations

import argparse
import logging
from importlib import import_module
from pkgutil import iter_modules

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from rasa_sdk.endpoint import create_app
from rasa_sdk.executor import ActionExecutor
from sanic import HTTPResponse, Request

import bot.actions
from care.logs import configure_logs
from care.triage.service import make_ready


async def metrics(request: Request) -> HTTPResponse:
    """Prometheus metrics of this process: triage, the guard and the model's client."""
    return HTTPResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def main() -> None:
    """Serves until stopped."""
    parser = argparse.ArgumentParser(prog="bot.actions", description="The Rasa action server.")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--host", default="127.0.0.1")
    given = parser.parse_args()
    configure_logs()
    logging.getLogger("rasa_sdk.endpoint").setLevel(logging.CRITICAL)  # it logs requests with the patient's words
    for module in iter_modules(bot.actions.__path__):
        if module.name != "__main__":
            import_module(f"bot.actions.{module.name}")
    executor = ActionExecutor()
    app = create_app(executor)
    executor.register_package("bot.actions")
    app.add_route(metrics, "/metrics")
    make_ready()
    app.run(host=given.host, port=given.port, single_process=True, access_log=False)


if __name__ == "__main__":
    main()
