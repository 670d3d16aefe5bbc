"""`aftercare bench generation`: drafts through our client against the same requests posted bare to the same vLLM, and what prefix caching saves."""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import re
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from statistics import median

import httpx
import yaml
from pydantic import BaseModel
from rich.console import Console

from aftercare.failure import CommandFailed
from care.acuity import Acuity
from care.settings import ROOT, settings
from care.triage.model import PatientContext, Report, TriageDraft, TriageRequest
from care.triage.request import request_for
from generation.client import Timeouts, VllmDrafter
from generation.prompt import chat_messages

CONCURRENCIES = (1, 8, 32)
_TURNS = 9
"""Each way has as many turns, in pairs; the median over the pairs is told, so that a slow minute of the machine spoils one of them."""
_WAVES = 4
"""A turn is at least this many times its concurrency, so that its end, where few are under way, weighs little."""
_READY_S = 240.0
_LONGEST_S = 120.0
_SPLITS = ROOT / "nlu/corpora/splits.yaml"
_kept = threading.local()
_progress = Console(stderr=True)


class Load(BaseModel):
    """Output tokens a second and the median milliseconds of a request on both ways, at one concurrency; medians over the turns, or pairs of them."""

    concurrency: int
    requests: int
    ours_tokens_per_s: float
    bare_tokens_per_s: float
    ratio: float
    ours_p50_ms: float
    bare_p50_ms: float
    added_p50_ms: float


class GenerationBench(BaseModel):
    """Each load, and the median milliseconds until the first token of a chat prompt whose instructions are shared, with prefix caching and without."""

    model: str
    loads: list[Load]
    shared_prompt_tokens: int
    cached_first_token_ms: float
    uncached_first_token_ms: float
    caching_ratio: float


@dataclass(frozen=True)
class _Server:
    port: int
    key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def generated(self) -> float:
        """How many tokens it has generated, by its own count."""
        told = httpx.get(f"{self.url}/metrics", headers={"Authorization": f"Bearer {self.key}"}, timeout=30).text
        return sum(float(value) for value in re.findall(r"^vllm:generation_tokens_total\{[^}]*\} (\S+)$", told, re.MULTILINE))

    def post(self, path: str, body: bytes) -> Callable[[], bytes]:
        """What posts `body` bare, over the one connection that its thread keeps."""
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}

        def send() -> bytes:
            connection: http.client.HTTPConnection | None = getattr(_kept, "connection", None)
            if connection is None or connection.port != self.port:
                connection = _kept.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_LONGEST_S)
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != http.client.OK:
                raise CommandFailed(f"vLLM answered {answer.status}")
            return said

        return send


@contextmanager
def _served(*changes: str) -> Iterator[_Server]:
    """vLLM as `aftercare up` starts it, but for the settings in `changes`. Raises `CommandFailed` where it does not get ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = _Server(free.getsockname()[1], secrets.token_hex(16))
    python = settings().home / "envs/vllm/bin/python"
    if not python.exists():
        raise CommandFailed("the environment vllm is missing; run `make envs`")
    argv = [str(python), "-m", "generation.serve", "--port", str(server.port), *(part for change in changes for part in ("--set", change)), "--exec"]
    process = subprocess.Popen(argv, cwd=ROOT, env={**os.environ, "VLLM_API_KEY": server.key}, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        client = VllmDrafter(server.url, api_key=server.key)
        ends = time.monotonic() + _READY_S
        while not client.ready():
            if process.poll() is not None or time.monotonic() > ends:
                raise CommandFailed("vLLM did not get ready; its words stand above")
            time.sleep(0.5)
        client.close()
        yield server
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)


def _reports() -> list[TriageRequest]:
    """The test voices' messages as the model is asked about them."""
    texts = []
    for voice in yaml.safe_load(_SPLITS.read_text(encoding="utf-8"))["test"]:
        entries = yaml.safe_load((_SPLITS.parent / "voices" / f"{voice}.yaml").read_text(encoding="utf-8"))["messages"]
        texts += [re.sub(r"\[([^\[\]]*)\]\([^()]*\)", r"\1", entry["text"]) for entry in entries if "report_symptom" in entry["intents"]]
    context = PatientContext(protocol="knee_replacement", day=3)
    return [request_for(Report(text=text, context=context, understanding=None)) for text in texts]


def _timed(calls: Sequence[Callable[[], object]], concurrency: int) -> tuple[float, list[float]]:
    """Seconds until all are done, `concurrency` at a time, and the seconds of each."""

    def one(call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        return time.perf_counter() - began

    began = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        each = list(pool.map(one, calls))
    return time.perf_counter() - began, each


def through_client(client: VllmDrafter, requests: Sequence[TriageRequest]) -> list[Callable[[], TriageDraft]]:
    """What drafts each request. They are of the urgent class, since of a lesser one the client's gate admits fewer at once than are posted bare."""
    return [partial(client.draft, request, _LONGEST_S, Acuity.URGENT) for request in requests]


def _load(server: _Server, client: VllmDrafter, requests: Sequence[TriageRequest], concurrency: int) -> Load:
    """Both ways in turn at one concurrency."""
    requests = list(itertools.islice(itertools.cycle(requests), max(len(requests), _WAVES * concurrency)))
    ours = through_client(client, requests)
    bare = [server.post(*client.asked(request, Acuity.URGENT)) for request in requests]
    _timed(bare[:concurrency], concurrency)
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    p50s: dict[str, list[float]] = {"ours": [], "bare": []}
    for turn in range(_TURNS):
        ways = (("ours", ours), ("bare", bare)) if turn % 2 else (("bare", bare), ("ours", ours))
        for way, calls in ways:
            before = server.generated()
            took, times = _timed(calls, concurrency)
            rates[way].append((server.generated() - before) / took)
            p50s[way].append(median(times) * 1000)
    return Load(
        concurrency=concurrency,
        requests=len(requests) * _TURNS,
        ours_tokens_per_s=round(median(rates["ours"]), 1),
        bare_tokens_per_s=round(median(rates["bare"]), 1),
        ratio=round(median(a / b for a, b in zip(rates["ours"], rates["bare"], strict=True)), 3),
        ours_p50_ms=round(median(p50s["ours"]), 2),
        bare_p50_ms=round(median(p50s["bare"]), 2),
        added_p50_ms=round(median(a - b for a, b in zip(p50s["ours"], p50s["bare"], strict=True)), 2),
    )


def _first_token_ms(server: _Server, requests: Sequence[TriageRequest]) -> tuple[float, int]:
    """Median milliseconds of one token after a chat prompt, instructions first, and the tokens of such a prompt."""
    bodies = []
    for request in requests:
        prompt = "\n".join(f"{message.role}: {message.content}" for message in chat_messages(request))
        bodies.append(json.dumps({"model": "aftercare-reference", "prompt": prompt, "max_tokens": 1, "temperature": 0}).encode())
    first: list[bytes] = []
    asks = [server.post("/v1/completions", body) for body in bodies]
    _timed([lambda: first.append(asks[0]())], 1)
    _, each = _timed(asks[1:], 1)
    return median(each) * 1000, int(json.loads(first[0])["usage"]["prompt_tokens"])


def measure(number: int) -> GenerationBench:
    """The loads on one vLLM with prefix caching, then the shared prompt on it and on one without."""
    requests = _reports()[:number]
    with _served("max_num_seqs=32") as server:
        client = VllmDrafter(server.url, api_key=server.key, timeouts=Timeouts(answer_s=_LONGEST_S))
        loads = []
        for concurrency in CONCURRENCIES:
            loads.append(_load(server, client, requests, concurrency))
            _progress.print(f"{concurrency} at once: {loads[-1].ratio} of bare, {loads[-1].added_p50_ms} ms more")
        cached, used = _first_token_ms(server, requests)
        model = client.version
    with _served("max_num_seqs=32", "prefix_caching=false") as server:
        uncached, _ = _first_token_ms(server, requests)
    return GenerationBench(
        model=model,
        loads=loads,
        shared_prompt_tokens=used,
        cached_first_token_ms=round(cached, 2),
        uncached_first_token_ms=round(uncached, 2),
        caching_ratio=round(uncached / cached, 2),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="aftercare.bench.generation")
    parser.add_argument("--requests", type=int, required=True)
    print(measure(parser.parse_args().requests).model_dump_json(indent=1))
