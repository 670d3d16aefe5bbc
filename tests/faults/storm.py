"""A cohort of phones that write to a service under faults, and the ledger by which every message is judged."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import redis
from celery import Celery

from tests.conftest import Service
from tests.integration.test_service import webhook

ROOT = Path(__file__).parents[2]
RED_FLAG = "I have crushing chest pain"
_SAYS = ["thanks {}", "my knee is stiff today, {}", "is it ok to shower? {}", "maybe {}", "I slept badly, {} hours", "yes {}", "ok {}"]
_CAMPAIGN = "Knee replacement (demo)"
_prefixes = count(1)


class Cohort:
    """Patients whose protocol is long over, so that only what they write is answered."""

    def __init__(self, service: Service, size: int, folder: Path) -> None:
        self.service = service
        self._area = next(_prefixes)
        self.phones = [f"+155{self._area + 60:02d}{number:06d}" for number in range(size)]
        self.named = f"s{self._area}-%"
        self.ours = f"patient_id IN (SELECT id FROM patients WHERE reference LIKE '{self.named}')"
        lines = [f"s{self._area}-{number},Kay Example,{phone},1960-01-01,2020-01-01" for number, phone in enumerate(self.phones)]
        roster = folder / f"cohort-{self._area}.csv"
        roster.write_text("\n".join(["reference,name,phone,date_of_birth,anchor", *lines]))
        done = service.run("campaign", "import", _CAMPAIGN, str(roster))
        assert f"{size} enrolled, 0 problems" in done.stdout, done.stdout + done.stderr

    def write(self, messages: Sequence[tuple[str, str]], at_once: int = 4, over_s: float = 0) -> dict[tuple[str, str], datetime]:
        """Posts (phone, words) until each is acknowledged, in order for each phone, several phones at once, spread `over_s` seconds; when the last of each
        was acknowledged."""
        lanes: dict[int, list[tuple[float, str, str]]] = defaultdict(list)
        began, apart = time.monotonic(), over_s / max(len(messages), 1)
        for number, (phone, words) in enumerate(messages):
            lanes[self.phones.index(phone) % at_once].append((began + number * apart, phone, words))
        acknowledged: dict[tuple[str, str], datetime] = {}
        with ThreadPoolExecutor(at_once) as pool:
            for done in [pool.submit(self._write_all, lane) for lane in lanes.values()]:
                acknowledged |= done.result()
        return acknowledged

    def _write_all(self, lane: list[tuple[float, str, str]]) -> dict[tuple[str, str], datetime]:
        acknowledged = {}
        for at, phone, words in lane:
            time.sleep(max(0.0, at - time.monotonic()))
            deliver(self.service, words, phone)
            acknowledged[phone, words] = datetime.now(UTC)
        return acknowledged

    def count(self, table: str, where: str = "true") -> int:
        """How many rows of the cohort."""
        return int(self.service.sql(f"SELECT count(*) FROM {table} WHERE {where} AND {self.ours}")[0][0])

    def turns(self) -> list[tuple[float, float]]:
        """When each handled message was received, and when its turn ended, in seconds."""
        rows = "select(Inbound.received_at, Inbound.handled_at).where(Inbound.patient_id.in_(ours), Inbound.state == 'handled')"
        code = f"""
from sqlalchemy import select
from care.storage.tables import Inbound, Patient
ours = select(Patient.id).where(Patient.reference.like('{self.named}'))
answer = [(received.timestamp(), handled.timestamp()) for received, handled in session.execute({rows})]
"""
        return [(float(received), float(handled)) for received, handled in ask(self.service, code)]

    def settle(self, within_s: float = 300) -> None:
        """Waits until nothing of the cohort waits for a turn or to be sent."""
        waiting = ("inbound", "state IN ('stored', 'accepted')"), ("outbound", "channel = 'sms' AND state IN ('pending', 'sending', 'unknown')")
        until(lambda: not any(self.count(*each) for each in waiting), within_s)

    def check(self, written: int) -> None:
        """Every message stored once, handled and answered or set aside for a person who was told, and every reply at Twilio once and in the order written."""
        stored = self.service.sql(
            f"SELECT count(*), count(DISTINCT external_id) FROM inbound WHERE trigger IS NULL AND state NOT IN ('stored', 'accepted') AND {self.ours}"
        )
        assert stored == [(written, written)]
        assert self.count("inbound", "state = 'set_aside'") == self.count("escalations", "reason = 'set_aside'")
        answered = "SELECT inbound_id FROM outbound WHERE inbound_id IS NOT NULL"
        assert self.count("inbound", f"state = 'handled' AND trigger IS NULL AND id NOT IN ({answered})") == 0
        assert (
            self.service.sql(f"SELECT state, count(*) FROM outbound WHERE state NOT IN ('accepted', 'sent', 'delivered') AND {self.ours} GROUP BY state") == []
        )
        rows = self.service.sql(f"SELECT patient_id, external_id, reference FROM outbound WHERE channel = 'sms' AND {self.ours} ORDER BY id")
        wanted, got = defaultdict(list), defaultdict(list)
        patient_of = {reference: patient for patient, _, reference in rows}
        for patient, sid, _ in rows:
            wanted[patient].append(sid)
        for sid, callback in ledger(self.service, "SELECT sid, callback FROM messages WHERE direction = 'outbound-api' ORDER BY seq"):
            if (patient := patient_of.get(str(callback).rpartition("ref=")[2])) is not None:
                got[patient].append(sid)
        assert wanted == got


def deliver(service: Service, body: str, phone: str) -> None:
    """Posts the webhook until it is acknowledged, with one sid."""
    sid = f"SM{uuid4().hex}"
    for _ in range(1200):  # a process that is killed again and again is restarted ever more slowly
        try:
            if webhook(service, body, phone, sid).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError("the web process did not come back")


def ask(service: Service, code: str) -> Any:
    """Runs code with a `session` of the service's database; what it left in `answer`."""
    lines = ["import json", "from care.storage.engine import transaction", "answer = None", "with transaction() as session:"]
    lines += [f"    {line}" for line in code.strip().splitlines()] + ["print(json.dumps(answer))"]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], env=service.env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def faults(service: Service, *each: dict[str, object]) -> Iterator[None]:
    """The emulator has these faults in the block."""
    for fault in each:
        httpx.post(f"{service.phones}/faults", json=fault).raise_for_status()
    try:
        yield
    finally:
        httpx.delete(f"{service.phones}/faults").raise_for_status()


def ledger(service: Service, query: str) -> list[tuple[object, ...]]:
    """Reads what the emulator took."""
    with sqlite3.connect(service.home / "data/emulator.db") as database:
        return list(database.execute(query))


def kill(service: Service, name: str) -> None:
    """Kills the process behind a guard, with its children; the supervisor brings it back."""
    picture = json.loads((service.home / "run/state.json").read_text())
    pid = next((each["pid"] for each in picture["processes"] if each["name"] == name), None)
    if pid is None:
        return
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for child in reversed(children):
        try:
            os.kill(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def kill_one(service: Service, chance: random.Random) -> None:
    """Kills a process that is at work: to kill what is still starting harms nobody, and would keep the machine busy with starts alone."""
    while not (names := at_work(service)):
        time.sleep(0.5)
    kill(service, chance.choice(names))


def at_work(service: Service) -> list[str]:
    """The processes that are ready."""
    picture = json.loads((service.home / "run/state.json").read_text())
    return [each["name"] for each in picture["processes"] if each["state"] == "ready"]


@contextmanager
def again_and_again(harm: Callable[[], None], times: int, every_s: float, seed: int = 7) -> Iterator[None]:
    """Does harm so many times while the block runs, and is done with it when the block ends."""
    chance, failures = random.Random(seed), list[BaseException]()

    def work() -> None:
        try:
            for _ in range(times):
                time.sleep(chance.uniform(0.5, 1.5) * every_s)
                harm()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join()
    assert not failures, failures


def until(true: Callable[[], bool], within_s: float = 30) -> None:
    """Waits for it, and fails where it does not come."""
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.5)


def bells(service: Service) -> Celery:
    """The service's queues, as Celery sees them."""
    return Celery("test", broker=service.url("REDIS").replace("http", "redis"))


def broker(service: Service) -> redis.Redis:
    """The service's Redis."""
    return redis.Redis.from_url(service.url("REDIS").replace("http", "redis"))


@contextmanager
def process(service: Service, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """One more process of the service, in a group of its own."""
    running = subprocess.Popen([sys.executable, "-m", *command], env=service.env, cwd=ROOT, start_new_session=True)
    try:
        yield running
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGTERM)
        running.wait(30)


@contextmanager
def no_turns(service: Service) -> Iterator[None]:
    """The service's own worker takes no turn in the block."""
    control, node = bells(service).control, [f"worker@{os.uname().nodename}"]
    control.cancel_consumer("turns", reply=True, destination=node)
    try:
        yield
    finally:
        control.add_consumer("turns", reply=True, destination=node)


@contextmanager
def held(service: Service, name: str) -> Iterator[None]:
    """The process does nothing in the block."""
    members = [psutil.Process(service.processes()[name]), *psutil.Process(service.processes()[name]).children(recursive=True)]
    for each in members:
        each.suspend()
    try:
        yield
    finally:
        for each in members:
            with suppress(psutil.NoSuchProcess):  # the supervisor ended it meanwhile
                each.resume()


def not_ready(service: Service) -> set[str]:
    """The processes that do not do their work now, as `aftercare status` knows them."""
    picture = json.loads((service.home / "run/state.json").read_text())
    return {each["name"] for each in picture["processes"] if each["state"] != "ready"}


def small_talk(cohort: Cohort, number: int) -> list[tuple[str, str]]:
    """So many messages of no danger, from the cohort's phones in turn."""
    chance = random.Random(number)
    return [(cohort.phones[each % len(cohort.phones)], chance.choice(_SAYS).format(each)) for each in range(number)]


def age(service: Service, table: str, column: str, cohort: Cohort, **much: float) -> None:
    """Sets a time of the cohort's rows back."""
    code = f"""
from datetime import timedelta
from sqlalchemy import select, update
from care.storage.tables import {table}, Patient
mine = set(session.scalars(select(Patient.id).where(Patient.reference.like('{cohort.named}'))))
for row in session.scalars(select({table}).where({table}.patient_id.in_(mine))):
    row.{column} -= timedelta(**{much!r})
"""
    ask(service, code)


def warnings(service: Service) -> list[tuple[datetime, str]]:
    """When the emulator took each warning, and for which phone."""
    rows = ledger(service, "SELECT created, recipient, body FROM messages WHERE direction = 'outbound-api' ORDER BY seq")
    return [(datetime.fromisoformat(str(at)), str(phone)) for at, phone, body in rows if "Call 911" in str(body)]


def handed_to(service: Service, cohort: Cohort, words: str) -> list[tuple[int]]:
    """The places in the emulator's ledger of messages to the cohort that hold these words."""
    rows = ledger(service, "SELECT seq, recipient, body FROM messages WHERE direction = 'outbound-api'")
    return [(int(str(seq)),) for seq, phone, body in rows if phone in cohort.phones and words in str(body)]
