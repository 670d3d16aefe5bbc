"""A patient's page: the number and the consent, for every coordinator to correct."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Cookie, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from care.audit import record
from care.clock import service_clock
from care.patients.consent import consent_history, number_in_doubt
from care.patients.corrections import opt_out, set_phone
from care.patients.model import OptOut, Phone, Way
from care.patients.record import find_patient
from care.sessions import csrf_token
from care.storage.engine import transaction
from web.console.page import Coordinator, genuine, pages

router = APIRouter(prefix="/console/patients", include_in_schema=False)


@router.get("")
def patient_page(request: Request, user: Coordinator, reference: str = "", aftercare_console: Annotated[str, Cookie()] = "") -> HTMLResponse:
    """Finds a patient by the clinic's reference; reading the page is on record."""
    values = {"user": user, "csrf": csrf_token(aftercare_console), "ways": list(Way), "patient": None}
    with transaction() as session:
        if reference:
            patient = find_patient(session, reference.strip())
            record(session, actor=f"user:{user.id}", action="patient_read", subject=patient.id, at=service_clock().now())
            values |= {"patient": patient, "history": consent_history(session, patient.id), "in_doubt": number_in_doubt(session, patient.id)}
    return pages.TemplateResponse(request, "patient.html", values)


@router.post("/opt-out", dependencies=[Depends(genuine)])
def end_messages(
    user: Coordinator, reference: Annotated[str, Form()], way: Annotated[Way, Form()], words: Annotated[str, Form(min_length=1, max_length=1000)]
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


def _back(reference: str) -> Response:
    return RedirectResponse(f"/console/patients?{urlencode({'reference': reference})}", status_code=303)
