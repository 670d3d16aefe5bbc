"""`aftercare bench dispatch`: contacts that are claimed and handed to Twilio, against bare Celery tasks that make the same call; and what a due scan costs."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from statistics import median

from celery import Celery
from pydantic import BaseModel
from rich.console import Console
from sqlalchemy import bindparam, select, text, update
from sqlalchemy.orm import Session

from aftercare.bench import bare
from aftercare.bench.cohort import enroll_cohort, phone, seconds_until_taken, start_outreach, taken
from care.campaigns.schedule import due
from care.clock import service_clock
from care.settings import ROOT, settings
from care.storage.columns import UtcDateTime
from care.storage.engine import transaction
from care.storage.tables import Contact, Patient
from care.texts import scripted

_TURNS, _RECEIPTS_S = 3, 2.0
"""Each way is measured as often, in turn, so that a slow minute of the machine falls on both; between them the receipts come in."""
_progress = Console(stderr=True)


class DispatchBench(BaseModel):
    """Contacts a second of our service and of bare Celery tasks; milliseconds of the scan for what is due among few and among many enrollments."""

    database: str
    contacts: int
    ours_per_s: float
    bare_per_s: float
    ratio: float
    few: int
    few_ms: float
    many: int
    many_ms: float
    scan_ratio: float
    tick_growth_mb: float


def measure(contacts: int, many: int) -> DispatchBench:
    """Both ways in turn, on the service of this environment, then the scans."""
    _progress.print(f"enrolling {contacts} patients")
    enroll_cohort(contacts)
    each, ours_s, plain_s = contacts // _TURNS, 0.0, 0.0
    with _bare_workers():
        for turn in range(_TURNS):
            ours_s += _ours(range(turn * each, (turn + 1) * each))
            time.sleep(_RECEIPTS_S)
            plain_s += _bare(each)
            time.sleep(_RECEIPTS_S)
            _progress.print(f"{(turn + 1) * each / ours_s:.0f} contacts a second, {(turn + 1) * each / plain_s:.0f} bare tasks")
    ours, plain = _TURNS * each / ours_s, _TURNS * each / plain_s
    few = max(100, many // 100)
    _fill(few)
    few_ms = _scan_ms()
    _fill(many - few, start=few)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many_ms = _scan_ms()
    return DispatchBench(
        database=settings().database.partition(":")[0],
        contacts=_TURNS * each,
        ours_per_s=round(ours, 1),
        bare_per_s=round(plain, 1),
        ratio=round(ours / plain, 2),
        few=few,
        few_ms=round(few_ms, 2),
        many=many,
        many_ms=round(many_ms, 2),
        scan_ratio=round(many_ms / few_ms, 2),
        tick_growth_mb=round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1),
    )


def _ours(numbers: range) -> float:
    """Seconds from the moment they are due until the emulator has the words of each."""
    before, began = taken(), time.monotonic()
    start_outreach(numbers)
    return seconds_until_taken(before + len(numbers), began)


def _bare(number: int) -> float:
    body, before, began = scripted("consent_request", first_name="Pat"), taken(), time.monotonic()
    for each in range(number):
        bare.send.delay(phone(each), body)
    return seconds_until_taken(before + number, began)


@contextmanager
def _bare_workers() -> Iterator[None]:
    """As many as send for us, idle while ours are measured."""
    command = [sys.executable, "-m", "celery", "-A", "aftercare.bench.bare", "worker", "-n", "bare@%h", "-c", str(settings().sender_processes)]
    with _running([*command, "-l", "ERROR", "--without-mingle", "--without-gossip"]):
        app: Celery = bare.app
        while not app.control.ping(timeout=1):
            pass
        yield


@contextmanager
def _running(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr)  # noqa: S603 - its banner is no figure
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _fill(number: int, start: int = 0) -> None:
    """Enrollments with a contact each that is due in a month, written straight into the tables."""
    with transaction() as session:
        values = {"first": start, "last": start + number - 1, "due": service_clock().now() + timedelta(days=30)}
        campaign = session.scalar(text("SELECT id FROM campaigns"))
        series = "WITH RECURSIVE numbers(n) AS (SELECT CAST(:first AS INTEGER) UNION ALL SELECT n + 1 FROM numbers WHERE n < :last) "
        blank = (session.connection().dialect.name == "postgresql" and "'\\x'::bytea") or "x''"
        for table, columns, row in (
            (
                "patients",
                "id, reference, name, phone, phone_index, date_of_birth, language, timezone, created_at",
                f"'p' || n, 'scan-' || n, {blank}, {blank}, 'scan-' || n, {blank}, 'en', 'UTC', :due",
            ),
            (
                "enrollments",
                "id, campaign_id, patient_id, anchor, protocol_version, state, created_at",
                "'e' || n, :campaign, 'p' || n, '2026-01-01', '', 'active', :due",
            ),
            (
                "contacts",
                "id, enrollment_id, patient_id, protocol, step, kind, day, questions, due_at, not_after, next_at, state",
                "'c' || n, 'e' || n, 'p' || n, 'knee_replacement', 's', 'check_in', 1, '[]', :due, :due, :due, 'planned'",
            ),
        ):
            statement = f"INSERT INTO {table} ({columns}) {series} SELECT {row} FROM numbers"  # noqa: S608 - all of it stands here
            session.execute(text(statement).bindparams(bindparam("due", type_=UtcDateTime())), values | ({"campaign": campaign} if ":campaign" in row else {}))
    if settings().database.startswith("postgresql"):
        with transaction() as session:
            session.execute(text("ANALYZE contacts"))


def _scan_ms(times: int = 30) -> float:
    """What the claim of a tick takes with 50 contacts due, the median."""
    seconds = []
    with transaction() as session:
        now = service_clock().now()
        some = select(Contact.id).join(Patient, Patient.id == Contact.patient_id).where(Patient.reference.like("scan-%")).limit(50)
        session.execute(update(Contact).where(Contact.id.in_(some)).values(next_at=now - timedelta(minutes=1)))
        for _ in range(times):
            began = time.perf_counter()
            _claim(session)
            seconds.append(time.perf_counter() - began)
    return median(seconds) * 1000


def _claim(session: Session) -> None:
    if len(due(session, service_clock().now(), 500)) < 50:
        raise RuntimeError("the contacts that are due were not found")
    session.expire_all()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="aftercare.bench.dispatch")
    parser.add_argument("--contacts", type=int, required=True)
    parser.add_argument("--enrollments", type=int, required=True)
    given = parser.parse_args()
    print(measure(given.contacts, given.enrollments).model_dump_json(indent=1))
