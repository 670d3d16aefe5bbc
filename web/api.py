"""The JSON API for programmes: campaigns and enrolment, for programme leads (HTTP Basic)."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import BaseModel, ConfigDict, Field

from care.campaigns.service import CampaignInvalid, CampaignNotFound, EnrollmentConflict, campaign_named, create_campaign, enroll
from care.clock import service_clock
from care.patients.model import NewPatient
from care.sessions import check_password
from care.storage.engine import transaction
from care.storage.tables import Role, User

router = APIRouter(prefix="/api/v1")
_basic = HTTPBasic(realm="aftercare")


class NewCampaign(BaseModel):
    """A campaign to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=120)
    protocol: str = Field(max_length=64)
    send_hour: int = 10


class CampaignMade(BaseModel):
    """The campaign that was made."""

    id: str
    name: str
    protocol: str
    protocol_version: str


class PatientEnrolled(BaseModel):
    """What enrolling did."""

    patient: str
    enrollment: str
    contacts: int


def programme_lead(given: Annotated[HTTPBasicCredentials, Depends(_basic)]) -> User:
    """A user with the role `lead`. Raises 401, 403."""
    with transaction() as session:
        user = check_password(session, given.username, given.password)
    if user is None:
        raise HTTPException(401, "name or password is not right", headers={"WWW-Authenticate": "Basic"})
    if user.role is not Role.LEAD:
        raise HTTPException(403, "this needs the role of a programme lead")
    return user


@router.post("/campaigns", status_code=201, dependencies=[Depends(programme_lead)])
def make_campaign(new: NewCampaign) -> CampaignMade:
    """Makes a campaign on a protocol."""
    with transaction() as session:
        try:
            made = create_campaign(session, new.name, new.protocol, service_clock().now(), new.send_hour)
        except CampaignInvalid as error:
            raise HTTPException(422, str(error)) from error
    return CampaignMade(id=made.id, name=made.name, protocol=made.protocol, protocol_version=made.protocol_version)


@router.post("/campaigns/{name}/patients", status_code=201, dependencies=[Depends(programme_lead)])
def enroll_patient(name: str, patient: NewPatient) -> PatientEnrolled:
    """Enrols a patient and plans every contact."""
    with transaction() as session:
        try:
            done = enroll(session, campaign_named(session, name), patient, service_clock().now())
        except CampaignNotFound as error:
            raise HTTPException(404, str(error)) from error
        except EnrollmentConflict as error:
            raise HTTPException(409, str(error)) from error
    return PatientEnrolled(patient=done.patient_id, enrollment=done.enrollment_id, contacts=done.contacts)
