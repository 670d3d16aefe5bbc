"""Reading a CSV of patients: every bad row is named with its line, field and remedy, and none is taken in unless asked."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from care.campaigns.service import EnrollmentConflict, check_enrollable, enroll
from care.patients.model import NewPatient
from care.storage.engine import reading, transaction
from care.storage.tables import Campaign

_REQUIRED = {"reference", "name", "phone", "date_of_birth", "anchor"}
_FORMULA = ("=", "+", "-", "@")
_TOGETHER = 50


class RosterInvalid(Exception):
    """The file as a whole cannot be read; the message says what to do."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be taken in."""

    line: int
    field: str
    problem: str


@dataclass
class Roster:
    """The good rows with their lines, and the bad ones."""

    patients: list[tuple[int, NewPatient]] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)


def take_in(campaign_id: str, roster: Roster, at: datetime, *, skip_bad: bool, actor: str) -> int:
    """Enrols the good rows, adding to the bad ones those that conflict; how many. With bad rows nobody is enrolled unless `skip_bad`, but for a conflict that
    somebody else makes meanwhile.

    A few rows a transaction, so that patients' messages are taken in meanwhile. Where it is cut off, the same call with `skip_bad` takes in the rest.
    """
    with reading() as session:
        good = list(_good(session, session.get_one(Campaign, campaign_id), roster))
    if roster.bad and not skip_bad:
        return 0
    enrolled = 0
    for first in range(0, len(good), _TOGETHER):
        with transaction() as session:
            campaign = session.get_one(Campaign, campaign_id)
            for line, patient in good[first : first + _TOGETHER]:
                try:
                    with session.begin_nested():
                        enroll(session, campaign, patient, at, actor)
                    enrolled += 1
                except EnrollmentConflict as error:
                    roster.bad.append(_bad_row(line, error))
                except IntegrityError:
                    roster.bad.append(BadRow(line, "reference", "was entered by somebody else at this moment; look whether all is well"))
    return enrolled


def _good(session: Session, campaign: Campaign, roster: Roster) -> Iterator[tuple[int, NewPatient]]:
    for line, patient in roster.patients:
        try:
            check_enrollable(session, campaign, patient)
        except EnrollmentConflict as error:
            roster.bad.append(_bad_row(line, error))
        else:
            yield line, patient


def _bad_row(line: int, conflict: EnrollmentConflict) -> BadRow:
    name, _, problem = str(conflict).partition(": ")
    return BadRow(line, name, problem)


def read_roster(raw: bytes, name: str) -> Roster:
    """Reads and checks a CSV, by the `name` it goes by, with a header of `NewPatient`'s fields. Raises `RosterInvalid`."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RosterInvalid(f"{name}: cannot be read as UTF-8 text; save it as CSV UTF-8 ({error})") from error
    reader = csv.DictReader(text.splitlines(), strict=True)
    missing = _REQUIRED - set(reader.fieldnames or [])
    if missing:
        raise RosterInvalid(f"{name}: the header lacks {', '.join(sorted(missing))}")
    roster, phones, references = Roster(), {}, {}  # type: Roster, dict[str, int], dict[str, int]
    for row in reader:
        line = reader.line_num
        given = {field: value.strip() for field, value in row.items() if field and isinstance(value, str) and value.strip()}
        if None in row:
            roster.bad.append(BadRow(line, "row", "has more cells than the header; quote cells that hold a comma"))
            continue
        if given.get("name", "").startswith(_FORMULA):
            roster.bad.append(BadRow(line, "name", "begins like a formula; write the name itself"))
            continue
        try:
            patient = NewPatient.model_validate(given)
        except ValidationError as error:
            roster.bad += [BadRow(line, ".".join(map(str, problem["loc"])), problem["msg"]) for problem in error.errors()]
            continue
        twice = next((f for f, seen, v in (("phone", phones, patient.phone), ("reference", references, patient.reference)) if v in seen), None)
        if twice:
            roster.bad.append(BadRow(line, twice, "stands in an earlier row too; give each patient one row and a number of their own"))
            continue
        phones[patient.phone] = references[patient.reference] = line
        roster.patients.append((line, patient))
    return roster
