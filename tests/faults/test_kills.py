"""Every process is killed while patients write: each message is handled once, each reply sent once and in order."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections import defaultdict
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.conftest import Service
from tests.integration.test_service import settled, webhook

pytestmark = pytest.mark.timeout(900)
MESSAGES, PATIENTS, BETWEEN_KILLS = 200, 20, 17
_SAYS = ["thanks {}", "my knee is stiff today, {}", "is it ok to shower? {}", "maybe {}", "I slept badly, {} hours", "yes {}", "ok {}"]


def test_killed_processes_lose_nothing_and_say_nothing_twice(service: Service, tmp_path: Path) -> None:
    chance = random.Random(11)
    _enroll(service, tmp_path / "cohort.csv")
    victims = list(service.processes())
    assert len(victims) == 10
    chance.shuffle(victims)
    for number in range(MESSAGES):
        _deliver(service, chance.choice(_SAYS).format(number), _phone(number % PATIENTS))
        if number % BETWEEN_KILLS == 3 and victims:
            _kill(service, victims.pop())
    assert not victims
    settled(service, 300)
    _sent(service, 240)
    rows = service.sql("SELECT id, patient_id, external_id, state FROM outbound WHERE channel = 'sms' ORDER BY id")
    sent = [row for row in rows if row[2]]
    assert len({row[2] for row in sent}) == len(sent)
    ours = "patient_id IN (SELECT id FROM patients WHERE reference LIKE 'k%')"
    assert service.sql(f"SELECT count(*), count(DISTINCT external_id) FROM inbound WHERE state NOT IN ('stored', 'accepted') AND {ours}") == [
        (MESSAGES, MESSAGES)
    ]
    assert service.sql(f"SELECT state, count(*) FROM outbound WHERE state NOT IN ('accepted', 'sent', 'delivered') AND {ours} GROUP BY state") == []
    wanted, got = _orders(service, sent)
    assert wanted == got


def _phone(number: int) -> str:
    return f"+1555020{number:04d}"


def _enroll(service: Service, roster: Path) -> None:
    lines = [f"k{number},Kay{number} Example,{_phone(number)},1960-01-01,2020-01-01" for number in range(PATIENTS)]
    roster.write_text("\n".join(["reference,name,phone,date_of_birth,anchor", *lines]))
    done = service.run("campaign", "import", "Knee replacement (demo)", str(roster))
    assert f"{PATIENTS} enrolled, 0 problems" in done.stdout, done.stdout + done.stderr


def _deliver(service: Service, body: str, phone: str) -> None:
    """Posts the webhook until it is acknowledged, with one sid."""
    sid = f"SM{uuid4().hex}"
    for _ in range(120):
        try:
            if webhook(service, body, phone, sid).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError("the web process did not come back")


def _kill(service: Service, name: str) -> None:
    """Kills the process behind a guard, with its children."""
    pid = service.processes()[name]
    if pid is not None:
        for child in reversed(psutil.Process(pid).children(recursive=True)):
            os.kill(child.pid, signal.SIGKILL)


def _sent(service: Service, within_s: float) -> None:
    end = time.monotonic() + within_s
    while waiting := service.sql("SELECT id, state FROM outbound WHERE channel = 'sms' AND state IN ('pending', 'sending', 'unknown')"):
        assert time.monotonic() < end, f"not sent: {waiting}"
        time.sleep(1)


def _orders(service: Service, sent: list[tuple[object, ...]]) -> tuple[dict[object, list[object]], dict[object, list[object]]]:
    """Each patient's messages as they were written, and as the emulator took them."""
    with sqlite3.connect(service.home / "data/emulator.db") as ledger:
        taken = [row[0] for row in ledger.execute("SELECT sid FROM messages WHERE direction = 'outbound-api' ORDER BY seq")]
    patient_of: dict[object, object] = {row[2]: row[1] for row in sent}
    assert set(taken) <= set(patient_of), "the emulator holds messages that we do not know of"
    wanted: dict[object, list[object]] = defaultdict(list)
    got: dict[object, list[object]] = defaultdict(list)
    for row in sent:
        wanted[row[1]].append(row[2])
    for sid in taken:
        got[patient_of[sid]].append(sid)
    return wanted, got
