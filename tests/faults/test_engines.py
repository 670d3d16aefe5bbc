"""An engine that fails, talks nonsense or hangs: the patient gets the safe reply, a person is told, and what was written is not lost.

The service of these tests runs on a database and a Redis that it is given: PostgreSQL, where the tests have one.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import count

import psutil
import pytest

from tests.conftest import Service, postgres_database, start_service
from tests.faults.proxy import FaultProxy
from tests.faults.storm import until

pytestmark = pytest.mark.timeout(600)
SAFE_REPLY, NORMAL = "Sorry, we cannot answer just now", "You are welcome"
WITHIN_S = 8 + 6  # the limit of an engine, and the way by SMS
_numbers = count(1)


@dataclass
class Engines:
    """A service whose encoder and model are reached through proxies that can fail."""

    service: Service
    nlu: FaultProxy
    vllm: FaultProxy

    def patient(self) -> str:
        """A consenting patient; the phone."""
        number = next(_numbers)
        phone = f"+1555030{number:04d}"
        options = ["--reference", f"e{number}", "--name", "Eve Example", "--phone", phone, "--date-of-birth", "1960-01-01", "--anchor", "2020-01-01"]
        assert self.service.run("campaign", "enroll", "Knee replacement (demo)", *options).returncode == 0
        self.service.agree(phone)
        return phone

    def escalations(self, phone: str) -> list[str]:
        """The reasons of the patient's escalations."""
        where = f"WHERE patient_id = (SELECT id FROM patients WHERE reference = 'e{int(phone[-4:])}')"
        return [str(reason) for (reason,) in self.service.sql(f"SELECT reason FROM escalations {where}")]

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """A process that hangs: it holds its connections and answers nothing."""
        pids = [child.pid for child in psutil.Process(self.service.processes()[name]).children(recursive=True)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def gone(self, name: str) -> Iterator[None]:
        """A process that is killed and that nothing brings back in the block."""
        guard = psutil.Process(self.service.processes()[name])
        guard.suspend()
        try:
            for child in reversed(guard.children(recursive=True)):
                child.kill()
            yield
        finally:
            guard.resume()


FAULTS = ["error", pytest.param("garbage", marks=pytest.mark.slow), pytest.param("empty", marks=pytest.mark.slow), "hang"]


@pytest.fixture(scope="module")
def engines(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    nlu, vllm = FaultProxy(service.url("NLU")), FaultProxy(service.url("VLLM"))
    for proxy in (nlu, vllm):
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
    home = tmp_path_factory.mktemp("engines")
    (home / "data").mkdir()
    shutil.copy(service.home / "data/keys.json", home / "data/keys.json")
    shutil.copytree(service.home / "models", home / "models")
    settings = {"AFTERCARE_NLU_URL": nlu.url, "AFTERCARE_VLLM_URL": vllm.url, "AFTERCARE_REDIS_URL": service.url("REDIS").replace("http", "redis") + "/1"}
    with (
        postgres_database() if os.environ.get("AFTERCARE_TEST_POSTGRES") else nullcontext("") as database,
        start_service(home, first_port=18180, AFTERCARE_DATABASE_URL=database, **settings) as running,
    ):
        yield Engines(running, nlu, vllm)
    nlu.shutdown()
    vllm.shutdown()


def _answered_safely_then_normally(engines: Engines, phone: str) -> None:
    """What must hold once the engine is back."""
    assert engines.escalations(phone).count("engine_failure") == 1
    engines.service.wait_for(phone, NORMAL)
    assert engines.service.received(phone).count(engines.service.wait_for(phone, SAFE_REPLY)) == 1
    where = f"patient_id = (SELECT id FROM patients WHERE reference = 'e{int(phone[-4:])}')"
    assert engines.service.sql(f"SELECT 1 FROM inbound WHERE state != 'handled' AND {where}") == []


@pytest.mark.parametrize("fault", FAULTS)
def test_an_encoder_that_fails(engines: Engines, fault: str) -> None:
    phone = engines.patient()
    with engines.nlu.failing(fault):
        engines.service.text(phone, "thank you so much")
        engines.service.wait_for(phone, SAFE_REPLY, WITHIN_S)
    _answered_safely_then_normally(engines, phone)


@pytest.mark.parametrize("name", ["rasa", "actions"])
def test_a_dialogue_that_hangs(engines: Engines, name: str) -> None:
    phone = engines.patient()
    with engines.stopped(name):
        engines.service.text(phone, "thank you so much")
        engines.service.wait_for(phone, SAFE_REPLY, WITHIN_S)
    _answered_safely_then_normally(engines, phone)


@pytest.mark.parametrize("name", ["rasa", "actions"])
def test_a_dialogue_that_is_gone(engines: Engines, name: str) -> None:
    phone = engines.patient()
    for child in reversed(psutil.Process(engines.service.processes()[name]).children(recursive=True)):
        child.kill()
    engines.service.text(phone, "thank you so much")
    engines.service.wait_for(phone, NORMAL, 180)
    where = f"patient_id = (SELECT id FROM patients WHERE reference = 'e{int(phone[-4:])}')"
    assert engines.service.sql(f"SELECT state FROM inbound WHERE {where} ORDER BY id DESC LIMIT 1") == [("handled",)]


@pytest.mark.parametrize("name", ["actions", "nlu"])
def test_what_stays_away_is_no_fault_of_the_message(engines: Engines, name: str) -> None:
    phone = engines.patient()
    where = f"patient_id = (SELECT id FROM patients WHERE reference = 'e{int(phone[-4:])}')"
    with engines.nlu.closed() if name == "nlu" else engines.gone(name):
        engines.service.text(phone, "thank you so much")
        engines.service.wait_for(phone, SAFE_REPLY, WITHIN_S)
        newest = f"SELECT state, attempts FROM inbound WHERE {where} ORDER BY id DESC LIMIT 1"
        until(lambda: engines.service.sql(newest) == [("accepted", 0)])  # a try that is on its way is counted until it is over
    engines.service.wait_for(phone, NORMAL, 180)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_fails_leaves_rules_encoder_and_a_person(engines: Engines, fault: str) -> None:
    phone = engines.patient()
    with engines.vllm.failing(fault):
        engines.service.text(phone, "my knee feels a bit odd since yesterday, sort of tight and warm")
        began = time.monotonic()
        while not engines.escalations(phone) and time.monotonic() - began < WITHIN_S:
            time.sleep(0.2)
    assert any(reason.startswith("triage_") for reason in engines.escalations(phone))
    assert len(engines.service.received(phone)) >= 2


def test_a_red_flag_is_warned_of_while_every_engine_hangs(engines: Engines) -> None:
    phone = engines.patient()
    with engines.nlu.failing("hang"), engines.vllm.failing("hang"), engines.stopped("rasa"), engines.stopped("actions"):
        engines.service.text(phone, "crushing chest pain")
        engines.service.wait_for(phone, "Call 911 now", 4)
        assert engines.escalations(phone) == ["red_flag"]
