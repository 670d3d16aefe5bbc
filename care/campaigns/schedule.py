"""The campaign's clockwork: a tick claims the contacts that are due, a few at a time, and takes each one step on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto

import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.campaigns import outreach
from care.campaigns.hours import Place, closes, next_open
from care.campaigns.plan import no_answer_to, place_of, spread
from care.escalations.service import Cause, in_danger, raise_escalation
from care.knowledge.model import NoAnswer, StepKind
from care.messages.conversation import lock_conversations
from care.messages.outbox import OutboundText
from care.messages.unsaid import asked_in_a_contact
from care.patients.consent import ConsentStatus, consent_statuses
from care.settings import settings
from care.storage.tables import (
    Channel,
    Contact,
    ContactState,
    Conversation,
    Enrollment,
    EnrollmentState,
    Heartbeat,
    Inbound,
    InboundState,
    Outbound,
    OutboundState,
    Patient,
)
from care.texts import scripted

log = structlog.get_logger()

_BATCH = 500
_LONGEST_SAVED = 5.0
_APART = timedelta(hours=3)
_CLOSEST = timedelta(hours=1)
"""Where the hours end before three are over, a contact may come so soon after another."""
_WHILE_A_PERSON_ANSWERS = timedelta(hours=1)
_WHILE_A_CHECK_IN_IS_OPEN = timedelta(hours=1)
_WHILE_A_MESSAGE_WAITS = timedelta(minutes=30)
_NOTICE_EVERY = timedelta(days=21)
"""Protocols write at least every nine days while they last: no thirty days pass without it."""
_OPENING_MINUTES = 30
"""Over so many are those spread who waited for the hours to open."""
_SOON = timedelta(minutes=1)
_WHILE_MUCH_WAITS = timedelta(minutes=2)
_LOOKED_AT = 50
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
    allowed = min(int(saved_s * per_second + 1e-9), wanted)
    if allowed:
        beat.at = now - timedelta(seconds=saved_s - allowed / per_second)
    return allowed


def outreach_waits(session: Session, at: datetime) -> int:
    """How many messages that our side began wait to be sent within a minute, and may still be at `at`."""
    soon = or_(Outbound.next_at.is_(None), Outbound.next_at <= datetime.now(UTC) + _SOON)
    ours = (Outbound.channel == Channel.SMS, Outbound.state == OutboundState.PENDING, Outbound.not_after >= at)
    waiting = select(func.count()).select_from(Outbound).where(*ours, soon)
    return session.scalar(waiting) or 0


def turns_wait(session: Session) -> int:
    """How many patients wait for a turn, whatever keeps it back."""
    waiting = select(func.count(Inbound.patient_id.distinct())).where(Inbound.state == InboundState.ACCEPTED)
    return session.scalar(waiting) or 0


@dataclass(frozen=True)
class Ticked:
    """How many contacts a tick looked at, and the patients who now have a turn or a message waiting: fewer, where some were put off or skipped."""

    contacts: int
    patients: list[str]


def tick(session: Session, at: datetime, most: int = _BATCH) -> Ticked:
    """Takes contacts that are due one step on, at most `most` of them by saying something: none where it is 0, and those that would are put off.

    Two ticks at once are safe: contacts, then their patients, are claimed with `SKIP LOCKED` (SQLite has one writer), and each step's key is unique.
    A contact on which that fails keeps no other back: it is set aside, and a person is told.
    """
    claimed = _of_free_patients(session, due(session, at, max(most, _LOOKED_AT)))
    known = _known(session, claimed, at)
    known.may_speak = most > 0
    try:
        with session.begin_nested():
            return _steps(claimed, most, lambda contact: _step(session, contact, known, at))
    except OperationalError:  # the database is away: the whole tick is tried again
        raise
    except Exception as error:
        log.warning("contacts_one_by_one", contacts=len(claimed), error=type(error).__name__)
    return _steps(claimed, most, lambda contact: _step_alone(session, contact, known, at))


def _steps(contacts: Sequence[Contact], most: int, step: Callable[[Contact], bool]) -> Ticked:
    patients: list[str] = []
    for number, contact in enumerate(contacts):
        if most and len(patients) == most:
            return Ticked(number, patients)
        if step(contact):
            patients.append(contact.patient_id)
    return Ticked(len(contacts), patients)


def due(session: Session, at: datetime, most: int) -> Sequence[Contact]:
    """At most `most` contacts whose time has come and that no other tick holds, the longest waiting first; held until the transaction ends."""
    return session.scalars(select(Contact).where(Contact.next_at <= at).order_by(Contact.next_at).limit(most).with_for_update(skip_locked=True)).all()


def _of_free_patients(session: Session, contacts: Sequence[Contact]) -> Sequence[Contact]:
    """Those whose patients nobody else is at, who are held as well: another tick must not find out what to say to them meanwhile. The rest come next time.

    Others lock the conversation before the contact; this keeps them from nothing, since it waits for no conversation.
    """
    free = {held.patient_id for held in lock_conversations(session, {contact.patient_id for contact in contacts}, skip_locked=True)}
    return [contact for contact in contacts if contact.patient_id in free]


class _Rung(Enum):
    """What a contact's next step is."""

    BEGIN = auto()
    REMIND = auto()
    OFFER_CHAT = auto()
    GIVE_UP = auto()


@dataclass
class _Known:
    """What is known of the patients of a tick, read at once: by patient, but for the enrollments. `last_said` is when our side last spoke unasked."""

    patients: dict[str, Patient]
    enrollments: dict[str, Enrollment]
    with_a_person: set[str]
    in_danger: set[str]
    with_a_message: set[str]
    consent: dict[str, ConsentStatus]
    asked_for_consent: set[str]
    last_said: dict[str, datetime]
    last_notice: dict[str, datetime]
    unanswered: dict[str, list[Contact]]
    may_speak: bool = True
    carrier_waiting: dict[str, int] = field(default_factory=dict)
    """How many of this tick each carrier did not take any more."""


def _known(session: Session, contacts: Sequence[Contact], at: datetime) -> _Known:
    ids = {contact.patient_id for contact in contacts}
    newest = select(Outbound.patient_id, func.max(Outbound.created_at)).where(Outbound.patient_id.in_(ids)).group_by(Outbound.patient_id)
    said = newest.where(Outbound.not_after.is_not(None), Outbound.state != OutboundState.CANCELLED)
    told = newest.where(Outbound.key.in_(outreach.NOT_WATCHED))
    unanswered: dict[str, list[Contact]] = {}
    for contact in session.scalars(select(Contact).where(Contact.patient_id.in_(ids), Contact.state.in_(_OPEN))):
        unanswered.setdefault(contact.patient_id, []).append(contact)
    to_do = (Inbound.state.in_((InboundState.STORED, InboundState.ACCEPTED)), Inbound.trigger.is_(None))
    wrote = select(Inbound.patient_id).where(Inbound.patient_id.in_(ids), *to_do)
    taken = select(Conversation.patient_id).where(Conversation.patient_id.in_(ids), Conversation.coordinator_id.is_not(None))
    enrollments = select(Enrollment).where(Enrollment.id.in_({contact.enrollment_id for contact in contacts}))
    return _Known(
        patients={patient.id: patient for patient in session.scalars(select(Patient).where(Patient.id.in_(ids)))},
        enrollments={enrollment.id: enrollment for enrollment in session.scalars(enrollments)},
        with_a_person=set(session.scalars(taken)),
        in_danger=in_danger(session, ids, at),
        with_a_message=set(session.scalars(wrote)),
        consent=consent_statuses(session, ids),
        asked_for_consent=asked_in_a_contact(session, ids),
        last_said={row[0]: row[1] for row in session.execute(said)},
        last_notice={row[0]: row[1] for row in session.execute(told)},
        unanswered=unanswered,
    )


def _step_alone(session: Session, contact: Contact, tick_knows: _Known, at: datetime) -> bool:
    try:
        with session.begin_nested():
            known = replace(_known(session, [contact], at), may_speak=tick_knows.may_speak, carrier_waiting=tick_knows.carrier_waiting)
            return _step(session, contact, known, at)
    except OperationalError:
        raise
    except Exception as error:
        log.error("contact_set_aside", contact=contact.id, error=type(error).__name__)
    _skip(contact, "failed")
    summary = f"The service failed on {_name(contact)}, which was set aside. Reach the patient another way, and tell the engineers."
    raise_escalation(session, contact.patient_id, Cause(f"contact_failed:{contact.id}", "not_sent", Acuity.ROUTINE, summary), at)
    return False


def _step(session: Session, contact: Contact, known: _Known, at: datetime) -> bool:
    if contact.next_at is None:  # another one of the patient put it aside in this tick
        return False
    patient, consent = known.patients[contact.patient_id], known.consent.get(contact.patient_id, "unknown")
    place, asks = place_of(patient), consent == "unknown"
    ladder = no_answer_to(contact, known.enrollments[contact.enrollment_id])
    rung = _rung(contact, ladder, asks, place, at)
    later = _spaced(contact, rung, known, place, at)
    reason = _not_worth_sending(contact, known, consent, later, at)
    if reason:
        _skip(contact, reason)
        return False
    later = max(later, _not_before(contact, known, at))
    if not known.may_speak and rung is not _Rung.GIVE_UP:
        later = max(later, at + _WHILE_MUCH_WAITS)
    if later <= at and rung is not _Rung.GIVE_UP:
        later = at + _carrier_waits(session, known, patient.carrier)
    if later > at:
        contact.next_at = later
        return False
    if rung is not _Rung.GIVE_UP:
        known.last_said[patient.id] = at
    if rung is _Rung.BEGIN and asks:
        known.asked_for_consent.add(patient.id)
    notice = rung is _Rung.BEGIN and consent == "granted" and at - known.last_notice.get(patient.id, patient.created_at) >= _NOTICE_EVERY
    if notice:
        known.last_notice[patient.id] = at
    if contact.kind is StepKind.EDUCATION:
        words = outreach.first_words(contact, patient, asks_consent=False)
        outreach.say(session, contact, [outreach.not_watched(patient), *words] if notice else words, at, _sayable_until(contact, place, at))
        contact.state, contact.started_at, contact.completed_at, contact.next_at = ContactState.COMPLETED, at, at, None
        return True
    if rung is _Rung.BEGIN:
        _put_earlier_ones_aside(session, contact, known.unanswered.get(patient.id, []), at)
        known.unanswered[patient.id] = [contact]
    return _climb(session, contact, rung, ladder, patient, asks, at, _sayable_until(contact, place, at), notice=notice)


def _rung(contact: Contact, ladder: NoAnswer, asks: bool, place: Place, at: datetime) -> _Rung:
    """Up the ladder of a contact that wants an answer: begin, remind, offer the other channel, tell a person.

    What was to be said on a day that is over, since there was an outage or a pause, or of a visit that is over, is not said any more: a person is told.
    """
    if contact.state is ContactState.PLANNED:
        return _Rung.BEGIN
    over = contact.next_at is not None and at > closes(next_open(contact.next_at, place), place)
    if over or _visit_is_over(contact, at) or contact.kind is StepKind.SURVEY:
        return _Rung.GIVE_UP
    if contact.state is ContactState.STARTED:
        return _Rung.REMIND
    offers = ladder.offer_chat_after_hours is not None and not asks
    return _Rung.OFFER_CHAT if contact.state is ContactState.REMINDED and offers else _Rung.GIVE_UP


def _not_worth_sending(contact: Contact, known: _Known, consent: ConsentStatus, earliest: datetime, at: datetime) -> str | None:
    if known.enrollments[contact.enrollment_id].state is not EnrollmentState.ACTIVE:
        return "ended"
    if consent == "revoked":
        return "opted_out"
    if known.patients[contact.patient_id].number_problem is not None:
        return "number_problem"
    if contact.state is not ContactState.PLANNED:
        return None
    if at > contact.not_after or _visit_is_over(contact, at):
        return "stale"
    # Consent is asked for once and reminded of once, in all campaigns together; after that a person has been told.
    if consent == "unknown" and (contact.kind is not StepKind.CHECK_IN or contact.patient_id in known.asked_for_consent):
        return "no_consent"
    return "crowded" if earliest > contact.not_after else None


def _spaced(contact: Contact, rung: _Rung, known: _Known, place: Place, at: datetime) -> datetime:
    """From when on, in open hours, the contact does not come at once with another, of one campaign or of two. Where its own day ends before, it comes
    sooner; a moment after its `not_after` says that there is no room for it."""
    if rung is _Rung.GIVE_UP:  # a coordinator hears of it, not the patient
        return at
    said = known.last_said.get(contact.patient_id)
    if said is None or said == contact.started_at:  # its own words were the last
        return _opens(at, contact, place)
    apart, closer = (_opens(max(at, said + pause), contact, place) for pause in (_APART, _CLOSEST))
    return closer if rung is _Rung.BEGIN and closer <= contact.not_after < apart else apart


def _opens(moment: datetime, contact: Contact, place: Place) -> datetime:
    """`moment` in open hours; else a minute of the contact's own soon after they open, since a whole night's reminders wait for that."""
    opens = next_open(moment, place)
    return opens if opens == moment else opens + spread(contact.id, _OPENING_MINUTES)


def _visit_is_over(contact: Contact, at: datetime) -> bool:
    return contact.appointment_at is not None and contact.appointment_at <= at


def _sayable_until(contact: Contact, place: Place, at: datetime) -> datetime:
    """Until the hours end; of a visit, until it begins."""
    ends = closes(at, place)
    return min(ends, contact.appointment_at) if contact.appointment_at else ends


def _not_before(contact: Contact, known: _Known, at: datetime) -> datetime:
    """How long a contact waits for what matters more: a coordinator who answers, an emergency that a person sees to, the patient's own message that waits for
    its turn, a check-in's ladder."""
    if contact.patient_id in known.with_a_person | known.in_danger:
        return at + _WHILE_A_PERSON_ANSWERS
    unanswered = [each for each in known.unanswered.get(contact.patient_id, []) if each.state in _OPEN]
    if contact.patient_id in known.with_a_message and unanswered and contact.kind is not StepKind.EDUCATION:
        return at + _WHILE_A_MESSAGE_WAITS
    asks_less = contact.kind is StepKind.SURVEY and contact.state is ContactState.PLANNED
    return at + _WHILE_A_CHECK_IN_IS_OPEN if asks_less and any(each.kind is StepKind.CHECK_IN for each in unanswered) else at


def _carrier_waits(session: Session, known: _Known, carrier: str | None) -> timedelta:
    """How long a contact that would speak now waits for the patient's carrier: none where it takes one more; others each longer than the last."""
    pace = settings().sms_carrier_per_second.get(carrier) if carrier else None
    if carrier is None or pace is None:
        return timedelta(0)
    waiting = known.carrier_waiting.get(carrier, 0)
    if not waiting and take_pace(session, pace, 1, carrier):
        return timedelta(0)
    known.carrier_waiting[carrier] = waiting + 1
    return timedelta(seconds=(waiting + 1) / pace)


def _climb(
    session: Session, contact: Contact, rung: _Rung, ladder: NoAnswer, patient: Patient, asks: bool, at: datetime, not_after: datetime, *, notice: bool
) -> bool:
    match rung:
        case _Rung.BEGIN:
            contact.state, contact.started_at = ContactState.STARTED, at
            contact.next_at = at + timedelta(hours=ladder.reminder_after_hours)
            return outreach.begin(session, contact, patient, asks_consent=asks, notice=notice, at=at, not_after=not_after)
        case _Rung.REMIND:
            contact.state = ContactState.REMINDED
            contact.next_at = at + timedelta(hours=ladder.offer_chat_after_hours or ladder.escalate_after_hours)
            return outreach.remind(session, contact, patient, asks_consent=asks, at=at, not_after=not_after)
        case _Rung.OFFER_CHAT:
            contact.state = ContactState.OFFERED_CHAT
            contact.next_at = at + timedelta(hours=ladder.escalate_after_hours)
            outreach.say(session, contact, [OutboundText(scripted("offer_chat", patient.language), key="offer_chat")], at, not_after)
            return True
        case _Rung.GIVE_UP:
            _missed(session, contact, "the request for consent" if asks else _name(contact), at)
            return False


def _missed(session: Session, contact: Contact, wanted: str, at: datetime) -> None:
    """The contact ends without an answer; a person is told, but of a survey."""
    reminded = contact.state is not ContactState.STARTED
    contact.state, contact.next_at, contact.held_next_at = ContactState.MISSED, None, None
    if contact.kind is StepKind.SURVEY:
        return
    summary = f"No answer to {wanted}, although a reminder was sent." if reminded else f"No answer to {wanted}; no reminder could be sent in time."
    raise_escalation(session, contact.patient_id, Cause(f"no_answer:{contact.id}", "no_answer", Acuity.ROUTINE, summary), at)


def _put_earlier_ones_aside(session: Session, contact: Contact, unanswered: Sequence[Contact], at: datetime) -> None:
    """One open set of questions a patient: an unanswered one gives way to the new one. A person is told now of one that was reminded of in vain, and of a
    check-in where the new questions are not how the patient is."""
    for earlier in unanswered:
        if earlier.state not in _OPEN:
            continue
        asked_anew = contact.kind is StepKind.CHECK_IN or earlier.kind is not StepKind.CHECK_IN
        if earlier.kind is StepKind.SURVEY or (earlier.state is ContactState.STARTED and asked_anew):
            _skip(earlier, "superseded")
        else:
            _missed(session, earlier, _name(earlier), at)


def _skip(contact: Contact, reason: str) -> None:
    contact.state, contact.next_at, contact.held_next_at, contact.skipped_because = ContactState.SKIPPED, None, None, reason


def _name(contact: Contact) -> str:
    return f"the {contact.kind.replace('_', '-')} of day {contact.day}"
