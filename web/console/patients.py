"""A patient's page: the number, the consent, the visits and the place, for every coordinator to correct."""

from __future__ import annotations

from functools import cache
from typing import Annotated
from urllib.parse import urlencode
from zoneinfo import ZoneInfo, available_timezones

from fastapi import APIRouter, Cookie, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BeforeValidator, NaiveDatetime, StringConstraints
from sqlalchemy.orm import Session

from care.audit import record
from care.campaigns import operation
from care.campaigns.overview import follow_ups
from care.campaigns.service import CampaignNotFound
from care.clock import service_clock
from care.escalations.board import open_cases, resolved_cases
from care.patients.consent import consent_history, consent_status, number_in_doubt
from care.patients.corrections import opt_out, set_phone, set_phone_use
from care.patients.model import OptOut, Phone, Place, State, Way, Zone
from care.patients.record import find_patient, patient_with
from care.sessions import csrf_token
from care.storage.engine import reading, transaction
from care.storage.tables import Campaign, Enrollment, EnrollmentState, Patient, Role
from web.console.page import Coordinator, genuine, pages, some_words, taken

router = APIRouter(prefix="/console/patients", include_in_schema=False)
Reference = Annotated[str, Form(max_length=64)]
CampaignId = Annotated[str, Form(max_length=32)]
LocalTime = Annotated[NaiveDatetime, Form()]
"""By the clock where the patient is."""


@router.get("")
def patient_page(request: Request, user: Coordinator, reference: str = "", aftercare_console: Annotated[str, Cookie()] = "") -> HTMLResponse:
    """The patient with the clinic's reference; reading the page is on record."""
    values = {"user": user, "csrf": csrf_token(aftercare_console), "ways": list(Way), "patient": None}
    with transaction() as session:
        if reference:
            patient, now = find_patient(session, reference.strip()), service_clock().now()
            record(session, actor=f"user:{user.id}", action="patient_read", subject=patient.id, at=now)
            values |= {
                "patient": patient,
                "history": consent_history(session, patient.id),
                "consent": consent_status(session, patient.id),
                "in_doubt": number_in_doubt(session, patient.id),
                "cases": open_cases(session, patient.id, now) + resolved_cases(session, patient.id, now),
                "follow_ups": follow_ups(session, patient, now),
                "runs": EnrollmentState.ACTIVE,
                "is_lead": user.role is Role.LEAD,
                "zones": _zones(),
            }
    return pages.TemplateResponse(request, "patient.html", values)


@router.post("/find", dependencies=[Depends(genuine)])
def find(request: Request, user: Coordinator, sought: Annotated[str, Form(max_length=64)] = "", aftercare_console: Annotated[str, Cookie()] = "") -> Response:
    """To the page of the patient with this reference or phone. A form of its own: a phone number in an address would be kept in histories and logs."""
    with reading() as session:
        patient = patient_with(session, sought.strip())
    if patient:
        return RedirectResponse(_page(patient.reference), status_code=303)
    values = {"user": user, "csrf": csrf_token(aftercare_console), "patient": None, "sought": sought}
    return pages.TemplateResponse(request, "patient.html", values, status_code=404)


@router.post("/opt-out", dependencies=[Depends(genuine)])
def end_messages(
    user: Coordinator,
    reference: Annotated[str, Form()],
    way: Annotated[Way, Form()],
    words: Annotated[str, BeforeValidator(some_words), StringConstraints(max_length=1000), Form()],
) -> Response:
    """The patient asked a person for no more messages."""
    with transaction() as session:
        opt_out(session, find_patient(session, reference), OptOut(way=way, words=words), actor=f"user:{user.id}", at=service_clock().now())
    return _back(reference)


@router.post("/phone", dependencies=[Depends(genuine)])
def correct_phone(user: Coordinator, reference: Annotated[str, Form()], phone: Annotated[Phone, Form()]) -> Response:
    """The number that a person checked to be the patient's."""
    with transaction() as session:
        set_phone(session, find_patient(session, reference), phone, actor=f"user:{user.id}", at=service_clock().now())
    return _back(reference)


@router.post("/phone-use", dependencies=[Depends(genuine)])
def say_who_reads(user: Coordinator, reference: Reference, shared: Annotated[bool, Form()]) -> Response:
    """Whether others read the patient's phone."""
    with transaction() as session:
        set_phone_use(session, find_patient(session, reference), shared=shared, actor=f"user:{user.id}", at=service_clock().now())
    return _back(reference)


@router.post("/visit", dependencies=[Depends(genuine)])
def remind_of_visit(
    user: Coordinator, reference: Reference, campaign: CampaignId, at: LocalTime, instead_of: Annotated[NaiveDatetime | None, Form()] = None
) -> Response:
    """The patient is reminded of a visit the day before it; of one that was moved, in place of the old one."""
    with transaction() as session:
        patient, enrollment, zone = _enrolled(session, reference, campaign)
        moved = instead_of.replace(tzinfo=zone) if instead_of else None
        operation.add_appointment(session, enrollment, at.replace(tzinfo=zone), f"user:{user.id}", service_clock().now(), instead_of=moved)
    return _back(patient.reference)


@router.post("/cancel-visit", dependencies=[Depends(genuine)])
def call_visit_off(user: Coordinator, reference: Reference, campaign: CampaignId, at: LocalTime) -> Response:
    """The visit does not take place."""
    with transaction() as session:
        patient, enrollment, zone = _enrolled(session, reference, campaign)
        operation.cancel_appointment(session, enrollment, at.replace(tzinfo=zone), f"user:{user.id}", service_clock().now())
    return _back(patient.reference)


@router.post("/place", dependencies=[Depends(genuine)])
def relocate(user: Coordinator, reference: Reference, timezone: Annotated[Zone, Form()], state: Annotated[State | None, Form()] = None) -> Response:
    """The patient is in another time zone or state."""
    with transaction() as session:
        operation.relocate(session, find_patient(session, reference), Place(timezone=timezone, state=state), f"user:{user.id}", service_clock().now())
    return _back(reference)


def _enrolled(session: Session, reference: str, campaign_id: str) -> tuple[Patient, Enrollment, ZoneInfo]:
    patient, campaign = find_patient(session, reference), session.get(Campaign, campaign_id)
    if campaign is None:
        raise CampaignNotFound(campaign_id)
    return patient, operation.enrollment_of(session, campaign, reference), ZoneInfo(patient.timezone)


@cache
def _zones() -> list[str]:
    return sorted(zone for zone in available_timezones() if zone.split("/")[0] in {"Africa", "America", "Asia", "Atlantic", "Australia", "Europe", "Pacific"})


def _page(reference: str) -> str:
    return f"/console/patients?{urlencode({'reference': reference})}"


def _back(reference: str) -> Response:
    return taken(_page(reference))
