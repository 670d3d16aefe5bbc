"""A whole service of its own for a benchmark: a home and ports that are thrown away after it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aftercare.failure import CommandFailed
from care.settings import ROOT, settings

_PORTS = ("WEB", "NLU", "ACTIONS", "RASA", "VLLM", "REDIS", "EMULATOR")
_AT_FULL_SPEED = {"AFTERCARE_SMS_PER_SECOND": "10000", "AFTERCARE_SMS_SEGMENTS_PER_SECOND": "10000"}


@contextmanager
def throwaway_service(**variables: str) -> Iterator[dict[str, str]]:
    """The environment in which `aftercare` commands reach the service, which is stopped on a signal too. Raises `CommandFailed` where it does not start."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with _throwaway_service(variables) as environment:
            yield environment
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _throwaway_service(variables: dict[str, str]) -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory(prefix="aftercare-bench-") as folder:
        home = Path(folder)
        (home / "envs").symlink_to(settings().home / "envs")
        trained = settings().home / "models"
        if trained.exists():
            shutil.copytree(trained, home / "models")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AFTERCARE_")}
        environment |= {f"AFTERCARE_{name}_PORT": str(port) for name, port in zip(_PORTS, _free_ports(len(_PORTS)), strict=True)}
        environment |= {"AFTERCARE_HOME": str(home), **_AT_FULL_SPEED, **variables}
        try:
            started = _aftercare(environment, "up", "--detach", "--no-demo")
            if started.returncode:
                raise CommandFailed(f"the service to measure did not start: {started.stderr.strip()}")
            yield environment
        finally:
            _aftercare(environment, "down")


def run_in(environment: dict[str, str], module: str, *arguments: str) -> str:
    """What a module prints on that service; its progress goes to the terminal. Raises `CommandFailed`."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise CommandFailed(f"{module} did not finish; its words stand above")
    return done.stdout


def _aftercare(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "aftercare", *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
