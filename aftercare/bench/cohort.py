"""The patients that a benchmark writes to, and when their messages have reached the emulator."""

from __future__ import annotations

import sqlite3
import time
from datetime import date, timedelta

from sqlalchemy import select, update

from aftercare.demo import waking_zone
from care.campaigns.service import create_campaign, enroll
from care.clock import service_clock
from care.patients.model import NewPatient
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Contact, Patient

_LONGEST_S = 600.0


def enroll_cohort(number: int) -> None:
    """Patients whose first contact, the request for consent, waits for `start_outreach`."""
    now = service_clock().now()
    with transaction() as session:
        campaign = create_campaign(session, "bench", "knee_replacement", now)
        for each in range(number):
            new = NewPatient(
                reference=_reference(each),
                name="Pat Bench",
                phone=phone(each),
                date_of_birth=date(1960, 1, 1),
                timezone=waking_zone(now.hour),
                anchor=now.date() - timedelta(days=1),
            )
            enroll(session, campaign, new, now)
        session.execute(update(Contact).values(next_at=None))


def start_outreach(numbers: range | None = None) -> None:
    """Makes each patient's first contact due now, or those of some of the cohort."""
    with transaction() as session:
        first = select(Contact.id).where(Contact.day == session.scalar(select(Contact.day).order_by(Contact.due_at).limit(1)))
        if numbers is not None:
            first = first.join(Patient, Patient.id == Contact.patient_id).where(Patient.reference.in_([_reference(each) for each in numbers]))
        now = service_clock().now()
        session.execute(update(Contact).where(Contact.id.in_(first)).values(next_at=now, due_at=now, not_after=now + timedelta(hours=3)))


def seconds_until_taken(number: int, began: float) -> float:
    """How long after `began` the emulator had taken so many messages in all."""
    while taken() < number:
        if time.monotonic() - began > _LONGEST_S:
            raise TimeoutError(f"only {taken()} of {number} arrived in {_LONGEST_S:g} s")
        time.sleep(0.02)
    return time.monotonic() - began


def taken() -> int:
    """How many messages the emulator has taken from us."""
    with sqlite3.connect(f"file:{settings().data_dir / 'emulator.db'}?mode=ro", uri=True) as ledger:
        return int(ledger.execute("SELECT count(*) FROM messages WHERE direction = 'outbound-api'").fetchone()[0])


def phone(number: int) -> str:
    """The phone of a patient of the cohort."""
    return f"+1556{number:07d}"


def _reference(number: int) -> str:
    return f"bench-{number}"
