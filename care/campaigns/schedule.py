"""The campaign's clockwork: a tick claims the contacts that are due, a few at a time, and takes each one step on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.campaigns import outreach
from care.campaigns.hours import closes, next_open
from care.campaigns.plan import place_of
from care.escalations.service import Cause, raise_escalation
from care.knowledge import knowledge
from care.knowledge.model import StepKind
from care.messages.outbox import OutboundText
from care.patients.consent import ConsentStatus, consent_statuses
from care.settings import settings
from care.storage.tables import (
    Contact,
    ContactState,
    Conversation,
    Enrollment,
    EnrollmentState,
    Heartbeat,
    Inbound,
    Outbound,
    Patient,
)
from care.texts import scripted

_BATCH = 500
_LONGEST_SAVED = 5.0
_APART = timedelta(hours=3)
_WHILE_A_PERSON_ANSWERS = timedelta(hours=1)
_NOTICE_EVERY = timedelta(days=21)
"""Protocols write at least every nine days while they last: no thirty days pass without it."""
_TICK = "campaigns.tick"
_OPEN = (ContactState.STARTED, ContactState.REMINDED, ContactState.OFFERED_CHAT)


def take_pace(session: Session, per_second: float, wanted: int = _BATCH, carrier: str = "") -> int:
    """How many of the `wanted` contacts may be begun now (of a `carrier`, where one is named), all schedulers together; 0 where another one is at it.

    What was not used is saved up for a few seconds at most, so that no outage ends in a flood.
    """
    now, name = datetime.now(UTC), f"{_TICK}:{carrier}" if carrier else _TICK
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    first = now - timedelta(seconds=_LONGEST_SAVED)
    session.execute(insert(Heartbeat).values(name=name, at=first).on_conflict_do_nothing(index_elements=["name"]))
    beat = session.scalars(select(Heartbeat).where(Heartbeat.name == name).with_for_update(skip_locked=True)).one_or_none()
    if beat is None:
        return 0
    longest = max(_LONGEST_SAVED, 1 / per_second)
    saved_s = min(max((now - beat.at).total_seconds(), 0.0), longest)
    allowed = min(int(saved_s * per_second), wanted)
    if allowed:
        beat.at = now - timedelta(seconds=saved_s - allowed / per_second)
    return allowed


def tick(session: Session, at: datetime, most: int = _BATCH) -> list[str]:
    """Takes at most `most` contacts that are due one step on; the patients who now have a turn or a message waiting.

    Two ticks at once are safe: rows are claimed with `SKIP LOCKED` (SQLite has one writer), and each step's key is unique.
    """
    contacts = due(session, at, most)
    known = _known(session, contacts)
    contacts = _within_carriers_pace(session, contacts, known, at)
    return [contact.patient_id for contact in contacts if _step(session, contact, known, at)]


def due(session: Session, at: datetime, most: int) -> Sequence[Contact]:
    """At most `most` contacts whose time has come and that no other tick holds, the longest waiting first; held until the transaction ends."""
    return session.scalars(select(Contact).where(Contact.next_at <= at).order_by(Contact.next_at).limit(most).with_for_update(skip_locked=True)).all()


def _within_carriers_pace(session: Session, contacts: Sequence[Contact], known: _Known, at: datetime) -> Sequence[Contact]:
    """Those that their carriers take now; the others are put off, each a little longer than the one before."""
    put_off: set[str] = set()
    for carrier, pace in settings().sms_carrier_per_second.items():
        of_it = [contact for contact in contacts if known.patients[contact.patient_id].carrier == carrier]
        allowed = take_pace(session, pace, len(of_it), carrier) if of_it else 0
        for number, contact in enumerate(of_it[allowed:], 1):
            contact.next_at = at + timedelta(seconds=number / pace)
            put_off.add(contact.id)
    return [contact for contact in contacts if contact.id not in put_off]


@dataclass
class _Known:
    """What is known of the patients of a tick, read at once: by patient, but for the enrollments."""

    patients: dict[str, Patient]
    enrollments: dict[str, Enrollment]
    with_a_person: set[str]
    consent: dict[str, ConsentStatus]
    asked_for_consent: set[str]
    last_begun: dict[str, datetime]
    last_notice: dict[str, datetime]
    unanswered: dict[str, list[Contact]]


def _known(session: Session, contacts: Sequence[Contact]) -> _Known:
    ids = {contact.patient_id for contact in contacts}
    begun = select(Contact.patient_id, func.max(Contact.started_at)).where(Contact.patient_id.in_(ids), Contact.started_at.is_not(None))
    told = select(Outbound.patient_id, func.max(Outbound.created_at)).where(Outbound.patient_id.in_(ids), Outbound.key.in_(outreach.NOT_WATCHED))
    unanswered: dict[str, list[Contact]] = {}
    for contact in session.scalars(select(Contact).where(Contact.patient_id.in_(ids), Contact.state.in_(_OPEN))):
        unanswered.setdefault(contact.patient_id, []).append(contact)
    asked = select(Inbound.patient_id).where(Inbound.patient_id.in_(ids), Inbound.trigger == "ask_consent")
    taken = select(Conversation.patient_id).where(Conversation.patient_id.in_(ids), Conversation.coordinator_id.is_not(None))
    enrollments = select(Enrollment).where(Enrollment.id.in_({contact.enrollment_id for contact in contacts}))
    return _Known(
        patients={patient.id: patient for patient in session.scalars(select(Patient).where(Patient.id.in_(ids)))},
        enrollments={enrollment.id: enrollment for enrollment in session.scalars(enrollments)},
        with_a_person=set(session.scalars(taken)),
        consent=consent_statuses(session, ids),
        asked_for_consent=set(session.scalars(asked)),
        last_notice={row[0]: row[1] for row in session.execute(told.group_by(Outbound.patient_id))},
        last_begun={row[0]: row[1] for row in session.execute(begun.group_by(Contact.patient_id)) if row[1]},
        unanswered=unanswered,
    )


def _step(session: Session, contact: Contact, known: _Known, at: datetime) -> bool:
    patient, consent = known.patients[contact.patient_id], known.consent.get(contact.patient_id, "unknown")
    reason = _not_worth_sending(contact, known, consent, at)
    if reason:
        contact.state, contact.next_at, contact.skipped_because = ContactState.SKIPPED, None, reason
        return False
    place = place_of(patient)
    later = max(next_open(at, place), _apart(contact, known, at))
    if patient.id in known.with_a_person:  # a check-in does not break into a conversation with a coordinator
        later = max(later, at + _WHILE_A_PERSON_ANSWERS)
    if later > at:
        contact.next_at = later
        return False
    if contact.state is ContactState.PLANNED:
        known.last_begun[patient.id] = at
        if consent == "unknown":
            known.asked_for_consent.add(patient.id)
    notice = consent == "granted" and contact.state is ContactState.PLANNED and at - known.last_notice.get(patient.id, patient.created_at) >= _NOTICE_EVERY
    if notice:
        known.last_notice[patient.id] = at
    if contact.kind is StepKind.EDUCATION:
        words = outreach.first_words(contact, patient, asks_consent=False)
        outreach.say(session, patient, [outreach.not_watched(patient), *words] if notice else words, at, closes(at, place))
        contact.state, contact.started_at, contact.completed_at, contact.next_at = ContactState.COMPLETED, at, at, None
        return True
    if contact.state is ContactState.PLANNED:
        _put_earlier_ones_aside(session, known.unanswered.get(patient.id, []), at)
        known.unanswered[patient.id] = [contact]
    return _next_rung(session, contact, patient, consent == "unknown", at, closes(at, place), notice=notice)


def _not_worth_sending(contact: Contact, known: _Known, consent: ConsentStatus, at: datetime) -> str | None:
    if known.enrollments[contact.enrollment_id].state is not EnrollmentState.ACTIVE:
        return "ended"
    if consent == "revoked":
        return "opted_out"
    if known.patients[contact.patient_id].number_problem is not None:
        return "number_problem"
    if contact.state is not ContactState.PLANNED:
        return None
    if at > contact.not_after:
        return "stale"
    # Consent is asked for once and reminded of once, in all campaigns together; after that a person has been told.
    if consent == "unknown" and (contact.kind is not StepKind.CHECK_IN or contact.patient_id in known.asked_for_consent):
        return "no_consent"
    return None


def _next_rung(session: Session, contact: Contact, patient: Patient, asks: bool, at: datetime, not_after: datetime, *, notice: bool) -> bool:
    """Up the ladder of a contact that wants an answer: begin, remind, offer the other channel, tell a person."""
    ladder = knowledge().protocols[contact.protocol].no_answer
    match contact.state:
        case ContactState.PLANNED:
            contact.state, contact.started_at = ContactState.STARTED, at
            contact.next_at = at + timedelta(hours=ladder.reminder_after_hours)
            return outreach.begin(session, contact, patient, asks_consent=asks, notice=notice, at=at, not_after=not_after)
        case ContactState.STARTED if contact.kind is StepKind.SURVEY:
            contact.state, contact.next_at = ContactState.MISSED, None
            return False
        case ContactState.STARTED:
            contact.state = ContactState.REMINDED
            contact.next_at = at + timedelta(hours=ladder.offer_chat_after_hours or ladder.escalate_after_hours)
            return outreach.remind(session, contact, patient, asks_consent=asks, at=at, not_after=not_after)
        case ContactState.REMINDED if ladder.offer_chat_after_hours and not asks:
            contact.state = ContactState.OFFERED_CHAT
            contact.next_at = at + timedelta(hours=ladder.escalate_after_hours)
            outreach.say(session, patient, [OutboundText(scripted("offer_chat", patient.language), key="offer_chat")], at, not_after)
            return True
        case _:
            _missed(session, contact, "the request for consent" if asks else f"the {contact.kind.replace('_', '-')} of day {contact.day}", at)
            return False


def _missed(session: Session, contact: Contact, wanted: str, at: datetime) -> None:
    contact.state, contact.next_at = ContactState.MISSED, None
    summary = f"No answer to {wanted}, although a reminder was sent."
    raise_escalation(session, contact.patient_id, Cause(f"no_answer:{contact.id}", "no_answer", Acuity.ROUTINE, summary), at)


def _apart(contact: Contact, known: _Known, at: datetime) -> datetime:
    """Two contacts, of one campaign or of two, do not come at once."""
    newest = known.last_begun.get(contact.patient_id)
    return at if newest is None or contact.state is not ContactState.PLANNED else max(at, newest + _APART)


def _put_earlier_ones_aside(session: Session, unanswered: Sequence[Contact], at: datetime) -> None:
    """One open set of questions a patient: an unanswered one gives way to the new one. Of one that was reminded of in vain a person is told now."""
    for earlier in unanswered:
        if earlier.state not in _OPEN:
            continue
        if earlier.state is ContactState.STARTED or earlier.kind is StepKind.SURVEY:
            earlier.state, earlier.next_at, earlier.skipped_because = ContactState.SKIPPED, None, "superseded"
        else:
            _missed(session, earlier, f"the {earlier.kind.replace('_', '-')} of day {earlier.day}", at)
