"""The campaign's clockwork: a tick claims the contacts that are due, a few at a time, and takes each one step on."""

from __future__ import annotations

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
from care.patients.consent import ConsentStatus, consent_status
from care.storage.tables import (
    Contact,
    ContactState,
    Conversation,
    Enrollment,
    EnrollmentState,
    Heartbeat,
    Inbound,
    Patient,
)
from care.texts import scripted

_BATCH = 500
_LONGEST_SAVED = 5.0
_APART = timedelta(hours=3)
_WHILE_A_PERSON_ANSWERS = timedelta(hours=1)
_TICK = "campaigns.tick"
_OPEN = (ContactState.STARTED, ContactState.REMINDED, ContactState.OFFERED_CHAT)


def take_pace(session: Session, per_second: float) -> int:
    """How many contacts may be begun now, all schedulers together; 0 where another one is at it.

    What was not used is saved up for a few seconds at most, so that no outage ends in a flood.
    """
    now = datetime.now(UTC)
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    first = now - timedelta(seconds=_LONGEST_SAVED)
    session.execute(insert(Heartbeat).values(name=_TICK, at=first).on_conflict_do_nothing(index_elements=["name"]))
    beat = session.scalars(select(Heartbeat).where(Heartbeat.name == _TICK).with_for_update(skip_locked=True)).one_or_none()
    if beat is None:
        return 0
    saved_s = min(max((now - beat.at).total_seconds(), 0.0), _LONGEST_SAVED)
    allowed = min(int(saved_s * per_second), _BATCH)
    if allowed:
        beat.at = now
    return allowed


def tick(session: Session, at: datetime, most: int = _BATCH) -> list[str]:
    """Takes at most `most` contacts that are due one step on; the patients who now have a turn or a message waiting.

    Two ticks at once are safe: rows are claimed with `SKIP LOCKED` (SQLite has one writer), and each step's key is unique.
    """
    due = session.scalars(select(Contact).where(Contact.next_at <= at).order_by(Contact.next_at).limit(most).with_for_update(skip_locked=True)).all()
    return [contact.patient_id for contact in due if _step(session, contact, at)]


def _step(session: Session, contact: Contact, at: datetime) -> bool:
    patient = session.get_one(Patient, contact.patient_id)
    consent = consent_status(session, patient.id)
    reason = _not_worth_sending(session, contact, patient, consent, at)
    if reason:
        contact.state, contact.next_at, contact.skipped_because = ContactState.SKIPPED, None, reason
        return False
    place = place_of(patient)
    later = max(next_open(at, place), _apart(session, contact, at), _while_a_person_answers(session, contact, at))
    if later > at:
        contact.next_at = later
        return False
    if contact.kind is StepKind.EDUCATION:
        outreach.say(session, patient, outreach.first_words(contact, patient, asks_consent=False), at, closes(at, place))
        contact.state, contact.started_at, contact.completed_at, contact.next_at = ContactState.COMPLETED, at, at, None
        return True
    return _next_rung(session, contact, patient, consent == "unknown", at, closes(at, place))


def _not_worth_sending(session: Session, contact: Contact, patient: Patient, consent: ConsentStatus, at: datetime) -> str | None:
    if session.get_one(Enrollment, contact.enrollment_id).state is not EnrollmentState.ACTIVE:
        return "ended"
    if consent == "revoked":
        return "opted_out"
    if patient.number_problem is not None:
        return "number_problem"
    if contact.state is not ContactState.PLANNED:
        return None
    if at > contact.not_after:
        return "stale"
    if consent == "unknown" and (contact.kind is not StepKind.CHECK_IN or _consent_was_asked_for(session, contact.patient_id)):
        return "no_consent"
    return None


def _next_rung(session: Session, contact: Contact, patient: Patient, asks: bool, at: datetime, not_after: datetime) -> bool:
    """Up the ladder of a contact that wants an answer: begin, remind, offer the other channel, tell a person."""
    ladder = knowledge().protocols[contact.protocol].no_answer
    match contact.state:
        case ContactState.PLANNED:
            _put_earlier_ones_aside(session, contact, at)
            contact.state, contact.started_at = ContactState.STARTED, at
            contact.next_at = at + timedelta(hours=ladder.reminder_after_hours)
            return outreach.begin(session, contact, patient, asks_consent=asks, at=at, not_after=not_after)
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


def _apart(session: Session, contact: Contact, at: datetime) -> datetime:
    """Two contacts, of one campaign or of two, do not come at once."""
    if contact.state is not ContactState.PLANNED:
        return at
    newest = session.scalar(
        select(func.max(Contact.started_at)).where(Contact.patient_id == contact.patient_id, Contact.id != contact.id, Contact.started_at.is_not(None))
    )
    return at if newest is None else max(at, newest + _APART)


def _while_a_person_answers(session: Session, contact: Contact, at: datetime) -> datetime:
    """A check-in does not break into a conversation with a coordinator."""
    taken = session.get_one(Conversation, contact.patient_id).coordinator_id is not None
    return at + _WHILE_A_PERSON_ANSWERS if taken else at


def _put_earlier_ones_aside(session: Session, contact: Contact, at: datetime) -> None:
    """One open set of questions a patient: an unanswered one gives way to the new one. Of one that was reminded of in vain a person is told now."""
    for earlier in session.scalars(select(Contact).where(Contact.patient_id == contact.patient_id, Contact.state.in_(_OPEN))):
        if earlier.state is ContactState.STARTED or earlier.kind is StepKind.SURVEY:
            earlier.state, earlier.next_at, earlier.skipped_because = ContactState.SKIPPED, None, "superseded"
        else:
            _missed(session, earlier, f"the {earlier.kind.replace('_', '-')} of day {earlier.day}", at)


def _consent_was_asked_for(session: Session, patient_id: str) -> bool:
    """Consent is asked for once and reminded of once, in all campaigns together; after that a person has been told."""
    return session.scalar(select(Inbound.id).where(Inbound.patient_id == patient_id, Inbound.trigger == "ask_consent").limit(1)) is not None
