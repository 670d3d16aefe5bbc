"""`aftercare campaign`: running a campaign, and what changes for one patient in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy.orm import Session

from aftercare.commands.campaign import app
from aftercare.failure import CommandFailed
from care.campaigns import operation
from care.campaigns.preview import PreviewedContact, preview, preview_new
from care.campaigns.roster import RosterInvalid, read_roster
from care.campaigns.service import CampaignInvalid, CampaignNotFound, EnrollmentConflict, campaign_named
from care.clock import service_clock
from care.knowledge.model import StopEvent
from care.storage.engine import reading, transaction
from care.storage.tables import Campaign, Patient
from care.texts import counted

_out = Console()
_ACTOR = "operator"
_LOCAL = ["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
Visit = Annotated[datetime, typer.Option(formats=_LOCAL, help="The patient's local time, like 2026-03-02T10:30.")]
Reference = Annotated[str, typer.Option(help="The clinic's own identifier of the patient.")]


@contextmanager
def _changing(name: str) -> Iterator[tuple[Session, Campaign, datetime]]:
    with transaction() as session:
        try:
            yield session, campaign_named(session, name), service_clock().now()
        except (CampaignNotFound, CampaignInvalid, EnrollmentConflict) as error:
            raise CommandFailed(str(error)) from error


@app.command(name="preview")
def show_preview(
    campaign: str,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Patients who are not enrolled yet, instead of those who are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON a contact, all of them.")] = False,
    most: Annotated[int, typer.Option(help="How many rows to show.")] = 50,
) -> None:
    """What will be sent: who, when in local time, in what words, how many segments, at what price."""
    now = service_clock().now()
    with reading() as session:
        try:
            target = campaign_named(session, campaign)
            roster = read_roster(csv_file.read_bytes(), csv_file.name) if csv_file else None
        except (CampaignNotFound, RosterInvalid, OSError) as error:
            raise CommandFailed(str(error)) from error
        found: Iterator[PreviewedContact] = (
            (contact for _, patient in roster.patients for contact in preview_new(target, patient, now)) if roster else preview(session, target)
        )
        if as_json:
            for contact in found:
                sys.stdout.write(contact.model_dump_json() + "\n")
            return
        table = Table("patient", "step", "local time", "words", "segments", "USD")
        for contact in islice(found, most):
            table.add_row(contact.reference, contact.step, contact.local, "\n".join(contact.texts), str(contact.segments), f"{contact.price:.4f}")
        rest = list(found)
    _out.print(table)
    if rest:
        _out.print(f"and {len(rest)} more: {sum(each.segments for each in rest)} segments, USD {sum(each.price for each in rest):.2f}")


@app.command()
def pause(campaign: str) -> None:
    """Hold everything that is planned until the campaign is resumed."""
    with _changing(campaign) as (session, target, now):
        held = operation.pause(session, target, _ACTOR, now)
    _out.print(f"paused, {counted(held, 'contact is', 'contacts are')} held")


@app.command()
def resume(campaign: str) -> None:
    """Go on; what became stale meanwhile is skipped and recorded."""
    with _changing(campaign) as (session, target, now):
        freed = operation.resume(session, target, _ACTOR, now)
    _out.print(f"resumed, {counted(freed, 'contact goes', 'contacts go')} on")


@app.command()
def stop(campaign: str) -> None:
    """End the campaign for everybody in it."""
    with _changing(campaign) as (session, target, now):
        ended = operation.stop(session, target, _ACTOR, now)
    _out.print(f"stopped, {counted(ended, 'enrollment', 'enrollments')} ended")


@app.command()
def amend(
    campaign: str,
    move: Annotated[bool, typer.Option("--move/--keep", help="Whether patients in flight move to the new version or keep theirs.")],
) -> None:
    """Take up the protocol's present version."""
    with _changing(campaign) as (session, target, now):
        done = operation.amend(session, target, _ACTOR, now, move_patients=move)
    _out.print(f"runs version {done.version}: {done.moved} moved, {done.kept} keep their version")


@app.command()
def move(campaign: str, reference: Reference, anchor: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The new discharge.")]) -> None:
    """The patient's discharge moved: plan again what is still to come."""
    with _changing(campaign) as (session, target, now):
        planned = operation.reanchor(session, operation.enrollment_of(session, target, reference), anchor.date(), _ACTOR, now)
    _out.print(f"moved, {counted(planned, 'contact is', 'contacts are')} planned")


@app.command()
def end(campaign: str, reference: Reference, because: Annotated[StopEvent, typer.Option(help="What happened.")]) -> None:
    """End a patient's follow-up at once."""
    with _changing(campaign) as (session, target, now):
        ended = operation.end_enrollment(session, operation.enrollment_of(session, target, reference), because, _ACTOR, now)
    _out.print(f"ended, {counted(ended, 'enrollment', 'enrollments')} of the patient")


@app.command()
def appointment(
    campaign: str,
    reference: Reference,
    at: Visit,
    instead_of: Annotated[datetime | None, typer.Option(formats=_LOCAL, help="When the visit was to be, where it was moved.")] = None,
) -> None:
    """Remind the patient of a visit the day before, and ask for confirmation."""
    with _changing(campaign) as (session, target, now):
        enrollment = operation.enrollment_of(session, target, reference)
        zone = ZoneInfo(session.get_one(Patient, enrollment.patient_id).timezone)
        moved = instead_of.replace(tzinfo=zone) if instead_of else None
        contact = operation.add_appointment(session, enrollment, at.replace(tzinfo=zone), _ACTOR, now, instead_of=moved)
    _out.print(f"the reminder goes out at {contact.due_at.astimezone(zone):%a %Y-%m-%d %H:%M} local time")


@app.command()
def cancel_appointment(campaign: str, reference: Reference, at: Visit) -> None:
    """The visit does not take place: do not remind of it."""
    with _changing(campaign) as (session, target, now):
        enrollment = operation.enrollment_of(session, target, reference)
        zone = ZoneInfo(session.get_one(Patient, enrollment.patient_id).timezone)
        operation.cancel_appointment(session, enrollment, at.replace(tzinfo=zone), _ACTOR, now)
    _out.print("cancelled, the visit is not reminded of")
