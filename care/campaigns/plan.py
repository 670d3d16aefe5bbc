"""Which contacts an enrollment has, and when each is due: steps of the protocol turned into moments of the patient's own day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import blake2b
from zoneinfo import ZoneInfo

from care.campaigns.hours import LONGEST_CLOSED, Place, closes, is_working_day, local_moment, next_open, window
from care.knowledge import knowledge
from care.knowledge.model import NoAnswer, Protocol, ProtocolDay, StepKind
from care.storage.tables import Campaign, CampaignState, Contact, Enrollment, Patient

_LAST_MINUTES = timedelta(minutes=5)
_APPOINTMENT = "appointment_confirm"


@dataclass(frozen=True)
class Due:
    """From when until when a contact is worth sending."""

    at: datetime
    not_after: datetime


def place_of(patient: Patient) -> Place:
    """Where the patient is."""
    return Place(patient.timezone, patient.state)


def set_version(enrollment: Enrollment, protocol: Protocol) -> None:
    """The enrollment runs this version of the protocol, and keeps of it what its contacts do not hold."""
    enrollment.protocol_version = protocol.version
    enrollment.no_answer = protocol.no_answer.model_dump()
    enrollment.ends_on = enrollment.anchor + timedelta(days=protocol.stop.day)


def no_answer_to(contact: Contact, enrollment: Enrollment) -> NoAnswer:
    """What is done where no answer comes, by the version that the enrollment runs; the protocol's present one where none was kept."""
    kept = enrollment.no_answer
    return NoAnswer.model_validate(kept) if kept else knowledge().protocols[contact.protocol].no_answer


def contacts_of(campaign: Campaign, patient: Patient, enrollment: Enrollment) -> list[Contact]:
    """Every contact of the campaign's protocol as it is now, not yet in the database."""
    return [_contact(campaign, patient, enrollment, step) for step in knowledge().protocols[campaign.protocol].schedule]


def appointment_contact(campaign: Campaign, patient: Patient, enrollment: Enrollment, at: datetime) -> Contact:
    """The reminder of a visit at `at`, on the last open day before it; it is worth sending until the visit."""
    day = _local_day(at, place_of(patient)) - timedelta(days=1)
    step = f"{StepKind.APPOINTMENT}-{at.astimezone(UTC):%Y%m%dT%H%M}"
    contact = Contact(
        enrollment_id=enrollment.id,
        patient_id=patient.id,
        protocol=campaign.protocol,
        step=step,
        kind=StepKind.APPOINTMENT,
        day=(day - enrollment.anchor).days,
        questions=[_APPOINTMENT],
        appointment_at=at,
    )
    _wait(contact, campaign, Due(due_by(day, campaign, patient, _key(campaign, patient, step)), not_after=at))
    return contact


def due_on(day: date, campaign: Campaign, patient: Patient, key: str, hour: int | None = None) -> Due:
    """When a contact of this local day is due. `key` places it within the campaign's spread, always at the same minute.

    A day that is closed (by the state's hours, or to a campaign of weekdays) moves the contact to the next open one.
    """
    place, later = place_of(patient), spread(key, campaign.spread_minutes)
    day = next(coming for n in range(LONGEST_CLOSED) if _is_day_of(campaign, coming := day + timedelta(days=n), place))
    wanted = local_moment(day, time(campaign.send_hour if hour is None else hour), place.zone) + later
    at = next_open(wanted, place)
    while not _is_day_of(campaign, _local_day(at, place), place):
        at = next_open(local_moment(_local_day(at, place) + timedelta(days=1), time.min, place.zone), place)
    if at != wanted:  # the hour is closed here: spread from when it opens, so that not all are sent in one minute
        at = min(at + later, closes(at, place) - _LAST_MINUTES)
    return Due(at, closes(at, place))


def due_by(day: date, campaign: Campaign, patient: Patient, key: str) -> datetime:
    """The same of a contact that must not come later: a closed day moves it back to the last open one."""
    place, later = place_of(patient), spread(key, campaign.spread_minutes)
    days = [earlier for n in range(LONGEST_CLOSED) if _is_day_of(campaign, earlier := day - timedelta(days=n), place)]
    day, (opens, ends) = next((earlier, hours) for earlier in days if (hours := window(earlier, place)) is not None)
    wanted = local_moment(day, time(campaign.send_hour), place.zone) + later
    return wanted if opens <= wanted < ends else min(opens + later, ends - _LAST_MINUTES)


def spread(key: str, minutes: int) -> timedelta:
    """The share of these minutes that `key` has, always the same."""
    share = int.from_bytes(blake2b(key.encode(), digest_size=4).digest(), "big") / 2**32
    return timedelta(seconds=int(share * minutes * 60))


def move(contact: Contact, campaign: Campaign, patient: Patient, enrollment: Enrollment) -> None:
    """Plans a contact again from the enrollment's anchor. An appointment stays where it is."""
    if contact.kind is StepKind.APPOINTMENT:
        return
    hour = next((step.send_hour for step in knowledge().protocols[contact.protocol].schedule if step.step == contact.step), None)
    day = enrollment.anchor + timedelta(days=contact.day)
    _wait(contact, campaign, due_on(day, campaign, patient, _key(campaign, patient, contact.step), hour))


def _contact(campaign: Campaign, patient: Patient, enrollment: Enrollment, step: ProtocolDay) -> Contact:
    contact = Contact(
        enrollment_id=enrollment.id,
        patient_id=patient.id,
        protocol=campaign.protocol,
        step=step.step,
        kind=step.kind,
        day=step.day,
        questions=list(step.questions),
        advice=step.advice,
    )
    day = enrollment.anchor + timedelta(days=step.day)
    _wait(contact, campaign, due_on(day, campaign, patient, _key(campaign, patient, step.step), step.send_hour))
    return contact


def _wait(contact: Contact, campaign: Campaign, due: Due) -> None:
    """The contact waits for its time; in a pause nobody looks at it then."""
    contact.due_at, contact.not_after = due.at, due.not_after
    paused = campaign.state is CampaignState.PAUSED
    contact.next_at, contact.held_next_at = (None, due.at) if paused else (due.at, None)


def _key(campaign: Campaign, patient: Patient, step: str) -> str:
    """What places a contact within the spread: known before the patient is enrolled, so that a preview tells the minute."""
    return f"{campaign.id}:{patient.reference}:{step}"


def _is_day_of(campaign: Campaign, day: date, place: Place) -> bool:
    return not campaign.weekdays_only or is_working_day(day, place.state)


def _local_day(moment: datetime, place: Place) -> date:
    return moment.astimezone(ZoneInfo(place.zone)).date()
