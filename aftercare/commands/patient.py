"""`aftercare patient`: hand over or erase all that is kept of one patient, follow the patient to another time zone or number, end the messages."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, TypeVar

import redis
import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from sqlalchemy.orm import Session

from aftercare.failure import CommandFailed
from care.campaigns import operation
from care.clock import service_clock
from care.patients.corrections import PhoneConflict, opt_out, set_phone, set_phone_use
from care.patients.model import CheckedPhone, OptOut, Place, Way
from care.patients.record import PatientBusy, PatientNotFound, erase_patient, export_patient, find_patient
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Patient
from care.texts import counted

app = typer.Typer(no_args_is_help=True, help="One patient's record.")
_out = Console()


@app.command()
def export(reference: str, out: Annotated[Path, typer.Option(help="The JSON file to write; only its owner may read it.")]) -> None:
    """Write everything that is kept of a patient to a file."""
    with transaction() as session:
        try:
            found = export_patient(session, find_patient(session, reference), actor=_actor(), at=service_clock().now())
        except PatientNotFound as error:
            raise CommandFailed(str(error)) from error
    try:
        with os.fdopen(os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.write(found.model_dump_json(indent=1))
    except OSError as error:
        raise CommandFailed(f"{out} cannot be written ({error.strerror}); name a new file in a folder that exists") from error
    _out.print(f"{sum(map(len, found.rows.values()))} rows written to {out}")


@app.command()
def erase(reference: str, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove a patient's name, number and words for good."""
    if not yes:
        typer.confirm(f"Erase everything that is kept of {reference}? This cannot be undone", abort=True)
    with transaction() as session:
        try:
            patient = find_patient(session, reference)
            erase_patient(session, patient, actor=_actor(), at=service_clock().now())
        except (PatientNotFound, PatientBusy) as error:
            raise CommandFailed(str(error)) from error
    _forget_dialogue(patient.id)
    _out.print("erased")


@app.command()
def relocate(
    reference: str,
    timezone: Annotated[str, typer.Option(help="IANA name of the time zone, such as America/Chicago.")],
    state: Annotated[str | None, typer.Option(help="Two letters of the US state, whose quiet hours then hold as well.")] = None,
) -> None:
    """Plan what is still to come by the hours of where the patient now is."""
    place = _checked(Place, timezone=timezone, state=state)
    with _patient(reference) as (session, patient):
        planned = operation.relocate(session, patient, place, _actor(), service_clock().now())
    _out.print(f"{counted(planned, 'contact is', 'contacts are')} planned by the hours of {place.timezone}")


@app.command("opt-out")
def opt_patient_out(
    reference: str,
    way: Annotated[Way, typer.Option(help="How the patient said so.")],
    words: Annotated[str, typer.Option(help="What the patient said, as nearly as can be.")],
) -> None:
    """End all messages, as the patient asked."""
    wish = _checked(OptOut, way=way, words=words)
    with _patient(reference) as (session, patient):
        opt_out(session, patient, wish, actor=_actor(), at=service_clock().now())
    _out.print("no more messages are sent; START from the patient's phone brings them back")


@app.command()
def phone(reference: str, number: Annotated[str, typer.Argument(help="The number that a person checked to be the patient's, such as +15551234567.")]) -> None:
    """Correct the number, or confirm the one on record that was said to be somebody else's."""
    checked = _checked(CheckedPhone, phone=number)
    with _patient(reference) as (session, patient):
        consent = set_phone(session, patient, checked.phone, actor=_actor(), at=service_clock().now())
    _out.print({"unknown": "consent is asked for with the next check-in", "revoked": "the patient's opt-out stays until START"}.get(consent, "confirmed"))


@app.command("phone-use")
def phone_use(reference: str, shared: Annotated[bool, typer.Option("--shared/--alone", help="Whether others read the patient's phone as well.")]) -> None:
    """Keep health details off a phone that others read, or send messages in words again."""
    with _patient(reference) as (session, patient):
        set_phone_use(session, patient, shared=shared, actor=_actor(), at=service_clock().now())
    _out.print("messages wait in the web chat, and a text with a link says so" if shared else "messages come in words")


Model = TypeVar("Model", bound=BaseModel)


def _checked(model: type[Model], **given: object) -> Model:
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise CommandFailed("; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())) from error


@contextmanager
def _patient(reference: str) -> Iterator[tuple[Session, Patient]]:
    with transaction() as session:
        try:
            yield session, find_patient(session, reference)
        except (PatientNotFound, PhoneConflict) as error:
            raise CommandFailed(str(error)) from error


def _forget_dialogue(patient_id: str) -> None:
    """Rasa's sealed copy of the dialogue; where Redis is away it runs out by itself."""
    try:
        redis.Redis.from_url(settings().redis, socket_connect_timeout=2).delete(f"dialogue:{patient_id}")
    except redis.RedisError:
        _out.print("Redis is away: its sealed copy of the dialogue runs out by itself")


def _actor() -> str:
    return f"cli:{getpass.getuser()}"
