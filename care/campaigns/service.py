"""Setting a campaign up and enrolling patients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.audit import record
from care.campaigns.plan import contacts_of, set_version
from care.knowledge import knowledge
from care.knowledge.model import StopEvent
from care.patients.model import NewPatient
from care.storage.crypto import blind_index
from care.storage.tables import Campaign, CampaignState, Conversation, Enrollment, Patient

FIRST_HOUR, LAST_HOUR = 9, 19
LONGEST_SPREAD = 8 * 60


class CampaignNotFound(Exception):
    """No campaign has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no campaign named {name!r}; `aftercare campaign list` shows them")


class CampaignInvalid(Exception):
    """The campaign cannot be made or changed as asked; the message says why."""


class EnrollmentConflict(Exception):
    """The patient cannot be enrolled; the message names the field and the remedy."""


@dataclass(frozen=True)
class Enrolled:
    """What enrolling did: `contacts` is how many outreaches are planned."""

    patient_id: str
    enrollment_id: str
    contacts: int


def create_campaign(
    session: Session,
    name: str,
    protocol: str,
    at: datetime,
    *,
    send_hour: int = 10,
    spread_minutes: int = 60,
    weekdays_only: bool = False,
    actor: str = "service",
) -> Campaign:
    """A campaign that runs the protocol's current version. Raises `CampaignInvalid`."""
    known = knowledge().protocols
    if protocol not in known:
        raise CampaignInvalid(f"protocol: {protocol!r} is not known; choose one of {', '.join(sorted(known))}")
    if not FIRST_HOUR <= send_hour <= LAST_HOUR:
        raise CampaignInvalid(f"send_hour: must lie from {FIRST_HOUR} to {LAST_HOUR}, outside quiet hours")
    longest = min(LONGEST_SPREAD, _minutes_until_quiet(send_hour))
    if not 0 <= spread_minutes <= longest:
        raise CampaignInvalid(f"spread_minutes: must lie from 0 to {longest} with a send_hour of {send_hour}; spread over less, or choose an earlier send_hour")
    if session.scalar(select(Campaign.id).where(Campaign.name == name)):
        raise CampaignInvalid(f"name: a campaign named {name!r} exists")
    campaign = Campaign(
        name=name,
        protocol=protocol,
        protocol_version=known[protocol].version,
        send_hour=send_hour,
        spread_minutes=spread_minutes,
        weekdays_only=weekdays_only,
        created_at=at,
    )
    session.add(campaign)
    session.flush()
    record(session, actor=actor, action="campaign_created", subject=campaign.id, at=at)
    return campaign


def campaign_named(session: Session, name: str) -> Campaign:
    """The campaign of this name. Raises `CampaignNotFound`."""
    campaign = session.scalars(select(Campaign).where(Campaign.name == name)).one_or_none()
    if campaign is None:
        raise CampaignNotFound(name)
    return campaign


def enroll(session: Session, campaign: Campaign, new: NewPatient, at: datetime, actor: str = "service") -> Enrolled:
    """Takes the patient in (or finds the one of this reference) and plans every contact. Raises `EnrollmentConflict`.

    Contacts are planned by the protocol as it is now, whatever version the campaign was made with or amended to; the enrollment says which.
    """
    patient = check_enrollable(session, campaign, new) or _new_patient(session, new, at)
    enrollment = Enrollment(campaign_id=campaign.id, patient_id=patient.id, anchor=new.anchor, created_at=at)
    set_version(enrollment, knowledge().protocols[campaign.protocol])
    session.add(enrollment)
    session.flush()
    planned = [contact for contact in contacts_of(campaign, patient, enrollment) if contact.not_after > at]
    session.add_all(planned)
    record(session, actor=actor, action="patient_enrolled", subject=patient.id, at=at)
    return Enrolled(patient.id, enrollment.id, len(planned))


def check_enrollable(session: Session, campaign: Campaign, new: NewPatient) -> Patient | None:
    """The patient of this reference, where there is one. Raises `EnrollmentConflict` where the patient cannot be enrolled."""
    if campaign.state is CampaignState.STOPPED:
        raise EnrollmentConflict(f"campaign: {campaign.name!r} was stopped; make a new one")
    index = blind_index(new.phone)
    known = session.scalars(select(Patient).where(Patient.reference == new.reference)).one_or_none()
    if known is None:
        if session.scalar(select(Patient.id).where(Patient.phone_index == index)):
            raise EnrollmentConflict("phone: another patient has this number; give each patient a number of their own")
        return None
    if known.phone_index != index:
        raise EnrollmentConflict(f"phone: {new.reference!r} is known with another number; correct the one or the other")
    if session.scalar(select(Enrollment.id).where(Enrollment.campaign_id == campaign.id, Enrollment.patient_id == known.id)):
        raise EnrollmentConflict(f"reference: {new.reference!r} is in this campaign already")
    if session.scalar(select(Enrollment.id).where(Enrollment.patient_id == known.id, Enrollment.ended_because == StopEvent.DEATH.value).limit(1)):
        raise EnrollmentConflict(f"reference: {new.reference!r} is on record as having died")
    return known


def _minutes_until_quiet(hour: int) -> int:
    """From this full hour until the quiet hours that hold everywhere."""
    ends = knowledge().quiet_hours["default"].every_day[1]
    return (ends.hour - hour) * 60 + ends.minute


def _new_patient(session: Session, new: NewPatient, at: datetime) -> Patient:
    patient = Patient(
        reference=new.reference,
        name=new.name,
        phone=new.phone,
        phone_index=blind_index(new.phone),
        date_of_birth=new.date_of_birth.isoformat(),
        sex=new.sex,
        language=new.language,
        timezone=new.timezone,
        state=new.state,
        carrier=new.carrier,
        shared_phone=new.shared_phone,
        created_at=at,
    )
    session.add(patient)
    session.flush()
    session.add(Conversation(patient_id=patient.id))
    session.flush()
    return patient
