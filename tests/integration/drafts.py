"""A report as the model is asked about it, an answer of the model, and a client of a server that gives any answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

from care.triage.model import AdviceCandidate, Finding, PatientContext, TriageRequest
from generation import REFERENCE_MODEL
from generation.client import VllmDrafter
from generation.shedding import Breaker

GOOD = (
    '{"acuity":"routine","unsure":false,"red_flags":[],"findings":["swelling"],"denied":[],"questions":[],'
    '"advice":["ice_knee","made_up"],"reply":"Use ice.","rationale":"is swollen"}'
)


def asked(report: str = "knee is swollen") -> TriageRequest:
    return TriageRequest(
        report=report,
        context=PatientContext(protocol="knee_replacement", day=3),
        findings=[Finding(id="swelling")],
        advice=[AdviceCandidate(id="ice_knee", text="Use ice.")],
    )


def answering(text: str, finish: str = "stop", status: int = 200) -> Callable[[httpx.Request], httpx.Response]:
    body = {"model": f"{REFERENCE_MODEL}@12345678", "choices": [{"finish_reason": finish, "text": text}]}
    return lambda request: httpx.Response(status, json=body)


def drafter(answer: Callable[[httpx.Request], httpx.Response], breaker: Breaker | None = None) -> VllmDrafter:
    return VllmDrafter(serving(answer), breaker=breaker)


def serving(answer: Callable[[httpx.Request], httpx.Response]) -> str:
    """The address, on this machine's network, of a server that answers so."""
    server, answers = _server()
    answers.append(answer)
    return f"http://127.0.0.1:{server.server_port}/{len(answers) - 1}"


@cache
def _server() -> tuple[ThreadingHTTPServer, list[Callable[[httpx.Request], httpx.Response]]]:
    """One for all addresses, each a folder of it."""
    answers: list[Callable[[httpx.Request], httpx.Response]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            number, _, path = self.path[1:].partition("/")
            asked = httpx.Request(self.command, f"http://vllm/{path}", content=self.rfile.read(int(self.headers.get("Content-Length", 0))))
            answered = answers[int(number)](asked)
            with suppress(ConnectionError):  # who asked has given up
                self.send_response(answered.status_code)
                self.send_header("Content-Length", str(len(answered.content)))
                self.end_headers()
                self.wfile.write(answered.content)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.request_queue_size = 64
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, answers
