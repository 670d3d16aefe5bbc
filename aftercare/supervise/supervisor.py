"""Keeps the processes running: starts them together, waits until each is ready, restarts what dies with back-off, stops all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from aftercare.supervise.specs import ProcessSpec, environment

log = structlog.get_logger()
_FIRST_WAIT_S, _LONGEST_WAIT_S, _HEALTHY_S = 0.5, 30.0, 60.0
_ASKED_EVERY_S, _SILENT_AFTER = 10.0, 2
"""A process that was ready is asked again so often; after so many failures in a row it counts as silent."""


@dataclass
class Watched:
    """A process and what is known of it."""

    spec: ProcessSpec
    process: subprocess.Popen[bytes] | None = None
    state: str = "starting"
    started: float = 0.0
    ready_after_s: float | None = None
    restarts: int = 0
    unanswered: int = 0
    wait_s: float = _FIRST_WAIT_S
    restart_at: float = 0.0


@dataclass
class Supervisor:
    """The processes of one machine. `state_file` always holds the newest picture."""

    specs: list[ProcessSpec]
    log_dir: Path
    state_file: Path
    extra: dict[str, object] = field(default_factory=dict)
    watched: list[Watched] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Starts every process, each with its own log file."""
        self.log_dir.mkdir(parents=True, exist_ok=True)
        self.state_file.parent.mkdir(parents=True, exist_ok=True)
        self.watched = [Watched(spec) for spec in self.specs]
        for each in self.watched:
            log = self.log_dir / f"{each.spec.name}.log"
            if log.exists():
                log.replace(log.with_suffix(".log.1"))
            self._spawn(each)

    def watch(self, on_change: Callable[[list[Watched]], None]) -> None:
        """Looks after the processes until `stop` is asked for; `on_change` is called after each look."""
        threading.Thread(target=self._ask_again, name="probes", daemon=True).start()
        while not self._stop.is_set():
            for each in self.watched:
                self._look_at(each)
            self._write_state()
            on_change(self.watched)
            self._stop.wait(0.5)

    @property
    def all_ready(self) -> bool:
        """Whether every process does its work."""
        return bool(self.watched) and all(each.state == "ready" for each in self.watched)

    def ask_to_stop(self) -> None:
        """Ends `watch`."""
        self._stop.set()

    def stop(self) -> None:
        """Ends every process with its children, the last started first."""
        for each in reversed(self.watched):
            if each.process and each.process.poll() is None:
                each.process.send_signal(signal.SIGTERM)
        for each in self.watched:
            if each.process:
                try:
                    each.process.wait(12)
                except subprocess.TimeoutExpired:
                    each.process.kill()
            each.state = "stopped"
        self.state_file.unlink(missing_ok=True)

    def _spawn(self, each: Watched) -> None:
        with (self.log_dir / f"{each.spec.name}.log").open("ab") as log:
            each.process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "aftercare.supervise.guard", *each.spec.argv],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment(each.spec),
                cwd=each.spec.cwd,
            )
        each.state, each.started, each.ready_after_s = "starting", time.monotonic(), None

    def _look_at(self, each: Watched) -> None:
        now = time.monotonic()
        if each.process is not None and each.process.poll() is not None:
            each.process, each.state = None, "restarting"
            each.restart_at = now + each.wait_s
            each.wait_s = min(each.wait_s * 2, _LONGEST_WAIT_S)
        if each.process is None:
            if now >= each.restart_at:
                each.restarts += 1
                self._spawn(each)
            return
        if each.state == "starting" and _is_ready(each.spec):
            each.state, each.ready_after_s = "ready", now - each.started
        if each.state == "ready" and now - each.started > _HEALTHY_S:
            each.wait_s = _FIRST_WAIT_S

    def _ask_again(self) -> None:
        """Tells those that still do their work from those that only run (hung, or cut off from what they need). In a thread: a probe may take seconds."""
        while not self._stop.wait(_ASKED_EVERY_S):
            for each in self.watched:
                process = each.process
                if each.state not in ("ready", "silent"):
                    each.unanswered = 0
                    continue
                each.unanswered = 0 if _is_ready(each.spec) else each.unanswered + 1
                state = "silent" if each.unanswered >= _SILENT_AFTER else "ready"
                if each.process is process and each.state in ("ready", "silent") and each.state != state:
                    each.state = state
                    log.warning("process_state", process=each.spec.name, state=state)

    def _write_state(self) -> None:
        processes = [
            {
                "name": e.spec.name,
                "state": e.state,
                "port": e.spec.port,
                "pid": e.process.pid if e.process else None,
                "restarts": e.restarts,
            }
            for e in self.watched
        ]
        part = self.state_file.with_suffix(".part")
        part.write_text(json.dumps({"supervisor": os.getpid(), "processes": processes, **self.extra}, indent=1))
        part.replace(self.state_file)


def _is_ready(spec: ProcessSpec) -> bool:
    """A probe that fails in a way it did not foresee means not ready: it takes no other process down with it."""
    try:
        return spec.ready()
    except Exception as error:
        log.warning("probe_failed", process=spec.name, error=type(error).__name__)
        return False
