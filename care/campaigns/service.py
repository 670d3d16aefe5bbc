"""Setting a campaign up and enrolling patients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.audit import record
from care.knowledge import knowledge
from care.patients.model import NewPatient
from care.storage.crypto import blind_index
from care.storage.tables import Campaign, Contact, Conversation, Enrollment, Patient

QUIET_ENDS, QUIET_BEGINS = time(9), time(20)


class CampaignNotFound(Exception):
    """No campaign has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no campaign named {name!r}; `aftercare campaign list` shows them")


class CampaignInvalid(Exception):
    """The campaign cannot be made as asked; the message says why."""


class EnrollmentConflict(Exception):
    """The patient cannot be enrolled; the message names the field and the remedy."""


@dataclass(frozen=True)
class Enrolled:
    """What enrolling did: `contacts` is how many outreaches are planned."""

    patient_id: str
    enrollment_id: str
    contacts: int


def create_campaign(session: Session, name: str, protocol: str, at: datetime, send_hour: int = 10) -> Campaign:
    """A campaign that runs the protocol's current version. Raises `CampaignInvalid`."""
    known = knowledge().protocols
    if protocol not in known:
        raise CampaignInvalid(f"protocol: {protocol!r} is not known; choose one of {', '.join(sorted(known))}")
    if not QUIET_ENDS.hour <= send_hour < QUIET_BEGINS.hour:
        raise CampaignInvalid(f"send_hour: must lie from {QUIET_ENDS.hour} to {QUIET_BEGINS.hour - 1}, outside quiet hours")
    if session.scalar(select(Campaign.id).where(Campaign.name == name)):
        raise CampaignInvalid(f"name: a campaign named {name!r} exists")
    campaign = Campaign(name=name, protocol=protocol, protocol_version=known[protocol].version, send_hour=send_hour, created_at=at)
    session.add(campaign)
    session.flush()
    record(session, actor="service", action="campaign_created", subject=campaign.id, at=at)
    return campaign


def campaign_named(session: Session, name: str) -> Campaign:
    """The campaign of this name. Raises `CampaignNotFound`."""
    campaign = session.scalars(select(Campaign).where(Campaign.name == name)).one_or_none()
    if campaign is None:
        raise CampaignNotFound(name)
    return campaign


def enroll(session: Session, campaign: Campaign, new: NewPatient, at: datetime) -> Enrolled:
    """Takes the patient in (or finds the one of this reference) and plans every contact. Raises `EnrollmentConflict`."""
    patient = _patient(session, new, at)
    if session.scalar(select(Enrollment.id).where(Enrollment.campaign_id == campaign.id, Enrollment.patient_id == patient.id)):
        raise EnrollmentConflict(f"reference: {new.reference!r} is in this campaign already")
    enrollment = Enrollment(campaign_id=campaign.id, patient_id=patient.id, anchor=new.anchor, created_at=at)
    session.add(enrollment)
    session.flush()
    planned = [contact for contact in _plan(campaign, patient, enrollment) if contact.not_after > at]
    session.add_all(planned)
    record(session, actor="service", action="patient_enrolled", subject=patient.id, at=at)
    return Enrolled(patient.id, enrollment.id, len(planned))


def _patient(session: Session, new: NewPatient, at: datetime) -> Patient:
    index = blind_index(new.phone)
    known = session.scalars(select(Patient).where(Patient.reference == new.reference)).one_or_none()
    if known is not None:
        if known.phone_index != index:
            raise EnrollmentConflict(f"phone: {new.reference!r} is known with another number; correct the one or the other")
        return known
    if session.scalar(select(Patient.id).where(Patient.phone_index == index)):
        raise EnrollmentConflict("phone: another patient has this number; give each patient a number of their own")
    patient = Patient(
        reference=new.reference,
        name=new.name,
        phone=new.phone,
        phone_index=index,
        date_of_birth=new.date_of_birth.isoformat(),
        sex=new.sex,
        language=new.language,
        timezone=new.timezone,
        created_at=at,
    )
    session.add(patient)
    session.flush()
    session.add(Conversation(patient_id=patient.id))
    session.flush()
    return patient


def _plan(campaign: Campaign, patient: Patient, enrollment: Enrollment) -> list[Contact]:
    contacts = []
    for day in knowledge().protocols[campaign.protocol].days:
        due = local_moment(enrollment.anchor + timedelta(days=day), time(campaign.send_hour), patient.timezone)
        stale = local_moment(enrollment.anchor + timedelta(days=day), QUIET_BEGINS, patient.timezone)
        contacts.append(
            Contact(
                enrollment_id=enrollment.id,
                patient_id=patient.id,
                protocol=campaign.protocol,
                day=day,
                due_at=due,
                not_after=stale,
                next_at=due,
            )
        )
    return contacts


def local_moment(day: date, hour: time, zone: str) -> datetime:
    """The moment of a local wall-clock time; one that a clock change skips is taken an hour later, one that comes twice the first time."""
    moment = datetime.combine(day, hour, ZoneInfo(zone))
    return moment.astimezone(ZoneInfo("UTC"))


def outside_quiet_hours(moment: datetime, zone: str) -> datetime:
    """`moment`, or the next local 9:00 where it falls in quiet hours (20:00 to 9:00)."""
    local = moment.astimezone(ZoneInfo(zone))
    if local.time() >= QUIET_BEGINS:
        return local_moment(local.date() + timedelta(days=1), QUIET_ENDS, zone)
    if local.time() < QUIET_ENDS:
        return local_moment(local.date(), QUIET_ENDS, zone)
    return moment
