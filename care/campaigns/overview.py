"""What people see of the campaigns: how far each is, and where a patient is in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from care.campaigns.operation import CANCELLED
from care.storage.tables import Campaign, CampaignState, Contact, ContactState, Enrollment, EnrollmentState, Patient


@dataclass(frozen=True)
class CampaignRow:
    """A campaign, how many patients are in it, and how many of its contacts are in each state."""

    id: str
    name: str
    protocol: str
    version: str
    state: CampaignState
    patients: int
    contacts: dict[ContactState, int]


def overview(session: Session) -> list[CampaignRow]:
    """Every campaign, the newest first."""
    patients = {row[0]: row[1] for row in session.execute(select(Enrollment.campaign_id, func.count()).group_by(Enrollment.campaign_id))}
    contacts: dict[str, dict[ContactState, int]] = {}
    counted = (
        select(Enrollment.campaign_id, Contact.state, func.count())
        .join(Contact, Contact.enrollment_id == Enrollment.id)
        .group_by(Enrollment.campaign_id, Contact.state)
    )
    for campaign_id, state, count in session.execute(counted):
        contacts.setdefault(campaign_id, {})[state] = count
    return [
        CampaignRow(each.id, each.name, each.protocol, each.protocol_version, each.state, patients.get(each.id, 0), contacts.get(each.id, {}))
        for each in session.scalars(select(Campaign).order_by(Campaign.created_at.desc()))
    ]


@dataclass(frozen=True)
class FollowUp:
    """A patient's enrollment in a campaign: the contact that comes next and the visits to come, by the clock where the patient is."""

    campaign_id: str
    campaign: str
    protocol: str
    anchor: date
    state: EnrollmentState
    ended_because: str | None
    next_contact: datetime | None
    visits: list[datetime]


def follow_ups(session: Session, patient: Patient, at: datetime) -> list[FollowUp]:
    """The patient's enrollments, the newest first."""
    zone = ZoneInfo(patient.timezone)
    enrolled = select(Enrollment, Campaign).join(Campaign, Campaign.id == Enrollment.campaign_id).where(Enrollment.patient_id == patient.id)
    found = []
    for enrollment, campaign in session.execute(enrolled.order_by(Enrollment.created_at.desc())):
        contacts = session.scalars(select(Contact).where(Contact.enrollment_id == enrollment.id)).all()
        planned = [each.next_at for each in contacts if each.state is ContactState.PLANNED and each.next_at]
        visits = sorted(each.appointment_at for each in contacts if each.appointment_at and each.appointment_at > at and each.skipped_because != CANCELLED)
        found.append(
            FollowUp(
                campaign_id=campaign.id,
                campaign=campaign.name,
                protocol=campaign.protocol,
                anchor=enrollment.anchor,
                state=enrollment.state,
                ended_because=enrollment.ended_because,
                next_contact=min(planned).astimezone(zone) if planned else None,
                visits=[each.astimezone(zone) for each in visits],
            )
        )
    return found
