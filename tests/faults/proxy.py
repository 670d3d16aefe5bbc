"""A proxy before an engine that can be told to misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

HANG_S = 20.0


class FaultProxy(ThreadingHTTPServer):
    """Passes requests to `upstream` while `fault` is empty; else answers with `error` (a 500), `garbage`, `empty` (an empty JSON object) or `hang`."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = httpx.Client(base_url=upstream, timeout=60)
        self.fault = ""
        self.awake = threading.Event()

    @property
    def url(self) -> str:
        """Where the proxy listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def failing(self, fault: str) -> Iterator[None]:
        """The engine misbehaves in the block; what hangs is let go after it."""
        self.awake.clear()
        self.fault = fault
        try:
            yield
        finally:
            self.fault = ""
            self.awake.set()

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Nobody listens at the address in the block."""
        self.shutdown()
        self.server_close()
        try:
            yield
        finally:
            self.socket = socket.socket(self.address_family, self.socket_type)
            self.server_bind()
            self.server_activate()
            threading.Thread(target=self.serve_forever, daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    server: FaultProxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._pass()

    def do_POST(self) -> None:
        self._pass()

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault
        if fault == "hang":
            self.server.awake.wait(HANG_S)
        if fault:
            answer = httpx.Response({"error": 500}.get(fault, 200), content={"garbage": b'{"acuity": "fi', "empty": b"{}"}.get(fault, b"broken"))
        else:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length", "connection")}
            answer = self.server.upstream.request(self.command, self.path, content=body, headers=headers)
        try:
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("content-type", "application/json"))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)
        except OSError:
            self.close_connection = True

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Says nothing."""
