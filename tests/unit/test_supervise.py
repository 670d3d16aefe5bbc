"""The supervisor: what dies comes back, and nothing is left behind, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from aftercare.supervise.specs import ProcessSpec
from aftercare.supervise.supervisor import Supervisor, Watched

ROOT = Path(__file__).parents[2]
# Each child has a child of its own, as vLLM and Celery have.
_SUPERVISOR = textwrap.dedent("""
    import signal, sys
    from pathlib import Path
    from aftercare.supervise.specs import ProcessSpec
    from aftercare.supervise.supervisor import Supervisor

    home = Path(sys.argv[1])
    child = [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(600)'])"]
    supervisor = Supervisor([ProcessSpec("one", child, lambda: True), ProcessSpec("two", child, lambda: True)], home / "logs", home / "state.json")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.ask_to_stop())
    supervisor.start()
    try:
        supervisor.watch(lambda watched: print(*(f"{w.spec.name}:{w.state}:{w.process.pid if w.process else 0}" for w in watched), flush=True))
    finally:
        supervisor.stop()
""")


class Run:
    """A supervisor of two processes, each with a child."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", _SUPERVISOR, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        while len(self.family()) < 6:  # two guards, two processes, their children
            time.sleep(0.05)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    run = Run(tmp_path)
    family = run.family()
    run.process.send_signal(number)
    run.process.wait(20)
    gone, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    assert len(gone) == 6


def test_a_process_that_dies_comes_back(tmp_path: Path) -> None:
    run = Run(tmp_path)
    before = {process.pid for process in run.family()}
    guard = psutil.Process(run.process.pid).children()[0]
    os.kill(guard.children()[0].pid, signal.SIGKILL)
    psutil.wait_procs([guard], timeout=10)
    while len(run.family()) < 6:
        time.sleep(0.05)
    assert len({process.pid for process in run.family()} - before) == 3
    run.process.terminate()
    run.process.wait(20)


def test_a_probe_that_fails_takes_nothing_down(tmp_path: Path) -> None:
    def fails() -> bool:
        raise LookupError

    child = [sys.executable, "-c", "import time; time.sleep(600)"]
    supervisor = Supervisor([ProcessSpec("odd", child, fails), ProcessSpec("even", child, lambda: True)], tmp_path / "logs", tmp_path / "state.json")
    looks: list[list[str]] = []

    def look(watched: list[Watched]) -> None:
        looks.append([each.state for each in watched])
        if len(looks) == 3:
            supervisor.ask_to_stop()

    supervisor.start()
    try:
        supervisor.watch(look)
    finally:
        supervisor.stop()
    assert looks == [["starting", "ready"]] * 3


def test_a_process_that_runs_and_does_nothing_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aftercare.supervise.supervisor._ASKED_EVERY_S", 0.05)
    works = True
    child = [sys.executable, "-c", "import time; time.sleep(600)"]
    supervisor = Supervisor([ProcessSpec("hangs", child, lambda: works)], tmp_path / "logs", tmp_path / "state.json")
    seen: list[str] = []

    def look(watched: list[Watched]) -> None:
        nonlocal works
        if not seen or seen[-1] != watched[0].state:
            seen.append(watched[0].state)
        works = watched[0].state == "silent"
        if seen.count("ready") == 2:
            supervisor.ask_to_stop()

    supervisor.start()
    works = True
    try:
        supervisor.watch(look)
    finally:
        supervisor.stop()
    assert seen[-3:] == ["ready", "silent", "ready"]
