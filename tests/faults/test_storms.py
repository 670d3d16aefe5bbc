"""Storms (`make test-slow`): processes killed, Redis emptied, bells lost, Twilio failing, at a tenth of the sizes that RELIABILITY names. R-numbers are its rows.

No message may be lost, none answered twice, and each patient's order is kept.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import pytest
import redis
from celery import Celery
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from aftercare.bench.cohort import phone as phone_of_cohort
from care.messages.pace import Haste
from care.messages.sms_text import segments
from tests.conftest import Service, postgres_database, start_service
from tests.faults import plain_tasks
from tests.faults.storm import Cohort, again_and_again, kill, kill_one, ledger, until
from tests.integration.test_service import webhook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
SAYS = ["thanks {}", "my knee is stiff today, {}", "is it ok to shower? {}", "maybe {}", "I slept badly, {} hours", "yes {}", "ok {}"]
SCALE = int(os.environ.get("AFTERCARE_STORM_SCALE", "1"))
"""R-01 at 10 is its full size: 10,000 messages and 200 kills, most of an hour."""
RED_FLAG = "I have crushing chest pain"


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with (
        postgres_database() if os.environ.get("AFTERCARE_TEST_POSTGRES") else nullcontext("") as database,
        start_service(tmp_path_factory.mktemp("storm"), first_port=18380, AFTERCARE_DATABASE_URL=database, AFTERCARE_SMS_PER_SECOND="200") as running,
    ):
        yield running


def bells(service: Service) -> Celery:
    return Celery("test", broker=service.url("REDIS").replace("http", "redis"))


def broker(service: Service) -> redis.Redis:
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
    chance = random.Random(number)
    return [(cohort.phones[each % len(cohort.phones)], chance.choice(SAYS).format(each)) for each in range(number)]


@pytest.mark.timeout(7200)
def test_r01_any_process_killed(storm: Service, tmp_path: Path) -> None:
    cohort, chance = Cohort(storm, 50 * SCALE, tmp_path), random.Random(1)
    with again_and_again(lambda: kill_one(storm, chance), 20 * SCALE, every_s=10):
        cohort.write(small_talk(cohort, 1000 * SCALE))
    cohort.settle(240 * SCALE)
    cohort.check(1000 * SCALE)


def test_r02_senders_killed_at_full_speed(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 100, tmp_path)
    with again_and_again(lambda: kill(storm, "sender"), 20, every_s=3):
        cohort.write([(cohort.phones[each % 100], "HELP") for each in range(3000)])
    cohort.settle(400)
    cohort.check(3000)


def test_r02_plain_tasks_lose_some(storm: Service) -> None:
    """The control arm: if killing workers lost nothing here either, the test above could not see a loss."""
    url = storm.url("REDIS").replace("http", "redis") + "/5"
    done, chance, sent = redis.Redis.from_url(url), random.Random(3), 0
    environment = {**os.environ, "PLAIN_REDIS_URL": url}
    app = Celery("plain", broker=url)
    command = [sys.executable, "-m", "celery", "-A", "tests.faults.plain_tasks", "worker", "-c", "2", "-l", "CRITICAL", "--without-mingle", "--without-gossip"]
    for _ in range(100):
        for _ in range(500):
            app.send_task("plain.send", [sent], queue="celery")
            sent += 1
        before = done.scard(plain_tasks.DONE)
        worker = subprocess.Popen(command, env=environment, cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
        until(lambda before=before: done.scard(plain_tasks.DONE) > before)
        time.sleep(chance.uniform(0, 0.5))
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        if sent - done.scard(plain_tasks.DONE) - done.llen("celery") - done.hlen("unacked") > 0:
            break
    assert sent - done.scard(plain_tasks.DONE) - done.llen("celery") - done.hlen("unacked") > 0


def test_r03_every_contact_of_a_simulated_week_once_and_in_time(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aftercare", "simulate", "--patients", "50", "--days", "7", "--out", str(tmp_path)]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | {"AFTERCARE_HOME": str(ROOT / "var")}, capture_output=True, text=True, timeout=1500, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (tmp_path / "report.html").exists()


def test_r04_a_message_that_kills_its_process(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 21, tmp_path)
    app = bells(storm)
    app.control.cancel_consumer("turns", reply=True, destination=[f"worker@{os.uname().nodename}"])
    with process(storm, "celery", "-A", "tests.faults.poison", "worker", "-n", "poison@%h", "-Q", "turns", "-c", "2", "-l", "WARNING"):
        cohort.write([(cohort.phones[0], "POISON")] + [(phone, "thanks") for phone in cohort.phones[1:] for _ in range(5)])
        until(lambda: cohort.count("escalations", "reason = 'set_aside'") == 1, 300)
        cohort.settle(120)
    app.control.add_consumer("turns", reply=True, destination=[f"worker@{os.uname().nodename}"])
    assert cohort.count("inbound", "state = 'set_aside'") == 1
    assert cohort.count("inbound", "state = 'handled'") == 100


def test_r05_bells_nobody_knows(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 20, tmp_path)
    for _ in range(100):
        bells(storm).send_task("turns.run_renamed", [uuid4().hex], queue="turns")
    cohort.write([(phone, "thanks") for phone in cohort.phones])
    cohort.settle(120)
    cohort.check(20)
    assert not any(phone in storm.logs() for phone in cohort.phones)


def test_r06_connections_to_redis_cut(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 30, tmp_path)

    def cut() -> None:
        for kind in ("normal", "pubsub"):
            broker(storm).client_kill_filter(_type=kind, skipme=True)

    with again_and_again(cut, 10, every_s=5):
        cohort.write(small_talk(cohort, 300))
    cohort.settle(240)
    cohort.check(300)


def test_r07_three_beats_and_their_death(storm: Service) -> None:
    """Each occurrence once, however many schedulers run."""
    make = "from aftercare.bench.cohort import enroll_cohort, start_outreach; enroll_cohort(200); start_outreach()"
    beat = ("celery", "-A", "workers.app", "beat", "-l", "WARNING", "--pidfile=")
    with process(storm, *beat, "-s", str(storm.home / "run/beat-2")), process(storm, *beat, "-s", str(storm.home / "run/beat-3")):
        subprocess.run([sys.executable, "-c", make], env=storm.env, cwd=ROOT, check=True)
        kill(storm, "beat")
        whose = "patient_id IN (SELECT id FROM patients WHERE reference LIKE 'bench-%')"
        until(lambda: storm.sql(f"SELECT count(*) FROM outbound WHERE state = 'delivered' AND {whose}") == [(200,)], 120)
        time.sleep(10)
    assert storm.sql(f"SELECT count(*), count(DISTINCT patient_id) FROM outbound WHERE {whose}") == [(200, 200)]


def test_r07_a_scheduler_that_stands_still_is_seen(storm: Service) -> None:
    with held(storm, "beat"):
        until(lambda: "beat" in not_ready(storm), 90)
    until(lambda: "beat" not in not_ready(storm), 90)


def test_r10_redis_emptied(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 30, tmp_path)
    with again_and_again(lambda: broker(storm).flushall(), 20, every_s=3):
        cohort.write(small_talk(cohort, 1000))
    cohort.settle(600)
    cohort.check(1000)


def test_r14_webhooks_that_never_came(storm: Service, tmp_path: Path) -> None:
    """Twilio gives a webhook up when the web process is away: its list has the message."""
    cohort = Cohort(storm, 30, tmp_path)
    httpx.post(f"{storm.phones}/faults", json={"kind": "webhook_lost", "count": 30}).raise_for_status()
    for number, phone in enumerate(cohort.phones):
        storm.text(phone, RED_FLAG if number % 10 == 0 else "thanks")
    until(lambda: cohort.count("inbound") == 30, 120)
    assert cohort.count("escalations", "reason = 'red_flag'") == 3
    cohort.settle()
    cohort.check(30)


@pytest.mark.parametrize("seconds", [10, 60])
def test_r14_the_web_process_stands_still(storm: Service, tmp_path: Path, seconds: int) -> None:
    """Hours of it are in tests/integration/test_poller.py."""
    cohort = Cohort(storm, 10, tmp_path)
    with held(storm, "web"):
        for number, phone in enumerate(cohort.phones):
            storm.text(phone, RED_FLAG if number == 0 else "thanks")
        time.sleep(seconds)
    until(lambda: cohort.count("inbound") == 10, 120)
    cohort.settle()
    assert cohort.count("escalations", "reason = 'red_flag'") == 1
    cohort.check(10)


def test_r15_webhooks_delivered_up_to_five_times_at_once(storm: Service, tmp_path: Path) -> None:
    cohort, chance = Cohort(storm, 50, tmp_path), random.Random(15)
    posts = [(cohort.phones[each % 50], f"SM{uuid4().hex}") for each in range(500)]
    posts = [post for post in posts for _ in range(chance.randint(1, 5))]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda post: webhook(storm, "HELP", post[0], post[1]).status_code, posts))
    assert set(answers) == {200}
    cohort.settle(400)
    cohort.check(500)


def test_r17_accepted_and_no_answer(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 50, tmp_path)
    for number, phone in enumerate(cohort.phones[:15]):
        kind, count = ("slow", 1) if number % 5 == 0 else ("accepted_no_answer", 4)
        httpx.post(f"{storm.phones}/faults", json={"kind": kind, "to": phone, "count": count, "seconds": 12}).raise_for_status()
    with again_and_again(lambda: kill(storm, "sender"), 10, every_s=5):
        cohort.write([(cohort.phones[each % 50], "HELP") for each in range(500)])
    cohort.settle(900)
    cohort.check(500)


def test_r18_a_warning_does_not_wait_for_a_thousand_messages(storm: Service, tmp_path: Path) -> None:
    cohort, urgent = Cohort(storm, 100, tmp_path), Cohort(storm, 10, tmp_path)
    with held(storm, "sender"), held(storm, "worker"):  # both send
        cohort.write([(cohort.phones[each % 100], "HELP") for each in range(1000)])
        urgent.write([(phone, RED_FLAG) for phone in urgent.phones])
        until(lambda: urgent.count("inbound", "flagged = 'emergency'") == 10)  # read, so that the warnings wait beside the others
    urgent.settle()
    cohort.settle(400)
    last = max(seq for (seq,) in _handed_to(storm, urgent, "Call 911"))
    assert sum(seq > last for (seq,) in _handed_to(storm, cohort, "")) > 500, "the warnings waited for routine messages"
    cohort.check(1000)


def test_r18_no_number_sends_faster_than_twilio_passes_on(tmp_path: Path) -> None:
    """2,000 reminders due in one minute, ten numbers, and warnings among them that do not wait."""
    numbers, pace = [f"+1555010{number:04d}" for number in range(100, 110)], 4.0
    make = "from aftercare.bench.cohort import enroll_cohort, start_outreach; enroll_cohort(2000); start_outreach()"
    with (
        postgres_database() if os.environ.get("AFTERCARE_TEST_POSTGRES") else nullcontext("") as database,
        start_service(
            tmp_path,
            first_port=18480,
            AFTERCARE_DATABASE_URL=database,
            AFTERCARE_TWILIO_NUMBERS=",".join(numbers),
            AFTERCARE_SMS_PER_SECOND="10000",
            AFTERCARE_SMS_SEGMENTS_PER_SECOND=str(pace),
        ) as service,
    ):
        subprocess.run([sys.executable, "-c", make], env=service.env, cwd=ROOT, check=True)
        sent = "SELECT count(*) FROM messages WHERE direction = 'outbound-api'"
        until(lambda: int(str(ledger(service, sent)[0][0])) > 200, 120)
        for number in range(5):
            service.text(phone_of_cohort(number), RED_FLAG)
        until(lambda: service.sql("SELECT count(*) FROM outbound WHERE state <> 'delivered'") == [(0,)], 900)
        rows = ledger(service, "SELECT sender, body, created FROM messages WHERE direction = 'outbound-api' ORDER BY seq")
    places = [place for place, (_, body, _) in enumerate(rows) if "911" in str(body) and "Call 911" in str(body)]
    assert len(places) >= 5
    assert places[4] < len(rows) - 1000, "the warnings waited for routine messages"
    busy_until = dict.fromkeys(numbers, 0.0)
    for number, body, moment in rows:
        at = datetime.fromisoformat(str(moment)).timestamp()
        ahead = max(busy_until[str(number)] - at, 0.0)
        assert ahead <= Haste.ANSWER.value + 2, f"{ahead:.1f} seconds' worth lay at Twilio when another message came"
        busy_until[str(number)] = at + ahead + segments(str(body)).segments / pace


def test_r20_no_message_after_a_stop(storm: Service, tmp_path: Path) -> None:
    cohort, chance = Cohort(storm, 70, tmp_path), random.Random(20)
    talk = [(phone, words) for phone in cohort.phones for words in ["thanks", "is it ok to shower?"] * chance.randint(1, 2)]
    chance.shuffle(talk)
    for phone in cohort.phones:
        talk.insert(chance.randrange(len(talk)), (phone, "STOP"))
    cohort.write(talk)
    cohort.settle()
    query = (
        "SELECT o.sent_at, c.at FROM outbound o JOIN (SELECT patient_id, max(at) AS at FROM consents WHERE NOT granted GROUP BY patient_id) c"
        f" ON c.patient_id = o.patient_id WHERE o.external_id IS NOT NULL AND NOT o.compliance AND o.sent_at > c.at AND o.{cohort.ours}"
    )
    assert storm.sql(query) == []
    assert cohort.count("consents", "NOT granted") == 70
    assert cohort.count("outbound", "key = 'stop_confirmed'") == 70


def test_r21_red_flags_of_patients_who_opted_out(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 10, tmp_path)
    cohort.write([(phone, "STOP") for phone in cohort.phones])
    cohort.settle()
    sent = cohort.count("outbound")
    cohort.write([(phone, RED_FLAG) for phone in cohort.phones])
    cohort.settle()
    assert cohort.count("escalations", "reason = 'red_flag'") == 10
    assert cohort.count("outbound") == sent
    assert cohort.count("consents", "granted") == 0


def test_r24_ten_messages_at_once_to_each_conversation(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 20, tmp_path)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda each: webhook(storm, f"thanks {each // 20}", cohort.phones[each % 20]), range(200)))
    cohort.settle(240)
    cohort.check(200)
    turns = storm.sql(f"SELECT patient_id, id, handled_at FROM inbound WHERE {cohort.ours} ORDER BY id")
    for patient in {row[0] for row in turns}:
        ends = [row[2] for row in turns if row[0] == patient]
        assert ends == sorted(ends)


def test_twilio_fails_for_three_in_ten(storm: Service, tmp_path: Path) -> None:
    """Busy, broken, or silent after it took the message, by chance."""
    cohort = Cohort(storm, 50, tmp_path)
    for kind in ("429", "5xx", "accepted_no_answer"):
        httpx.post(f"{storm.phones}/faults", json={"kind": kind, "share": 0.1, "count": 100_000}).raise_for_status()
    cohort.write([(cohort.phones[each % 50], "HELP") for each in range(200)])
    until(lambda: cohort.count("outbound", "external_id IS NOT NULL") > 150, 300)
    httpx.delete(f"{storm.phones}/faults").raise_for_status()
    cohort.settle(900)
    cohort.check(200)


def test_r08_redis_is_full(storm: Service, tmp_path: Path) -> None:
    """Nothing more fits into Redis: messages are accepted all the same, `aftercare status` says what is not at work, and all is done when there is room."""
    cohort, full = Cohort(storm, 20, tmp_path), broker(storm)
    full.config_set("maxmemory", 1_000_000)
    try:
        cohort.write([(cohort.phones[each % 20], "thanks" if each % 10 else RED_FLAG) for each in range(100)])
        assert cohort.count("inbound", "trigger IS NULL") == 100
        until(lambda: cohort.count("escalations", "reason = 'red_flag'") == 2)  # the rules read a message after it is acknowledged
        until(lambda: "beat" in not_ready(storm), 90)
    finally:
        full.config_set("maxmemory", 0)
    cohort.settle(300)
    cohort.check(100)


def test_the_database_is_away_while_patients_write(storm: Service, tmp_path: Path) -> None:
    """As a restart of PostgreSQL looks to us: every connection is cut and for some seconds none is let in."""
    if not os.environ.get("AFTERCARE_TEST_POSTGRES"):
        pytest.skip("needs AFTERCARE_TEST_POSTGRES")
    cohort, name = Cohort(storm, 30, tmp_path), make_url(storm.env["AFTERCARE_DATABASE_URL"]).database
    admin = create_engine(make_url(os.environ["AFTERCARE_TEST_POSTGRES"]).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")

    def restart() -> None:
        with admin.connect() as connection:
            connection.execute(text(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"))
            connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name})
            time.sleep(3)
            connection.execute(text(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true"))

    with again_and_again(restart, 3, every_s=10):
        cohort.write(small_talk(cohort, 200))
    cohort.settle(400)
    cohort.check(200)


def _handed_to(service: Service, cohort: Cohort, words: str) -> list[tuple[int]]:
    """The places in the emulator's ledger of messages to the cohort that hold these words."""
    rows = ledger(service, "SELECT seq, recipient, body FROM messages WHERE direction = 'outbound-api'")
    return [(int(str(seq)),) for seq, phone, body in rows if phone in cohort.phones and words in str(body)]
