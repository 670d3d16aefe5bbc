"""The demo cohort: patients a day after their discharge, and two users of the console."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

from rich.console import Console
from sqlalchemy import select

from care.campaigns.service import create_campaign, enroll
from care.clock import service_clock
from care.patients.consent import record_consent
from care.patients.model import NewPatient
from care.sessions import chat_url
from care.settings import Settings
from care.storage.engine import transaction
from care.storage.tables import Campaign, Contact, Patient, Role, User
from care.users import add_user

# Passwords of a demo on this machine; a real installation runs `up --no-demo` and has none of these users.
DEMO_USERS = [("coordinator", "demo-coordinator", Role.COORDINATOR.value), ("lead", "demo-lead", Role.LEAD.value)]
_CAMPAIGN = "Knee replacement (demo)"
_PATIENTS = [
    ("demo-1", "Ana Rivera", "+15550100001", "1958-03-27", "female", 1),
    ("demo-2", "Tom Becker", "+15550100002", "1949-11-02", "male", 3),
    ("demo-3", "Mei Chen", "+15550100003", "1966-07-14", "female", 7),
]


def seed(settings: Settings) -> None:
    """Makes the cohort and the users where they are missing; the first contact of each patient is due at once."""
    now = service_clock().now()
    with transaction() as session:
        if session.scalar(select(Campaign.id).where(Campaign.name == _CAMPAIGN)):
            return
        for name, password, role in DEMO_USERS:
            if session.scalar(select(User.id).where(User.username == name)) is None:
                add_user(session, name, password, Role(role), now)
        campaign = create_campaign(session, _CAMPAIGN, "knee_replacement", now)
        zone = waking_zone(now.hour)
        today = now.astimezone(ZoneInfo(zone)).date()
        for reference, name, phone, born, sex, day in _PATIENTS:
            new = NewPatient.model_validate(
                {
                    "reference": reference,
                    "name": name,
                    "phone": phone,
                    "date_of_birth": born,
                    "timezone": zone,
                    "sex": sex,
                    "anchor": today - timedelta(days=day),
                }
            )
            enrolled = enroll(session, campaign, new, now)
            first = session.scalars(select(Contact).where(Contact.enrollment_id == enrolled.enrollment_id).order_by(Contact.day).limit(1)).one()
            first.due_at = first.next_at = now


def chat_link(reference: str = "demo-1") -> str:
    """A fresh one-time link into the web chat of a demo patient, who thereby agreed to be written to."""
    now = service_clock().now()
    with transaction() as session:
        patient = session.scalars(select(Patient).where(Patient.reference == reference)).one()
        record_consent(session, patient.id, granted=True, channel="web", words="opened the demo chat", source="demo", at=now)
        return chat_url(session, patient.id, now)


def urls(settings: Settings) -> dict[str, str]:
    """Where people go."""
    found = {"chat": f"{settings.public}/", "console": f"{settings.public}/console"}
    if settings.emulated_twilio:
        found["phones"] = f"http://127.0.0.1:{settings.emulator_port}/"
    return found


def where_to_go(console: Console, settings: Settings, demo: bool = True) -> None:
    """Prints the addresses, the demo users, and a link into the chat."""
    console.print("\nAftercare is ready.")
    for name, url in urls(settings).items():
        console.print(f"  {name:8} {url}")
    if demo:
        for name, password, role in DEMO_USERS:
            console.print(f"  sign in  {name} / {password} ({role})")
        console.print(f"  web chat of Ana Rivera (born 1958-03-27), good for 15 minutes:\n  {chat_link()}", soft_wrap=True)


def waking_zone(utc_hour: int) -> str:
    """A time zone in which it is between 9:00 and 20:00 now, so that a demo at any hour is not held back by quiet hours."""
    return "Asia/Tokyo" if utc_hour < 9 else "UTC" if utc_hour < 16 else "America/Los_Angeles" if utc_hour >= 18 else "America/New_York"
