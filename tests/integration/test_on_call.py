"""While an emergency waits that nobody has taken, a person outside the console is called, and called again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from care.acuity import Acuity
from care.clock import ManualClock
from care.escalations.service import TIME_TO_ACT, Cause, acknowledge, raise_escalation
from care.settings import settings
from care.storage.engine import transaction
from tests.conftest import add_patient
from workers import upkeep

pytestmark = pytest.mark.usefixtures("database")


@dataclass
class Pager:
    """Where calls arrive; refuses them while `status` is not 200."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200


@pytest.fixture
def pager(monkeypatch: pytest.MonkeyPatch, clock: ManualClock) -> Iterator[Pager]:
    kept = Pager()

    class Takes(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if kept.status == 200:
                kept.calls.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(kept.status)
            self.end_headers()

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Takes)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AFTERCARE_ALERT_URL", f"http://127.0.0.1:{server.server_address[1]}/")
    monkeypatch.setattr(upkeep, "service_clock", lambda: clock)
    settings.cache_clear()
    yield kept
    server.shutdown()
    settings.cache_clear()


def raised(clock: ManualClock, number: int, acuity: Acuity) -> int:
    patient = add_patient(number)
    with transaction() as session:
        escalation = raise_escalation(session, patient, Cause(f"test:{number}", "red_flag", acuity, "crushing chest pain"), clock.now())
        assert escalation is not None
        return escalation.id


def look(clock: ManualClock, minutes: float = 0) -> None:
    clock.advance(timedelta(minutes=minutes))
    upkeep.call_person()


def test_an_emergency_is_called_for_at_once_and_again_until_somebody_takes_it(pager: Pager, clock: ManualClock) -> None:
    look(clock)
    assert pager.calls == []
    first = raised(clock, 1, Acuity.EMERGENCY)
    look(clock, 1)
    look(clock, 1)
    assert [each["emergencies"] for each in pager.calls] == [1]
    second = raised(clock, 2, Acuity.EMERGENCY)  # a new one does not wait for the next round
    look(clock, 1)
    look(clock, 5)
    assert [(each["emergencies"], each["oldest_minutes"]) for each in pager.calls] == [(1, 1), (2, 3), (2, 8)]
    with transaction() as session:
        for escalation in (first, second):
            acknowledge(session, escalation, "nurse", clock.now())
    look(clock, 60)
    assert len(pager.calls) == 3


def test_a_call_says_nothing_of_the_patient(pager: Pager, clock: ManualClock) -> None:
    raised(clock, 1, Acuity.EMERGENCY)
    look(clock, 1)
    said = json.dumps(pager.calls)
    assert "/console" in said
    assert not [word for word in ("chest", "Pat1", "+1555", "ref-1") if word in said]


def test_an_urgent_case_is_called_for_once_it_is_overdue(pager: Pager, clock: ManualClock) -> None:
    raised(clock, 1, Acuity.URGENT)
    raised(clock, 2, Acuity.ROUTINE)
    look(clock, 1)
    assert pager.calls == []
    clock.advance(TIME_TO_ACT[Acuity.URGENT])
    look(clock)
    assert [(each["emergencies"], each["overdue"]) for each in pager.calls] == [(0, 1)]


def test_a_call_that_was_not_taken_is_made_again(pager: Pager, clock: ManualClock) -> None:
    raised(clock, 1, Acuity.EMERGENCY)
    pager.status = 500
    look(clock)
    pager.status = 200
    look(clock, 0.25)
    assert len(pager.calls) == 1
