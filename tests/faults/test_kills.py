"""Every process is killed while patients write: each message is handled once, each reply sent once and in order."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict

import psutil
import pytest

from tests.conftest import Service
from tests.integration.test_service import settled, webhook

MESSAGES, PATIENTS = 40, 5


def test_killed_processes_lose_nothing_and_say_nothing_twice(service: Service) -> None:
    chance = random.Random(11)
    for number in range(PATIENTS):
        options = [
            "--reference",
            f"k{number}",
            "--name",
            f"Kay{number}",
            "--phone",
            f"+1555020{number:04d}",
            "--date-of-birth",
            "1960-01-01",
            "--anchor",
            "2020-01-01",
        ]
        assert service.run("campaign", "enroll", "Knee replacement (demo)", *options).returncode == 0
    victims = ["worker", "rasa", "actions", "beat", "redis", "nlu"]
    for number in range(MESSAGES):
        while True:
            try:
                answer = webhook(service, f"thanks {number}", f"+1555020{number % PATIENTS:04d}")
            except OSError:
                time.sleep(0.5)
                continue
            assert answer.status_code == 200
            break
        if number % 7 == 3 and victims:
            _kill(service.processes()[victims.pop(chance.randrange(len(victims)))])
        time.sleep(0.1)
    settled(service, 180)
    end = time.monotonic() + 180
    while service.sql("SELECT 1 FROM outbound WHERE channel = 'sms' AND state IN ('pending', 'sending', 'unknown')") and time.monotonic() < end:
        time.sleep(1)
    rows = service.sql("SELECT id, patient_id, external_id, state FROM outbound WHERE channel = 'sms' ORDER BY id")
    assert not [row for row in rows if row[3] in ("pending", "sending", "unknown")]
    sent = [row for row in rows if row[2]]
    assert len({row[2] for row in sent}) == len(sent)
    handled = service.sql("SELECT count(*) FROM inbound WHERE state != 'accepted' AND patient_id IN (SELECT id FROM patients WHERE reference LIKE 'k%')")
    assert handled == [(MESSAGES,)]
    assert _order_kept(service, sent)


def _order_kept(service: Service, sent: list[tuple[object, ...]]) -> bool:
    """Whether the emulator took each patient's messages in the order in which they were written, each once."""
    import sqlite3

    with sqlite3.connect(service.home / "data/emulator.db") as ledger:
        taken = [row[0] for row in ledger.execute("SELECT sid FROM messages WHERE direction = 'outbound-api' ORDER BY seq")]
    patient_of, wanted, got = {row[2]: row[1] for row in sent}, defaultdict(list), defaultdict(list)
    for row in sent:
        wanted[row[1]].append(row[2])
    for sid in taken:
        assert sid in patient_of, "the emulator holds a message that we do not know of"
        got[patient_of[sid]].append(sid)
    return wanted == got


def _kill(guard: int) -> None:
    """Kills the process behind a guard, with its children."""
    for child in reversed(psutil.Process(guard).children(recursive=True)):
        os.kill(child.pid, signal.SIGKILL)


pytestmark = pytest.mark.timeout(600)
