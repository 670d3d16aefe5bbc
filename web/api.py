"""The JSON API (HTTP Basic): campaigns and enrolment for programme leads, a patient's opt-out, number and who reads the phone for every user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from care.campaigns import operation
from care.campaigns.overview import CampaignRow, overview
from care.campaigns.preview import PreviewedContact, preview, preview_new
from care.campaigns.service import CampaignInvalid, CampaignNotFound, EnrollmentConflict, campaign_named, create_campaign, enroll
from care.clock import service_clock
from care.knowledge.model import StopEvent
from care.patients.consent import ConsentStatus
from care.patients.corrections import PhoneConflict, opt_out, set_phone, set_phone_use
from care.patients.model import CheckedPhone, NewPatient, OptOut, PhoneUse, Place
from care.patients.record import PatientNotFound, find_patient
from care.storage.engine import reading, transaction
from care.storage.tables import Campaign, Patient, Role, User
from care.users import check_password

router = APIRouter(prefix="/api/v1")
_basic = HTTPBasic(realm="aftercare")


class NewCampaign(BaseModel):
    """A campaign to be made."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=120)
    protocol: str = Field(max_length=64)
    send_hour: int = 10
    spread_minutes: int = 60
    weekdays_only: bool = False


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


class Contacts(BaseModel):
    """How many contacts were touched, or are planned now."""

    contacts: int


class Enrollments(BaseModel):
    """How many enrollments ended."""

    enrollments: int


class Amendment(BaseModel):
    """What becomes of the patients in flight."""

    model_config = ConfigDict(extra="forbid")

    move_patients: bool


class Anchor(BaseModel):
    """The new date of the discharge."""

    model_config = ConfigDict(extra="forbid")

    anchor: date


class End(BaseModel):
    """What ended the follow-up."""

    model_config = ConfigDict(extra="forbid")

    because: StopEvent


class Visit(BaseModel):
    """A visit; `at` with its offset from UTC."""

    model_config = ConfigDict(extra="forbid")

    at: AwareDatetime


class Appointment(Visit):
    """A visit to be reminded of; `instead_of` is when it was to be before it was moved."""

    instead_of: AwareDatetime | None = None


class ContactPlanned(BaseModel):
    """The contact that was planned."""

    contact: str
    due_at: datetime


class ConsentNow(BaseModel):
    """The consent that now holds; `unknown`: it is asked for with the next check-in."""

    consent: ConsentStatus


def signed_in(given: Annotated[HTTPBasicCredentials, Depends(_basic)]) -> User:
    """A user of either role. Raises 401."""
    with transaction() as session:
        user = check_password(session, given.username, given.password)
    if user is None:
        raise HTTPException(401, "name or password is not right", headers={"WWW-Authenticate": "Basic"})
    return user


AnyUser = Annotated[User, Depends(signed_in)]


def programme_lead(user: AnyUser) -> User:
    """A user with the role `lead`. Raises 401, 403."""
    if user.role is not Role.LEAD:
        raise HTTPException(403, "this needs the role of a programme lead")
    return user


Lead = Annotated[User, Depends(programme_lead)]


@contextmanager
def _changing(name: str) -> Iterator[tuple[Session, Campaign, datetime]]:
    """A transaction on the campaign. Raises 404, 409, 422."""
    with transaction() as session:
        try:
            yield session, campaign_named(session, name), service_clock().now()
        except CampaignNotFound as error:
            raise HTTPException(404, str(error)) from error
        except EnrollmentConflict as error:
            raise HTTPException(409, str(error)) from error
        except CampaignInvalid as error:
            raise HTTPException(422, str(error)) from error


@contextmanager
def _patient(reference: str) -> Iterator[tuple[Session, Patient]]:
    """A transaction on the patient. Raises 404, 409."""
    with transaction() as session:
        try:
            yield session, find_patient(session, reference)
        except PatientNotFound as error:
            raise HTTPException(404, str(error)) from error
        except PhoneConflict as error:
            raise HTTPException(409, str(error)) from error


@router.get("/campaigns", dependencies=[Depends(programme_lead)])
def campaigns() -> list[CampaignRow]:
    """Every campaign, its state, and how far its contacts are."""
    with reading() as session:
        return overview(session)


@router.post("/campaigns", status_code=201)
def make_campaign(new: NewCampaign, lead: Lead) -> CampaignMade:
    """Makes a campaign on a protocol."""
    with transaction() as session:
        try:
            made = create_campaign(session, actor=f"user:{lead.id}", at=service_clock().now(), **new.model_dump())
        except CampaignInvalid as error:
            raise HTTPException(422, str(error)) from error
    return CampaignMade(id=made.id, name=made.name, protocol=made.protocol, protocol_version=made.protocol_version)


@router.post("/campaigns/{name}/patients", status_code=201)
def enroll_patient(name: str, patient: NewPatient, lead: Lead) -> PatientEnrolled:
    """Enrols a patient and plans every contact."""
    with _changing(name) as (session, campaign, now):
        done = enroll(session, campaign, patient, now, actor=f"user:{lead.id}")
    return PatientEnrolled(patient=done.patient_id, enrollment=done.enrollment_id, contacts=done.contacts)


@router.get("/campaigns/{name}/preview", dependencies=[Depends(programme_lead)])
def preview_contacts(name: str, most: Annotated[int, Query(ge=1, le=10_000)] = 1000) -> list[PreviewedContact]:
    """What will be sent next to those enrolled: who, when in local time, in what words, how many segments, at what price."""
    with _changing(name) as (session, campaign, _):
        return list(islice(preview(session, campaign), most))


@router.post("/campaigns/{name}/preview", dependencies=[Depends(programme_lead)])
def preview_patient(name: str, patient: NewPatient) -> list[PreviewedContact]:
    """What a patient would get who is not enrolled yet; nothing is stored."""
    with _changing(name) as (_, campaign, now):
        return preview_new(campaign, patient, now)


@router.post("/campaigns/{name}/pause")
def pause_campaign(name: str, lead: Lead) -> Contacts:
    """Holds everything that is planned."""
    with _changing(name) as (session, campaign, now):
        return Contacts(contacts=operation.pause(session, campaign, f"user:{lead.id}", now))


@router.post("/campaigns/{name}/resume")
def resume_campaign(name: str, lead: Lead) -> Contacts:
    """Goes on; what became stale meanwhile is skipped and recorded."""
    with _changing(name) as (session, campaign, now):
        return Contacts(contacts=operation.resume(session, campaign, f"user:{lead.id}", now))


@router.post("/campaigns/{name}/stop")
def stop_campaign(name: str, lead: Lead) -> Enrollments:
    """Ends the campaign for everybody in it."""
    with _changing(name) as (session, campaign, now):
        return Enrollments(enrollments=operation.stop(session, campaign, f"user:{lead.id}", now))


@router.post("/campaigns/{name}/amend")
def amend_campaign(name: str, how: Amendment, lead: Lead) -> operation.Amended:
    """Takes up the protocol's present version; patients in flight keep theirs or move to it."""
    with _changing(name) as (session, campaign, now):
        return operation.amend(session, campaign, f"user:{lead.id}", now, move_patients=how.move_patients)


@router.post("/campaigns/{name}/patients/{reference}/move")
def move_patient(name: str, reference: str, to: Anchor, lead: Lead) -> Contacts:
    """The patient's discharge moved: plans again what is still to come."""
    with _changing(name) as (session, campaign, now):
        enrollment = operation.enrollment_of(session, campaign, reference)
        return Contacts(contacts=operation.reanchor(session, enrollment, to.anchor, f"user:{lead.id}", now))


@router.post("/patients/{reference}/place")
def relocate_patient(reference: str, place: Place, user: AnyUser) -> Contacts:
    """The patient is in another time zone or state: plans again what is still to come, in every campaign."""
    with _patient(reference) as (session, patient):
        return Contacts(contacts=operation.relocate(session, patient, place, f"user:{user.id}", service_clock().now()))


@router.post("/patients/{reference}/opt-out")
def opt_patient_out(reference: str, wish: OptOut, user: AnyUser) -> ConsentNow:
    """The patient asked a person for no more messages: ends them all."""
    with _patient(reference) as (session, patient):
        opt_out(session, patient, wish, actor=f"user:{user.id}", at=service_clock().now())
    return ConsentNow(consent="revoked")


@router.post("/patients/{reference}/phone")
def correct_phone(reference: str, checked: CheckedPhone, user: AnyUser) -> ConsentNow:
    """The patient's number, as a person checked it: another one, or the one on record that was in doubt."""
    with _patient(reference) as (session, patient):
        return ConsentNow(consent=set_phone(session, patient, checked.phone, actor=f"user:{user.id}", at=service_clock().now()))


@router.post("/patients/{reference}/phone-use")
def say_who_reads(reference: str, use: PhoneUse, user: AnyUser) -> PhoneUse:
    """Whether others read the patient's phone."""
    with _patient(reference) as (session, patient):
        set_phone_use(session, patient, shared=use.shared, actor=f"user:{user.id}", at=service_clock().now())
    return use


@router.post("/campaigns/{name}/patients/{reference}/end")
def end_patient(name: str, reference: str, why: End, lead: Lead) -> Enrollments:
    """Ends the patient's follow-up at once."""
    with _changing(name) as (session, campaign, now):
        enrollment = operation.enrollment_of(session, campaign, reference)
        return Enrollments(enrollments=operation.end_enrollment(session, enrollment, why.because, f"user:{lead.id}", now))


@router.post("/campaigns/{name}/patients/{reference}/appointments", status_code=201)
def add_appointment(name: str, reference: str, visit: Appointment, user: AnyUser) -> ContactPlanned:
    """Plans the reminder of a visit, for the day before it; of a visit that was moved, in place of the old one's."""
    with _changing(name) as (session, campaign, now):
        enrollment = operation.enrollment_of(session, campaign, reference)
        contact = operation.add_appointment(session, enrollment, visit.at, f"user:{user.id}", now, instead_of=visit.instead_of)
        return ContactPlanned(contact=contact.id, due_at=contact.due_at)


@router.post("/campaigns/{name}/patients/{reference}/appointments/cancel", status_code=204)
def cancel_appointment(name: str, reference: str, visit: Visit, user: AnyUser) -> None:
    """The visit does not take place: its reminder goes."""
    with _changing(name) as (session, campaign, now):
        operation.cancel_appointment(session, operation.enrollment_of(session, campaign, reference), visit.at, f"user:{user.id}", now)
