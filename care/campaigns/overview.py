"""What a programme lead sees of the campaigns: how far each is, and how it goes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from care.storage.tables import Campaign, CampaignState, Contact, ContactState, Enrollment


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
