"""The programme lead's pages: campaigns, what they will send, enrolling from a CSV, and what changes while they run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Cookie, Depends, Form, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from sqlalchemy.orm import Session
from starlette.datastructures import URL

from care.campaigns import operation
from care.campaigns.overview import overview
from care.campaigns.preview import PreviewedContact, preview, preview_new
from care.campaigns.roster import Roster, RosterInvalid, read_roster, take_in
from care.campaigns.service import CampaignInvalid, CampaignNotFound, create_campaign
from care.clock import service_clock
from care.knowledge import knowledge
from care.knowledge.model import StopEvent
from care.sessions import csrf_token
from care.storage.engine import reading, transaction
from care.storage.tables import Campaign, CampaignState
from care.texts import counted
from web.console.page import Lead, genuine, pages, programme_lead

router = APIRouter(prefix="/console/campaigns", include_in_schema=False)
_SHOWN = 50
_SAMPLES = 3


class Change(StrEnum):
    """What a lead may do to a running campaign."""

    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    AMEND_KEEP = "amend_keep"
    AMEND_MOVE = "amend_move"


@dataclass(frozen=True)
class Forecast:
    """What enrolling a roster would send: all contacts in number, the first patients' in words."""

    patients: int
    contacts: int
    segments: int
    price: float
    samples: list[list[PreviewedContact]]


@router.get("")
def campaigns(request: Request, lead: Lead, aftercare_console: Annotated[str, Cookie()] = "") -> HTMLResponse:
    """Every campaign, and the form for a new one."""
    with reading() as session:
        rows = overview(session)
    values = {"campaigns": rows, "protocols": sorted(knowledge().protocols), "user": lead, "csrf": csrf_token(aftercare_console)}
    return pages.TemplateResponse(request, "campaigns.html", values)


@router.post("", dependencies=[Depends(genuine)])
def make(
    lead: Lead,
    name: Annotated[str, Form(min_length=1, max_length=120)],
    protocol: Annotated[str, Form(max_length=64)],
    send_hour: Annotated[int, Form()] = 10,
    spread_minutes: Annotated[int, Form()] = 60,
    weekdays_only: Annotated[bool, Form()] = False,
) -> Response:
    """Makes a campaign."""
    with transaction() as session:
        made = create_campaign(
            session,
            name.strip(),
            protocol,
            service_clock().now(),
            send_hour=send_hour,
            spread_minutes=spread_minutes,
            weekdays_only=weekdays_only,
            actor=f"user:{lead.id}",
        )
        return _to(made.id)


@router.get("/{campaign_id}")
def one(request: Request, campaign_id: str, lead: Lead, aftercare_console: Annotated[str, Cookie()] = "", done: str = "") -> HTMLResponse:
    """How far a campaign is, what it sends next, and what can be done to it."""
    with reading() as session:
        campaign = _campaign(session, campaign_id)
        row = next(each for each in overview(session) if each.id == campaign.id)
        coming = list(islice(preview(session, campaign), _SHOWN))
    newest = knowledge().protocols[campaign.protocol].version
    values = {
        "campaign": row,
        "coming": coming,
        "newest": newest,
        "events": list(StopEvent),
        "states": CampaignState,
        "done": done,
        "user": lead,
        "csrf": csrf_token(aftercare_console),
    }
    return pages.TemplateResponse(request, "campaign.html", values)


@router.post("/{campaign_id}/change", dependencies=[Depends(genuine)])
def change(campaign_id: str, lead: Lead, how: Annotated[Change, Form()]) -> Response:
    """Pauses, resumes, stops or amends it."""
    actor, now = f"user:{lead.id}", service_clock().now()
    with transaction() as session:
        campaign = _campaign(session, campaign_id)
        match how:
            case Change.PAUSE:
                done = counted(operation.pause(session, campaign, actor, now), "contact is held", "contacts are held")
            case Change.RESUME:
                done = counted(operation.resume(session, campaign, actor, now), "contact goes on", "contacts go on")
            case Change.STOP:
                done = f"follow-up of {counted(operation.stop(session, campaign, actor, now), 'patient', 'patients')} ended"
            case Change.AMEND_KEEP | Change.AMEND_MOVE:
                amended = operation.amend(session, campaign, actor, now, move_patients=how is Change.AMEND_MOVE)
                done = f"runs version {amended.version}: {counted(amended.moved, 'patient', 'patients')} moved to it, {amended.kept} left with theirs"
    return _to(campaign_id, done)


@router.post("/{campaign_id}/move", dependencies=[Depends(genuine)])
def move(campaign_id: str, lead: Lead, reference: Annotated[str, Form(max_length=64)], anchor: Annotated[date, Form()]) -> Response:
    """A patient's discharge moved."""
    with transaction() as session:
        enrollment = operation.enrollment_of(session, _campaign(session, campaign_id), reference.strip())
        planned = operation.reanchor(session, enrollment, anchor, f"user:{lead.id}", service_clock().now())
    return _to(campaign_id, f"{reference}: {counted(planned, 'contact is', 'contacts are')} planned from {anchor}")


@router.post("/{campaign_id}/end", dependencies=[Depends(genuine)])
def end(campaign_id: str, lead: Lead, reference: Annotated[str, Form(max_length=64)], because: Annotated[StopEvent, Form()]) -> Response:
    """A patient's follow-up ends at once."""
    with transaction() as session:
        enrollment = operation.enrollment_of(session, _campaign(session, campaign_id), reference.strip())
        ended = operation.end_enrollment(session, enrollment, because, f"user:{lead.id}", service_clock().now())
    return _to(campaign_id, f"{reference}: {ended} follow-ups ended")


@router.post("/{campaign_id}/roster", dependencies=[Depends(genuine), Depends(programme_lead)])
def check_roster(request: Request, campaign_id: str, lead: Lead, roster: UploadFile, aftercare_console: Annotated[str, Cookie()] = "") -> HTMLResponse:
    """What a CSV would do: its bad rows, and what the good ones would be sent. Nobody is enrolled yet."""
    raw = roster.file.read()
    with reading() as session:
        campaign = _campaign(session, campaign_id)
    try:
        read = read_roster(raw, roster.filename or "roster.csv")
    except RosterInvalid as error:
        raise CampaignInvalid(str(error)) from error
    values = {
        "campaign": campaign,
        "roster": read,
        "text": raw.decode("utf-8-sig"),
        "forecast": _forecast(campaign, read),
        "user": lead,
        "csrf": csrf_token(aftercare_console),
    }
    return pages.TemplateResponse(request, "roster.html", values)


@router.post("/{campaign_id}/enroll", dependencies=[Depends(genuine)])
def enroll_roster(campaign_id: str, lead: Lead, text: Annotated[str, Form(max_length=1_000_000)]) -> Response:
    """Enrols the good rows of a CSV that was checked."""
    with reading() as session:
        _campaign(session, campaign_id)
    try:
        roster = read_roster(text.encode(), "roster")
    except RosterInvalid as error:
        raise CampaignInvalid(str(error)) from error
    enrolled = take_in(campaign_id, roster, service_clock().now(), skip_bad=True, actor=f"user:{lead.id}")
    left_out = f"; left out: {', '.join(f'line {row.line} ({row.field})' for row in roster.bad[:_SHOWN])}" if roster.bad else ""
    return _to(campaign_id, f"{counted(enrolled, 'patient', 'patients')} enrolled{left_out}")


def _campaign(session: Session, campaign_id: str) -> Campaign:
    found = session.get(Campaign, campaign_id)
    if found is None:
        raise CampaignNotFound(campaign_id)
    return found


def _forecast(campaign: Campaign, roster: Roster) -> Forecast:
    now = service_clock().now()
    contacts = segments = 0
    price = 0.0
    samples = []
    for number, (_, patient) in enumerate(roster.patients):
        coming = preview_new(campaign, patient, now)
        contacts += len(coming)
        segments += sum(each.segments for each in coming)
        price += sum(each.price for each in coming)
        if number < _SAMPLES:
            samples.append(coming)
    return Forecast(len(roster.patients), contacts, segments, round(price, 2), samples)


def _to(campaign_id: str, done: str = "") -> Response:
    return RedirectResponse(str(URL(f"/console/campaigns/{campaign_id}").include_query_params(**({"done": done} if done else {}))), status_code=303)
