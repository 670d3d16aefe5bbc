"""`aftercare patient`: hand over or erase all that is kept of one patient, or follow the patient to another time zone."""

from __future__ import annotations

import getpass
import os
from pathlib import Path
from typing import Annotated

import redis
import typer
from pydantic import ValidationError
from rich.console import Console

from aftercare.failure import CommandFailed
from care.campaigns import operation
from care.clock import service_clock
from care.patients.model import Place
from care.patients.record import PatientBusy, PatientNotFound, erase_patient, export_patient, find_patient
from care.settings import settings
from care.storage.engine import transaction

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
    try:
        place = Place.model_validate({"timezone": timezone, "state": state})
    except ValidationError as error:
        raise CommandFailed("; ".join(f"{problem['loc'][0]}: {problem['msg']}" for problem in error.errors())) from error
    with transaction() as session:
        try:
            planned = operation.relocate(session, find_patient(session, reference), place, _actor(), service_clock().now())
        except PatientNotFound as error:
            raise CommandFailed(str(error)) from error
    _out.print(f"{planned} contacts are planned by the hours of {place.timezone}")


def _forget_dialogue(patient_id: str) -> None:
    """Rasa's sealed copy of the dialogue; where Redis is away it runs out by itself."""
    try:
        redis.Redis.from_url(settings().redis, socket_connect_timeout=2).delete(f"dialogue:{patient_id}")
    except redis.RedisError:
        _out.print("Redis is away: its sealed copy of the dialogue runs out by itself")


def _actor() -> str:
    return f"cli:{getpass.getuser()}"
