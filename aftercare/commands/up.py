"""`up`, `down` and `status`: the supervisor in front or detached."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.live import Live
from rich.table import Table

from aftercare.demo import DEMO_USERS, seed, urls, where_to_go
from aftercare.doctor import eviction
from aftercare.failure import CommandFailed
from aftercare.supervise.specs import ProcessSpec, specs
from aftercare.supervise.supervisor import Supervisor, Watched
from care.settings import ROOT, Settings, settings

_READY_WITHIN_S = 480
_out = Console()


def state_file(current: Settings) -> Path:
    """Where the running supervisor writes its picture."""
    return current.home / "run/state.json"


def run_in_front(demo: bool) -> None:
    """Runs until Ctrl-C or `down`; nothing is left behind."""
    current = settings()
    lock = _only_one(current)
    table = specs(current)
    _check_redis(current)
    _check_ports(table)
    users = [{"username": name, "password": password, "role": role} for name, password, role in DEMO_USERS] if demo else []
    supervisor = Supervisor(table, current.home / "logs", state_file(current), {"urls": urls(current), "demo_users": users})
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: supervisor.ask_to_stop())
    greeted = False
    try:
        supervisor.start()
        with Live(console=_out, refresh_per_second=2, transient=False) as live:

            def show(watched: list[Watched]) -> None:
                nonlocal greeted
                if _out.is_terminal:
                    live.update(_table(watched))
                if supervisor.all_ready and not greeted:
                    greeted = True
                    if demo:
                        seed(current)
                    where_to_go(live.console, current, demo)
                    supervisor.extra["ready"] = True

            supervisor.watch(show)
    finally:
        supervisor.stop()
        lock.close()


def run_detached(demo: bool) -> None:
    """Starts the supervisor in the background and returns once everything is ready. Raises `CommandFailed` with the log of what is not."""
    current = settings()
    _only_one(current).close()
    _check_redis(current)
    _check_ports(specs(current))
    logs = current.home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / "supervisor.log").open("ab") as log:
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "aftercare", "up", "--demo" if demo else "--no-demo"],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd=ROOT,
        )  # fmt: skip
    end = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < end and child.poll() is None:
        state = running_state()
        if state and state.get("ready"):
            where_to_go(_out, current, demo)
            return
        time.sleep(0.5)
    waiting = [p["name"] for p in (running_state() or {"processes": []})["processes"] if p["state"] != "ready"]
    tails = "".join(f"\n--- {name}\n{_tail(logs / f'{name}.log')}" for name in waiting or ["supervisor"])
    stop_running()
    raise CommandFailed(f"not ready: {', '.join(waiting) or 'the supervisor stopped'}{tails}")


def running_state() -> dict[str, Any] | None:
    """The picture of the running supervisor, or None where none runs."""
    path = state_file(settings())
    try:
        state: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return state if psutil.pid_exists(state["supervisor"]) else None


def stop_running() -> bool:
    """Stops the running supervisor and waits until it is gone; false where none runs."""
    state = running_state()
    if state is None:
        return False
    process = psutil.Process(state["supervisor"])
    if "aftercare" not in " ".join(process.cmdline()):
        return False
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(40)
    except psutil.TimeoutExpired:
        process.kill()
    return True


def _only_one(current: Settings) -> Any:
    """Holds the lock of this home folder. Raises `CommandFailed` where a supervisor runs in it."""
    path = current.home / "run/lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise CommandFailed("Aftercare runs already; `aftercare status` shows it, `aftercare down` stops it") from None
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _check_redis(current: Settings) -> None:
    if current.redis_url and (finding := eviction(current)).remedy:
        raise CommandFailed(f"{finding.what}: {finding.found}; {finding.remedy}")


def _check_ports(table: list[ProcessSpec]) -> None:
    for spec in table:
        if spec.port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", spec.port))
            except OSError:
                raise CommandFailed(f"port {spec.port} is in use: stop what holds it, or set AFTERCARE_{spec.name.upper()}_PORT") from None


def _table(watched: list[Watched]) -> Table:
    table = Table("process", "state", "port", "pid", "seconds", "restarts")
    for each in watched:
        seconds = each.ready_after_s if each.ready_after_s is not None else time.monotonic() - each.started
        pid = str(each.process.pid) if each.process else "-"
        table.add_row(each.spec.name, each.state, str(each.spec.port or "-"), pid, f"{seconds:.1f}", str(each.restarts))
    return table


def _tail(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log)"
