"""Storms (`make test-slow`): processes killed, Redis emptied, bells lost, Twilio failing. R-numbers are those of docs/operations.md.

No message may be lost, none answered twice, and each patient's order is kept.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import pytest
import redis
from celery import Celery
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.conftest import Service, postgres_database, start_service
from tests.faults import plain_tasks
from tests.faults.storm import (
    RED_FLAG,
    ROOT,
    Cohort,
    again_and_again,
    ask,
    bells,
    broker,
    held,
    kill,
    kill_one,
    ledger,
    no_turns,
    not_ready,
    process,
    small_talk,
    until,
)
from tests.integration.test_service import webhook

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SCALE = int(os.environ.get("AFTERCARE_STORM_SCALE", "1"))
"""R-01 at 10 is its full size: 10,000 messages and 200 kills, most of an hour."""


@pytest.mark.timeout(7200)
def test_r01_any_process_killed(storm: Service, tmp_path: Path) -> None:
    cohort, chance = Cohort(storm, 50 * SCALE, tmp_path), random.Random(1)
    with again_and_again(lambda: kill_one(storm, chance), 20 * SCALE, every_s=20):
        cohort.write(small_talk(cohort, 1000 * SCALE), over_s=380 * SCALE)
    cohort.settle(120)
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


def test_r03_reminders_once_and_within_a_minute_though_every_bell_is_handed_out_again(tmp_path: Path) -> None:
    """500 reminders due over 24 minutes of the service's time, of which four pass in one; three workers, and a broker that waits ten seconds for the end of a task."""
    plan = """
from datetime import timedelta
from sqlalchemy import select, update
from care.clock import service_clock
from care.storage.tables import Contact, Patient
begins = service_clock().now() + timedelta(minutes=2)
of_cohort = select(Contact).join(Patient, Patient.id == Contact.patient_id).where(Patient.reference.like("bench-%"))
day = session.scalar(of_cohort.with_only_columns(Contact.day).order_by(Contact.due_at).limit(1))
first = session.scalars(of_cohort.with_only_columns(Contact.id).where(Contact.day == day)).all()
for number, contact in enumerate(first):
    due = begins + timedelta(minutes=24) * number / len(first)
    session.execute(update(Contact).where(Contact.id == contact).values(due_at=due, next_at=due, not_after=due + timedelta(hours=1)))
answer = len(first)
"""
    judge = """
from sqlalchemy import select
from care.storage.tables import Contact, Outbound, Patient
sent = select(Contact.id, Contact.due_at, Outbound.sent_at).join(Outbound, Outbound.contact_id == Contact.id)
rows = session.execute(sent.join(Patient, Patient.id == Contact.patient_id).where(Patient.reference.like("bench-%"))).all()
answer = [(contact, (sent - due).total_seconds()) for contact, due, sent in rows]
"""
    hasty = ("celery", "-A", "tests.faults.hasty", "worker", "-Q", "warnings,sms,campaigns,upkeep", "-c", "1", "-l", "WARNING")
    with (
        postgres_database() if os.environ.get("AFTERCARE_TEST_POSTGRES") else nullcontext("") as database,
        start_service(tmp_path, first_port=18580, AFTERCARE_DATABASE_URL=database, AFTERCARE_CLOCK_SPEED="4", AFTERCARE_SMS_PER_SECOND="200") as service,
        process(service, *hasty, "-n", "hasty-1@%h"),
        process(service, *hasty, "-n", "hasty-2@%h"),
    ):
        subprocess.run([sys.executable, "-c", "from aftercare.bench.cohort import enroll_cohort; enroll_cohort(500)"], env=service.env, cwd=ROOT, check=True)
        assert ask(service, plan) == 500
        whose = "patient_id IN (SELECT id FROM patients WHERE reference LIKE 'bench-%')"
        until(lambda: service.sql(f"SELECT count(DISTINCT contact_id) FROM outbound WHERE state = 'delivered' AND {whose}") == [(500,)], 900)
        time.sleep(15)  # what is handed out again is handed out now
        sent = ask(service, judge)
        taken = ledger(service, "SELECT count(*) FROM messages WHERE direction = 'outbound-api' AND recipient LIKE '+1556%'")
    texts = Counter(contact for contact, _ in sent)
    assert len(texts) == 500
    assert len(set(texts.values())) == 1, "a reminder was said twice"
    assert taken == [(len(sent),)]
    assert all(0 <= late_s <= 60 for _, late_s in sent), max(late_s for _, late_s in sent)


def test_r04_a_message_that_kills_its_process(storm: Service, tmp_path: Path) -> None:
    """The others are hardly held up: as in a calm wave before, but for five seconds."""
    calm, cohort = Cohort(storm, 20, tmp_path), Cohort(storm, 21, tmp_path)
    with no_turns(storm), process(storm, "celery", "-A", "tests.faults.poison", "worker", "-n", "poison@%h", "-Q", "turns", "-c", "2", "-l", "WARNING"):
        calm.write([(phone, "thanks") for _ in range(5) for phone in calm.phones], over_s=60)
        calm.settle(120)
        cohort.write([(cohort.phones[0], "POISON")] + [(phone, "thanks") for _ in range(5) for phone in cohort.phones[1:]], over_s=60)
        until(lambda: cohort.count("escalations", "reason = 'set_aside'") == 1, 300)
        cohort.settle(120)
    assert storm.sql(f"SELECT attempts FROM inbound WHERE state = 'set_aside' AND {cohort.ours}") == [(3,)]
    assert cohort.count("inbound", "state = 'handled'") == 100
    cohort.check(101)
    slowest, slowest_in_calm = (sorted(handled - received for received, handled in each.turns())[98] for each in (cohort, calm))
    assert slowest - slowest_in_calm <= 5


def test_r05_bells_nobody_knows(storm: Service, tmp_path: Path) -> None:
    """As after a deployment that named the task anew: the bells that wait are thrown away, and the log says so; the sweep rings again."""
    cohort, queue = Cohort(storm, 20, tmp_path), broker(storm)
    with no_turns(storm):
        cohort.write([(phone, "thanks a lot") for phone in cohort.phones for _ in range(5)])
        until(lambda: cohort.count("inbound", "state = 'accepted'") == 100 and queue.llen("turns") > 0)
        waiting = queue.lrange("turns", 0, -1)
        queue.delete("turns")
        renamed = [bell.replace(b'"turns.run', b'"turns.renamed') for bell in waiting]
        assert all(b"turns.renamed" in bell for bell in renamed)
        queue.rpush("turns", *renamed)
        for _ in range(100 - len(renamed)):
            bells(storm).send_task("turns.renamed", [uuid4().hex], queue="turns")
    until(lambda: "turns.renamed" in storm.logs(), 60)
    cohort.settle(120)
    cohort.check(100)
    assert not any(words in storm.logs() for words in (*cohort.phones, "Kay Example", "thanks a lot"))


def test_r06_connections_to_redis_cut(storm: Service, tmp_path: Path) -> None:
    """In turn every connection is cut, and Redis answers nothing for longer than our clients wait: turns go on within 45 seconds, and nobody has to help."""
    cohort, harms = Cohort(storm, 30, tmp_path), iter(range(10))

    def cut() -> None:
        if next(harms) % 2:
            broker(storm).client_pause(11_000, all=True)
        else:
            for kind in ("normal", "pubsub"):
                broker(storm).client_kill_filter(_type=kind, skipme=True)

    with again_and_again(cut, 10, every_s=18):
        cohort.write(small_talk(cohort, 360), over_s=180)
    cohort.settle(120)
    cohort.check(360)
    handled = sorted(at for _, at in cohort.turns())
    assert max(later - earlier for earlier, later in pairwise(handled)) <= 45


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


def test_r07_a_scheduler_that_stands_still_is_seen_and_catches_up_with_what_is_still_worth_it(storm: Service) -> None:
    """Twenty contacts come due while nobody keeps the clock; of ten the time is over when it goes on."""
    make = """
from datetime import date, timedelta
from sqlalchemy import select, update
from aftercare.demo import waking_zone
from care.campaigns.service import create_campaign, enroll
from care.clock import service_clock
from care.patients.model import NewPatient
from care.storage.tables import Contact
now = service_clock().now()
campaign = create_campaign(session, "still", "knee_replacement", now)
for number in range(20):
    given = dict(name="Pat Still", date_of_birth=date(1960, 1, 1), timezone=waking_zone(now.hour), anchor=now.date() - timedelta(days=1))
    patient = enroll(session, campaign, NewPatient(reference=f"still-{number}", phone=f"+1554{number:07d}", **given), now).patient_id
    first = session.scalars(select(Contact.id).where(Contact.patient_id == patient).order_by(Contact.due_at).limit(1)).one()
    session.execute(update(Contact).where(Contact.patient_id == patient).values(next_at=None))
    until = now + (timedelta(hours=3) if number < 10 else timedelta(seconds=40))
    session.execute(update(Contact).where(Contact.id == first).values(due_at=now, next_at=now, not_after=until))
"""
    whose = "patient_id IN (SELECT id FROM patients WHERE reference LIKE 'still-%')"
    with held(storm, "beat"):
        time.sleep(5)  # what it had asked for is done
        began = time.monotonic()
        ask(storm, make)
        until(lambda: "beat" in not_ready(storm), 60)
        time.sleep(max(0.0, began + 60 - time.monotonic()))
        assert storm.sql(f"SELECT count(*) FROM outbound WHERE {whose}") == [(0,)]
    until(lambda: "beat" not in not_ready(storm), 90)
    until(lambda: storm.sql(f"SELECT count(*), count(DISTINCT patient_id) FROM outbound WHERE state = 'delivered' AND {whose}") == [(10, 10)], 60)
    assert storm.sql(f"SELECT count(*) FROM contacts WHERE skipped_because = 'stale' AND {whose}") == [(10,)]


def test_r10_redis_emptied_and_set_back(storm: Service, tmp_path: Path) -> None:
    """Emptied, or, as after a failover, as it was two seconds before: every turn goes on from the dialogue's state after the one before."""
    cohort, harms = Cohort(storm, 30, tmp_path), iter(range(20))

    def harm() -> None:
        redis_now, keys = broker(storm), dict[bytes, bytes]()
        if set_back := next(harms) % 2 == 1:
            keys = {key: kept for key in redis_now.scan_iter() if (kept := redis_now.dump(key)) is not None}
            time.sleep(2)
        redis_now.flushall()
        for key, kept in keys.items() if set_back else ():
            redis_now.restore(key, 0, kept, replace=True)

    with again_and_again(harm, 20, every_s=3):
        cohort.write(small_talk(cohort, 1000))
    cohort.settle(600)
    cohort.check(1000)
    assert storm.sql(f"SELECT sum(dialogue_version) FROM conversations WHERE {cohort.ours}") == [(cohort.count("inbound", "state = 'handled'"),)]


def test_r24_ten_messages_at_once_to_each_conversation(storm: Service, tmp_path: Path) -> None:
    cohort = Cohort(storm, 20, tmp_path)
    more = ("celery", "-A", "workers.app", "worker", "-n", "more@%h", "-Q", "turns", "-c", "2", "-l", "WARNING")
    with process(storm, *more), ThreadPoolExecutor(20) as pool:  # four turn processes
        list(pool.map(lambda each: webhook(storm, f"thanks {each // 20}", cohort.phones[each % 20]), range(200)))
        cohort.settle(240)
    cohort.check(200)
    assert storm.sql(f"SELECT DISTINCT dialogue_version FROM conversations WHERE {cohort.ours}") == [(10,)], "two turns began from one state"
    turns = storm.sql(f"SELECT patient_id, id, handled_at FROM inbound WHERE {cohort.ours} ORDER BY id")
    for patient in {row[0] for row in turns}:
        ends = [row[2] for row in turns if row[0] == patient]
        assert ends == sorted(ends)


def test_r08_redis_is_full(storm: Service, tmp_path: Path) -> None:
    """Nothing more fits into Redis: messages are accepted all the same, `aftercare status` says what is not at work, and all is done when there is room."""
    cohort, full = Cohort(storm, 20, tmp_path), broker(storm)
    full.config_set("maxmemory", 1_000_000)
    try:
        cohort.write([(cohort.phones[each % 20], "thanks" if each % 10 else RED_FLAG) for each in range(100)])
        assert cohort.count("inbound", "trigger IS NULL") == 100
        until(lambda: cohort.count("escalations", "reason = 'red_flag'") == 2)  # the rules read a message after it is acknowledged
        until(lambda: "beat" in not_ready(storm), 60)
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
