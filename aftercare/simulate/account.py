"""Judging a simulation: every contact on time or accounted for, no message at a wrong hour, to someone who opted out, or twice, and none lost."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from aftercare.simulate.phones import RED_FLAG, Phone
from care.acuity import Acuity
from care.campaigns.hours import next_open
from care.campaigns.plan import place_of
from care.settings import settings
from care.storage.engine import reading
from care.storage.tables import Consent, Contact, ContactState, Escalation, Inbound, InboundState, Outbound, OutboundState, Patient

_ON_TIME = timedelta(hours=2)
_WORTH_NAMING = 5


@dataclass(frozen=True)
class Outage:
    """What was away, and when."""

    what: str
    begins: datetime
    ends: datetime


class Day(BaseModel):
    """What happened on one day of the simulation."""

    day: int
    begun: int = 0
    answered: int = 0
    late: int = 0
    skipped: int = 0
    escalated: int = 0
    messages: int = 0


class Account(BaseModel):
    """What a simulation came to. `wrong` is empty where every promise was kept; each entry names the promise, how often it was broken and where first."""

    patients: int
    behaviours: dict[str, int]
    days: list[Day]
    contacts_due: int
    on_time: int
    later_but_in_time: int
    not_handed_over: dict[str, int]
    skipped: dict[str, int]
    answered: int
    messages: int
    replies: int
    escalations: dict[str, int]
    red_flags: int
    speed: float
    wrong: list[str]


def account(owned: dict[str, Phone], replies: list[tuple[str, str]], began: datetime, ends: datetime) -> Account:
    """Compares what the database says with what the emulator's ledger saw and the phones sent. A contact is begun once Twilio has its first words.

    The service goes on meanwhile: the ledger is read before the database, which then knows all that the ledger has.
    """
    sids = _sids_at_twilio()
    with reading() as session:
        due = session.scalars(select(Contact).where(Contact.due_at < ends)).all()
        handed_over = first_handed_over(session)
        begun = [contact for contact in due if contact.id in handed_over]
        late = [contact for contact in begun if handed_over[contact.id] > contact.not_after]
        in_time = [contact for contact in begun if handed_over[contact.id] - contact.due_at <= _ON_TIME]
        taken = session.scalars(select(Outbound).where(Outbound.external_id.is_not(None))).all()
        known = {message.external_id for message in taken}
        escalations = session.scalars(select(Escalation)).all()
        flagged = sum(body == RED_FLAG for _, body in replies)
        return Account(
            patients=len(owned),
            behaviours=dict(Counter(phone.behaviour.value for phone in owned.values())),
            days=_by_day(due, handed_over, taken, escalations, began, ends),
            contacts_due=len(due),
            on_time=len(in_time),
            later_but_in_time=len(begun) - len(in_time) - len(late),
            not_handed_over=not_handed_over(session, due, handed_over),
            skipped=dict(Counter(str(contact.skipped_because) for contact in due if contact.state is ContactState.SKIPPED)),
            answered=sum(contact.completed_at is not None for contact in due),
            messages=len(taken),
            replies=len(replies),
            escalations=dict(Counter(each.reason for each in escalations)),
            red_flags=flagged,
            speed=settings().clock_speed,
            wrong=[
                *_named("begun after it was stale", [contact.id for contact in late]),
                *_named("neither begun nor skipped", [contact.id for contact in due if contact.state is ContactState.PLANNED and contact.not_after < ends]),
                *_named("sent in quiet hours", _in_quiet_hours(session, taken)),
                *_named("sent after the patient opted out", _after_opt_out(session, taken)),
                *_named("sent twice", _twice(taken)),
                *_named("at Twilio but not of ours", [sid for sid in sids if sid not in known]),
                *_named("sent by a phone and not stored", _lost(session, len(replies))),
                *_named("stored and not handled", _unhandled(session)),
                *_named("a red flag without an escalation", _missed(session, flagged)),
            ],
        )


def first_handed_over(session: Session) -> dict[str, datetime]:
    """When Twilio took the first words of each contact; a contact of which it took none is left out."""
    first = select(Outbound.contact_id, func.min(Outbound.sent_at)).where(Outbound.contact_id.is_not(None), Outbound.external_id.is_not(None))
    return {row[0]: row[1] for row in session.execute(first.group_by(Outbound.contact_id)) if row[0] and row[1]}


def not_handed_over(session: Session, due: Sequence[Contact], handed_over: Mapping[str, datetime]) -> dict[str, int]:
    """What became of the first words that were written and that Twilio never took."""
    missing = {contact.id for contact in due if contact.started_at is not None and contact.id not in handed_over}
    states = {row[0]: row[1] for row in session.execute(select(Outbound.contact_id, Outbound.state).order_by(Outbound.id.desc())) if row[0] in missing}
    return dict(Counter(str(states.get(each, "unwritten")) for each in missing))


def _named(what: str, where: list[str]) -> list[str]:
    return [f"{what}: {len(where)} ({', '.join(where[:_WORTH_NAMING])})"] if where else []


def _by_day(
    due: Sequence[Contact],
    handed_over: Mapping[str, datetime],
    taken: Sequence[Outbound],
    escalations: Sequence[Escalation],
    began: datetime,
    ends: datetime,
) -> list[Day]:
    days = [Day(day=day) for day in range((ends - began).days + 1)]

    def on(moment: datetime) -> Day:
        return days[min(max((moment - began).days, 0), len(days) - 1)]

    for contact in due:
        if contact.id in handed_over:
            on(handed_over[contact.id]).begun += 1
            on(handed_over[contact.id]).late += handed_over[contact.id] - contact.due_at > _ON_TIME
        if contact.completed_at is not None:
            on(contact.completed_at).answered += 1
        if contact.state is ContactState.SKIPPED:
            on(contact.due_at).skipped += 1
    for escalation in escalations:
        on(escalation.created_at).escalated += 1
    for message in taken:
        on(message.sent_at or message.created_at).messages += 1
    return days


def _in_quiet_hours(session: Session, taken: Sequence[Outbound]) -> list[str]:
    """Messages that our side began, outside the patient's hours. An answer may follow the patient's own message at any hour."""
    places = {patient.id: place_of(patient) for patient in session.scalars(select(Patient))}
    ours = set(session.scalars(select(Inbound.id).where(Inbound.trigger.is_not(None))))
    begun = [message for message in taken if message.sent_at and (message.inbound_id is None or message.inbound_id in ours)]
    return [message.reference for message in begun if message.sent_at and next_open(message.sent_at, places[message.patient_id]) > message.sent_at]


def _after_opt_out(session: Session, taken: Sequence[Outbound]) -> list[str]:
    revoked = {
        row[0]: row[1]
        for row in session.execute(select(Consent.patient_id, func.min(Consent.at)).where(Consent.granted.is_(False)).group_by(Consent.patient_id))
    }
    return [
        message.reference
        for message in taken
        if message.patient_id in revoked and not message.compliance and message.sent_at and message.sent_at > revoked[message.patient_id]
    ]


def _twice(taken: Sequence[Outbound]) -> list[str]:
    """One of our rows that Twilio took more than once, or the same words twice for one cause."""
    with sqlite3.connect(f"file:{settings().data_dir / 'emulator.db'}?mode=ro", uri=True) as ledger:
        callbacks = ledger.execute("SELECT callback FROM messages WHERE direction = 'outbound-api' GROUP BY callback HAVING count(*) > 1").fetchall()
    words = Counter((message.inbound_id, message.patient_id, message.body) for message in taken if message.inbound_id is not None)
    return [str(row[0]) for row in callbacks] + [f"inbound {inbound}" for (inbound, _, _), times in words.items() if times > 1]


def _sids_at_twilio() -> list[str]:
    with sqlite3.connect(f"file:{settings().data_dir / 'emulator.db'}?mode=ro", uri=True) as ledger:
        return [row[0] for row in ledger.execute("SELECT sid FROM messages WHERE direction = 'outbound-api'")]


def _lost(session: Session, sent: int) -> list[str]:
    stored = session.scalar(select(func.count()).select_from(Inbound).where(Inbound.trigger.is_(None))) or 0
    return ["a message"] * (sent - stored)


def _unhandled(session: Session) -> list[str]:
    open_ones = session.scalars(select(Inbound.id).where(Inbound.trigger.is_(None), Inbound.state.in_((InboundState.STORED, InboundState.ACCEPTED))))
    unsent = session.scalars(select(Outbound.id).where(Outbound.state == OutboundState.PENDING, Outbound.not_after.is_(None), Outbound.attempts == 0))
    return [f"inbound {each}" for each in open_ones] + [f"outbound {each}" for each in unsent]


def _missed(session: Session, sent: int) -> list[str]:
    """Each such message is an emergency of its own, or joins the open one of the same patient."""
    flagged = session.scalar(select(func.count()).select_from(Inbound).where(Inbound.flagged == Acuity.EMERGENCY)) or 0
    raised = session.scalar(select(func.count()).select_from(Escalation).where(Escalation.reason == "red_flag")) or 0
    return ["a message"] * (max(sent - flagged, 0) or (1 if flagged and not raised else 0))
