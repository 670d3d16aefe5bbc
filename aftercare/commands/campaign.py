"""`aftercare campaign`: make campaigns and enrol patients, one by one or from a CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from aftercare.failure import CommandFailed
from care.campaigns.overview import overview
from care.campaigns.roster import RosterInvalid, read_roster, take_in
from care.campaigns.service import CampaignInvalid, CampaignNotFound, EnrollmentConflict, campaign_named, create_campaign, enroll
from care.clock import service_clock
from care.patients.model import NewPatient
from care.storage.engine import reading, transaction
from care.texts import counted

app = typer.Typer(no_args_is_help=True, help="Campaigns: a protocol run for a cohort.")
_out = Console()


@app.command()
def create(
    name: str,
    protocol: str = "knee_replacement",
    send_hour: Annotated[int, typer.Option(help="Local hour at which contacts begin.")] = 10,
    spread_minutes: Annotated[int, typer.Option(help="Over how many minutes they are spread.")] = 60,
    weekdays_only: Annotated[bool, typer.Option("--weekdays-only", help="Move contacts off weekends and holidays.")] = False,
) -> None:
    """Make a campaign on a protocol."""
    with transaction() as session:
        try:
            made = create_campaign(
                session, name, protocol, service_clock().now(), send_hour=send_hour, spread_minutes=spread_minutes, weekdays_only=weekdays_only
            )
        except CampaignInvalid as error:
            raise CommandFailed(str(error)) from error
    _out.print(f"campaign {made.name!r} runs {made.protocol} {made.protocol_version}")


@app.command(name="list")
def list_all() -> None:
    """Every campaign with its state and its number of patients."""
    table = Table("campaign", "protocol", "version", "state", "patients")
    with reading() as session:
        for row in overview(session):
            table.add_row(row.name, row.protocol, row.version, row.state, str(row.patients))
    _out.print(table)


@app.command(name="enroll")
def enroll_one(
    campaign: str,
    reference: Annotated[str, typer.Option()],
    name: Annotated[str, typer.Option()],
    phone: Annotated[str, typer.Option()],
    date_of_birth: Annotated[str, typer.Option(help="YYYY-MM-DD")],
    anchor: Annotated[str, typer.Option(help="Discharge, YYYY-MM-DD")],
    timezone: Annotated[str | None, typer.Option(help="IANA name; without one the site's.")] = None,
    state: Annotated[str | None, typer.Option(help="Two letters of a US state, whose quiet hours then hold as well.")] = None,
    language: Annotated[str, typer.Option()] = "en",
) -> None:
    """Enrol one patient."""
    given = {
        "reference": reference,
        "name": name,
        "phone": phone,
        "date_of_birth": date_of_birth,
        "anchor": anchor,
        "state": state,
        "language": language,
        **({"timezone": timezone} if timezone else {}),
    }
    try:
        patient = NewPatient.model_validate(given)
    except ValidationError as error:
        raise CommandFailed("; ".join(f"--{'.'.join(map(str, p['loc'])).replace('_', '-')}: {p['msg']}" for p in error.errors())) from error
    with transaction() as session:
        try:
            done = enroll(session, campaign_named(session, campaign), patient, service_clock().now())
        except (CampaignNotFound, EnrollmentConflict) as error:
            raise CommandFailed(str(error)) from error
    _out.print(f"enrolled, {counted(done.contacts, 'contact', 'contacts')} planned")


@app.command(name="import")
def import_csv(
    campaign: str,
    csv_file: Path,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Take the good rows in although others are bad.")] = False,
) -> None:
    """Enrol the patients of a CSV; every bad row is named, and none is taken in unless --skip-bad is given."""
    try:
        roster = read_roster(csv_file.read_bytes(), csv_file.name)
    except OSError as error:
        raise CommandFailed(f"{csv_file}: cannot be read ({error.strerror}); give the path of a CSV file") from error
    except RosterInvalid as error:
        raise CommandFailed(str(error)) from error
    with reading() as session:
        try:
            target = campaign_named(session, campaign).id
        except CampaignNotFound as error:
            raise CommandFailed(str(error)) from error
    enrolled = take_in(target, roster, service_clock().now(), skip_bad=skip_bad, actor="operator")
    for row in sorted(roster.bad, key=lambda each: each.line):
        _out.print(f"{csv_file.name}:{row.line}: {row.field}: {row.problem}", markup=False, highlight=False, soft_wrap=True)
    _out.print(f"{enrolled} enrolled, {counted(len(roster.bad), 'problem', 'problems')}")
    if roster.bad:
        raise typer.Exit(2)
