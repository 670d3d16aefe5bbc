"""`aftercare bench nlu`: the nlu service alone, one text at a time and 32 at once, against bare forwards of the same texts on the same cores."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import httpx
from pydantic import BaseModel
from rich.console import Console

from aftercare.bench.figures import Spread
from aftercare.bench.posting import post_all, post_each
from aftercare.failure import CommandFailed
from care.settings import ROOT, settings
from nlu.corpus import read_corpus

_CONCURRENCY = 32
_MAX_BATCH = 16
"""`nlu.batching.MAX_BATCH`: with 32 callers that never pause every forward of the service is as full, so the bare ones are made so."""
_TEXTS = 256
_ENGINES = ("torch", "onnx")
_READY_S = 120.0
_progress = Console(stderr=True)


class Bare(BaseModel):
    """Bare forwards on one engine, and the service's medians as ratios to them: a text's time (lower is better), texts a second (higher is better)."""

    single: Spread
    per_s: float
    single_ratio: float
    throughput_ratio: float


class NluBench(BaseModel):
    """One text's milliseconds at a time and texts a second at 32 at once, of the service (on ONNX Runtime) and of bare forwards of the model.

    The ratios are medians of each round's, which is measured as a whole within seconds.
    """

    texts: int
    rounds: int
    threads: int
    single: Spread
    per_s: float
    bare_torch: Bare
    bare_onnx: Bare


def measure(rounds: int, threads: int) -> NluBench:
    """Each round measures both ways one after the other, so that a slow minute of the machine falls on both."""
    messages = [example.text for example in read_corpus().of("test")]
    texts = [messages[at % len(messages)] for at in range(0, _TEXTS * 7, 7)]
    ours: list[list[float]] = []
    ours_s: list[float] = []
    bare: dict[str, list[list[float]]] = {engine: [] for engine in _ENGINES}
    bare_s: dict[str, list[float]] = {engine: [] for engine in _ENGINES}
    with _service(threads) as port, _bare(threads) as process:
        for engine in _ENGINES:
            _asked(process, engine, texts[:_MAX_BATCH], _MAX_BATCH)
        for number in range(rounds):
            _progress.print(f"round {number + 1} of {rounds}")
            some = texts[number % 4 :: 4]
            ours.append(asyncio.run(post_each(port, [_request(port, text) for text in some])))
            for engine in _ENGINES:
                bare[engine].append(_asked(process, engine, some, 1))
            ours_s.append(asyncio.run(post_all(port, [_request(port, text) for text in texts], _CONCURRENCY)))
            for engine in _ENGINES:
                bare_s[engine].append(sum(_asked(process, engine, texts, _MAX_BATCH)))
    compared = {
        engine: Bare(
            single=Spread.of([each for times in bare[engine] for each in times]),
            per_s=round(len(texts) / median(bare_s[engine]), 1),
            single_ratio=round(median(median(one) / median(other) for one, other in zip(ours, bare[engine], strict=True)), 2),
            throughput_ratio=round(median(other / one for one, other in zip(ours_s, bare_s[engine], strict=True)), 2),
        )
        for engine in _ENGINES
    }
    return NluBench(
        texts=len(texts),
        rounds=rounds,
        threads=threads,
        single=Spread.of([each for times in ours for each in times]),
        per_s=round(len(texts) / median(ours_s), 1),
        bare_torch=compared["torch"],
        bare_onnx=compared["onnx"],
    )


def _asked(process: subprocess.Popen[str], engine: str, texts: list[str], batch: int) -> list[float]:
    """The seconds of each bare forward."""
    assert process.stdin is not None and process.stdout is not None
    print(json.dumps({"texts": texts, "batch": batch, "engine": engine}), file=process.stdin, flush=True)
    answer = process.stdout.readline()
    if not answer:
        raise CommandFailed("the bare engine ended; its words stand above")
    seconds: list[float] = json.loads(answer)
    return seconds


def _request(port: int, text: str) -> bytes:
    body = json.dumps({"text": text}).encode()
    head = f"POST /v1/understand HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@contextmanager
def _service(threads: int) -> Iterator[int]:
    """The nlu service alone on a port of its own. Raises `CommandFailed` where it does not start."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = int(listener.getsockname()[1])
    process = subprocess.Popen([_python(), "-m", "nlu.service", "--port", str(port), "--threads", str(threads)], cwd=ROOT)  # noqa: S603
    try:
        until = time.monotonic() + _READY_S
        while not _ready(port):
            if process.poll() is not None or time.monotonic() > until:
                raise CommandFailed("the nlu service to measure did not start; its words stand above")
            time.sleep(0.25)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=10).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


@contextmanager
def _bare(threads: int) -> Iterator[subprocess.Popen[str]]:
    command = [_python(), "-m", "nlu.bare", "--threads", str(threads)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def _python() -> str:
    found = settings().home / "envs" / "nlu" / "bin" / "python"
    if not found.exists():
        raise CommandFailed(f"{found} is not there; make it with `make envs`")
    return str(found)
