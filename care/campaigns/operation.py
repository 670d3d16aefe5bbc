"""Running a campaign: pause, resume, stop, amend; and what changes for one patient."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, case, delete, func, literal, or_, select, update
from sqlalchemy.orm import Session

from care.audit import record
from care.campaigns.plan import appointment_contact, contacts_of, move, set_version
from care.campaigns.service import CampaignInvalid, EnrollmentConflict
from care.knowledge import knowledge
from care.knowledge.model import StepKind, StopEvent
from care.messages.conversation import lock_conversations
from care.messages.unsaid import forget_words
from care.patients.model import Place
from care.storage.tables import (
    Campaign,
    CampaignState,
    Consent,
    Contact,
    ContactState,
    Enrollment,
    EnrollmentState,
    Inbound,
    InboundState,
    Outbound,
    OutboundState,
    Patient,
)

_OPEN = (ContactState.PLANNED, ContactState.STARTED, ContactState.REMINDED, ContactState.OFFERED_CHAT)
_ENDS_ALL = {StopEvent.DEATH, StopEvent.HOSPICE, StopEvent.READMISSION}
_IN_HAND = (OutboundState.SENDING, OutboundState.UNKNOWN)
_MAY_COME_BACK = (*_IN_HAND, OutboundState.ACCEPTED, OutboundState.SENT)
"""A receipt may say that it was not delivered, and it is tried again."""
CANCELLED = "cancelled"
"""Why the contact of a visit that does not take place is skipped."""
_MOVED = "moved"
"""Why a contact is skipped whose time was over once the patient's dates or place changed."""
_BATCH = 1000


@dataclass(frozen=True)
class Amended:
    """What amending did: how many enrollments moved to the new version, how many keep theirs."""

    version: str
    moved: int
    kept: int


def pause(session: Session, campaign: Campaign, actor: str, at: datetime) -> int:
    """Nothing of the campaign is sent until it is resumed; how many contacts are held. Raises `CampaignInvalid`.

    A contact whose first words wait to be sent is skipped: they would be stale by then.
    """
    _must_be(campaign, CampaignState.ACTIVE)
    _take_back(session, select(Contact.id).where(_of(campaign)), "paused", at)
    campaign.state = CampaignState.PAUSED
    held = session.execute(
        update(Contact).where(_of(campaign), Contact.next_at.is_not(None)).values(held_next_at=Contact.next_at, next_at=None).returning(Contact.id)
    ).all()
    record(session, actor=actor, action="campaign_paused", subject=campaign.id, at=at)
    return len(held)


def resume(session: Session, campaign: Campaign, actor: str, at: datetime) -> int:
    """Goes on: what became stale meanwhile is skipped when its turn comes, the rest is sent at the usual pace. Raises `CampaignInvalid`."""
    _must_be(campaign, CampaignState.PAUSED)
    campaign.state = CampaignState.ACTIVE
    freed = session.execute(
        update(Contact)
        .where(_of(campaign), Contact.held_next_at.is_not(None), Contact.state.in_(_OPEN))
        .values(next_at=Contact.held_next_at, held_next_at=None)
        .returning(Contact.id)
    ).all()
    record(session, actor=actor, action="campaign_resumed", subject=campaign.id, at=at)
    return len(freed)


def stop(session: Session, campaign: Campaign, actor: str, at: datetime) -> int:
    """Ends the campaign for everybody in it; how many enrollments ended. Raises `CampaignInvalid`."""
    _must_be(campaign, CampaignState.ACTIVE, CampaignState.PAUSED)
    campaign.state = CampaignState.STOPPED
    _end_contacts(session, select(Contact.id).where(_of(campaign)), at)
    ended = session.execute(
        update(Enrollment)
        .where(Enrollment.campaign_id == campaign.id, Enrollment.state == EnrollmentState.ACTIVE)
        .values(state=EnrollmentState.STOPPED, ended_because="campaign_stopped", ended_at=at)
        .returning(Enrollment.id)
    ).all()
    record(session, actor=actor, action="campaign_stopped", subject=campaign.id, at=at)
    return len(ended)


def amend(session: Session, campaign: Campaign, actor: str, at: datetime, *, move_patients: bool) -> Amended:
    """Takes up the protocol's present version. Patients in flight keep theirs, or move: what is still planned is planned anew, what was sent stays.

    Raises `CampaignInvalid` where the campaign was stopped or runs that version, with everybody in it, already.
    """
    _must_be(campaign, CampaignState.ACTIVE, CampaignState.PAUSED)
    protocol = knowledge().protocols[campaign.protocol]
    version = protocol.version
    flying = select(Enrollment).where(Enrollment.campaign_id == campaign.id, Enrollment.state == EnrollmentState.ACTIVE)
    behind = session.scalar(select(func.count()).select_from(flying.where(Enrollment.protocol_version != version).subquery())) or 0
    if campaign.protocol_version == version and not (move_patients and behind):
        raise CampaignInvalid(f"protocol: version {version} of {campaign.protocol!r} runs already; give the protocol a new version first")
    campaign.protocol_version = version
    if move_patients:
        for enrollment in session.scalars(flying.where(Enrollment.protocol_version != version).execution_options(yield_per=_BATCH)):
            _plan_again(session, campaign, enrollment, at)
            set_version(enrollment, protocol)
    record(session, actor=actor, action="campaign_amended", subject=campaign.id, at=at)
    return Amended(version, behind if move_patients else 0, 0 if move_patients else behind)


def enrollment_of(session: Session, campaign: Campaign, reference: str) -> Enrollment:
    """The patient's enrollment in the campaign. Raises `EnrollmentConflict`."""
    found = session.scalars(
        select(Enrollment).join(Patient, Patient.id == Enrollment.patient_id).where(Enrollment.campaign_id == campaign.id, Patient.reference == reference)
    ).one_or_none()
    if found is None:
        raise EnrollmentConflict(f"reference: {reference!r} is not in this campaign; enrol the patient first")
    return found


def reanchor(session: Session, enrollment: Enrollment, anchor: date, actor: str, at: datetime) -> int:
    """The discharge moved: what is still to come is counted from the new date; how many contacts are planned now. Raises `EnrollmentConflict`."""
    _must_run(enrollment)
    if enrollment.ends_on is not None:
        enrollment.ends_on += anchor - enrollment.anchor
    enrollment.anchor = anchor
    campaign, patient = session.get_one(Campaign, enrollment.campaign_id), session.get_one(Patient, enrollment.patient_id)
    _move_planned(session, campaign, patient, enrollment, at)
    if enrollment.protocol_version == knowledge().protocols[campaign.protocol].version:
        _add_missing(session, campaign, patient, enrollment, at)
    session.flush()
    record(session, actor=actor, action="enrollment_moved", subject=enrollment.patient_id, at=at)
    return len(_planned(session, enrollment))


def relocate(session: Session, patient: Patient, place: Place, actor: str, at: datetime) -> int:
    """The patient is in another time zone or state: what is still to come is planned by its hours; how many contacts are planned now."""
    patient.timezone, patient.state = place.timezone, place.state
    count = 0
    for enrollment in session.scalars(select(Enrollment).where(Enrollment.patient_id == patient.id, Enrollment.state == EnrollmentState.ACTIVE)):
        campaign = session.get_one(Campaign, enrollment.campaign_id)
        _move_planned(session, campaign, patient, enrollment, at)
        session.flush()
        count += len(_planned(session, enrollment))
    record(session, actor=actor, action="patient_relocated", subject=patient.id, at=at)
    return count


def add_appointment(session: Session, enrollment: Enrollment, visit: datetime, actor: str, at: datetime, *, instead_of: datetime | None = None) -> Contact:
    """Plans the reminder of a visit, for the day before it; of a visit that was moved, in place of the old one's. Raises `EnrollmentConflict`."""
    _must_run(enrollment)
    if visit <= at:
        raise EnrollmentConflict("at: the visit is not in the future")
    if instead_of is not None:
        cancel_appointment(session, enrollment, instead_of, actor, at)
    campaign, patient = session.get_one(Campaign, enrollment.campaign_id), session.get_one(Patient, enrollment.patient_id)
    contact = appointment_contact(campaign, patient, enrollment, visit)
    if _reminder_of(session, enrollment, visit) is not None:
        raise EnrollmentConflict("at: this visit is planned already")
    same_minute = select(Contact).where(Contact.enrollment_id == enrollment.id, Contact.step == contact.step)
    if (cancelled := session.scalars(same_minute).one_or_none()) is not None:
        if cancelled.skipped_because != CANCELLED:
            raise EnrollmentConflict("at: another visit is planned in this minute")
        cancelled.step = f"{cancelled.step}-{cancelled.id[:8]}"
        session.flush()
    session.add(contact)
    record(session, actor=actor, action="appointment_added", subject=enrollment.patient_id, at=at)
    return contact


def cancel_appointment(session: Session, enrollment: Enrollment, visit: datetime, actor: str, at: datetime) -> None:
    """The visit does not take place: it is not reminded of, nor asked about, any more. Raises `EnrollmentConflict`."""
    reminder = _reminder_of(session, enrollment, visit)
    if reminder is None:
        raise EnrollmentConflict(f"at: no visit at {visit.isoformat()} is planned")
    if reminder.state is ContactState.PLANNED:
        session.delete(reminder)
        session.flush()
    else:
        _end_contacts(session, select(Contact.id).where(Contact.id == reminder.id), at, CANCELLED)
        session.refresh(reminder)
        reminder.skipped_because = CANCELLED
    record(session, actor=actor, action="appointment_cancelled", subject=enrollment.patient_id, at=at)


def end_enrollment(session: Session, enrollment: Enrollment, event: StopEvent, actor: str, at: datetime) -> int:
    """Ends follow-up after `event`, at once; how many enrollments ended.

    What our side was to say in it, and has not handed over, is not said. Death, hospice and a readmission end all the patient's campaigns, and nothing that
    waits is sent, warnings and what the law asks for apart. A death is taken down although the enrollment is over. Raises `EnrollmentConflict`.
    """
    if event is not StopEvent.DEATH or enrollment.ended_because == event:
        _must_run(enrollment)
    ended = [enrollment] if enrollment.state is EnrollmentState.ACTIVE else []
    if event in _ENDS_ALL:
        lock_conversations(session, [enrollment.patient_id])
        running = select(Enrollment).where(Enrollment.patient_id == enrollment.patient_id, Enrollment.state == EnrollmentState.ACTIVE)
        ended = list(session.scalars(running))
        _cancel(session, Outbound.patient_id == enrollment.patient_id, at, _MAY_COME_BACK)
    _end_contacts(session, select(Contact.id).where(Contact.enrollment_id.in_([each.id for each in ended])), at)
    enrollment.ended_because = event.value
    for each in ended:
        each.state, each.ended_because, each.ended_at = EnrollmentState.STOPPED, event.value, at
    record(session, actor=actor, action=f"enrollment_ended_{event.value}", subject=enrollment.patient_id, at=at)
    return len(ended)


def complete(session: Session, at: datetime) -> int:
    """Closes the enrollments whose protocol is over, by the version that each runs, and which have nothing open; how many. Those of who opted out ended for
    that, and until now START could bring them back."""
    closed = 0
    newest = select(func.max(Consent.id)).where(Consent.patient_id == Enrollment.patient_id).correlate(Enrollment).scalar_subquery()
    opted_out, state = select(Consent.id).where(Consent.id == newest, Consent.granted.is_(False)).exists(), Enrollment.state.type
    for protocol in knowledge().protocols.values():
        began_before = at.date() - timedelta(days=protocol.stop.day)
        still_open = select(Contact.id).where(Contact.enrollment_id == Enrollment.id, Contact.state.in_(_OPEN)).exists()
        done = session.execute(
            update(Enrollment)
            .where(
                Enrollment.state == EnrollmentState.ACTIVE,
                or_(Enrollment.ends_on < at.date(), and_(Enrollment.ends_on.is_(None), Enrollment.anchor < began_before)),
                Enrollment.campaign_id.in_(select(Campaign.id).where(Campaign.protocol == protocol.id)),
                ~still_open,
            )
            .values(
                state=case((opted_out, literal(EnrollmentState.STOPPED, state)), else_=literal(EnrollmentState.COMPLETED, state)),
                ended_because=case((opted_out, "opted_out"), else_="completed"),
                ended_at=at,
            )
            .returning(Enrollment.id)
            .execution_options(synchronize_session=False)
        ).all()
        closed += len(done)
    return closed


def _of(campaign: Campaign) -> ColumnElement[bool]:
    return Contact.enrollment_id.in_(select(Enrollment.id).where(Enrollment.campaign_id == campaign.id))


def _end_contacts(session: Session, contacts: Select[str], at: datetime, reason: str = "ended") -> None:
    _take_back(session, contacts, reason, at)
    session.execute(
        update(Contact)
        .where(Contact.id.in_(contacts), Contact.state.in_(_OPEN))
        .values(state=ContactState.SKIPPED, skipped_because=reason, next_at=None, held_next_at=None)
    )


def _take_back(session: Session, contacts: Select[str], reason: str, at: datetime) -> None:
    """What our side was to say in these contacts and has not handed over is not said. One whose first words are among it is skipped, for `reason`.

    Whoever sends or answers locks the patients' conversations first, and so does this.
    """
    waits = (Outbound.contact_id.in_(contacts), Outbound.state == OutboundState.PENDING)
    lock_conversations(session, set(session.scalars(select(Outbound.patient_id).where(*waits))))
    begun_with_it = or_(Contact.state == ContactState.STARTED, Contact.kind == StepKind.EDUCATION)
    skipped = session.scalars(
        update(Contact)
        .where(Contact.id.in_(select(Outbound.contact_id).where(*waits)), begun_with_it)
        .values(state=ContactState.SKIPPED, skipped_because=reason, completed_at=None, next_at=None, held_next_at=None)
        .returning(Contact.id)
    ).all()
    if skipped:
        forget_words(session, select(Contact.id).where(Contact.id.in_(skipped)), at)
    _cancel(session, Outbound.contact_id.in_(contacts), at)
    session.execute(
        update(Inbound)
        .where(Inbound.contact_id.in_(contacts), Inbound.state == InboundState.ACCEPTED, Inbound.trigger.is_not(None))
        .values(state=InboundState.HANDLED, handled_at=at)
    )


def _cancel(session: Session, which: ColumnElement[bool], at: datetime, in_hand: Collection[OutboundState] = _IN_HAND) -> None:
    """Routine messages are not handed over any more: neither one that waits, nor again one `in_hand` that Twilio turns out not to have."""
    routine = (which, Outbound.safety.is_(False), Outbound.compliance.is_(False))
    session.execute(update(Outbound).where(*routine, Outbound.state == OutboundState.PENDING).values(state=OutboundState.CANCELLED))
    later = or_(Outbound.not_after.is_(None), Outbound.not_after > at)
    session.execute(update(Outbound).where(*routine, Outbound.state.in_(in_hand), later).values(not_after=at))


def _must_be(campaign: Campaign, *states: CampaignState) -> None:
    if campaign.state not in states:
        raise CampaignInvalid(f"state: campaign {campaign.name!r} is {campaign.state}, not {' or '.join(states)}")


def _must_run(enrollment: Enrollment) -> None:
    if enrollment.state is not EnrollmentState.ACTIVE:
        raise EnrollmentConflict(f"reference: this enrollment is {enrollment.state} ({enrollment.ended_because or 'no reason kept'})")


def _reminder_of(session: Session, enrollment: Enrollment, visit: datetime) -> Contact | None:
    """The visit's contact; of a visit that was cancelled there is none any more."""
    still_on = Contact.skipped_because.is_distinct_from(CANCELLED)
    return session.scalars(select(Contact).where(Contact.enrollment_id == enrollment.id, Contact.appointment_at == visit, still_on)).one_or_none()


def _planned(session: Session, enrollment: Enrollment) -> list[Contact]:
    return list(session.scalars(select(Contact).where(Contact.enrollment_id == enrollment.id, Contact.state == ContactState.PLANNED)))


def _not_begun(enrollment: Enrollment) -> ColumnElement[bool]:
    """What is planned, and what was until a move left it out."""
    left_out = and_(Contact.state == ContactState.SKIPPED, Contact.skipped_because == _MOVED)
    return and_(Contact.enrollment_id == enrollment.id, or_(Contact.state == ContactState.PLANNED, left_out))


def _move_planned(session: Session, campaign: Campaign, patient: Patient, enrollment: Enrollment, at: datetime) -> None:
    """Plans again what is still to come; what would be over by then is left out, until another move gives it a time again."""
    for contact in session.scalars(select(Contact).where(_not_begun(enrollment))):
        move(contact, campaign, patient, enrollment)
        if contact.not_after > at:
            contact.state, contact.skipped_because = ContactState.PLANNED, None
        else:
            contact.state, contact.skipped_because, contact.next_at, contact.held_next_at = ContactState.SKIPPED, _MOVED, None, None


def _plan_again(session: Session, campaign: Campaign, enrollment: Enrollment, at: datetime) -> None:
    session.execute(delete(Contact).where(_not_begun(enrollment), Contact.kind != StepKind.APPOINTMENT))
    _add_missing(session, campaign, session.get_one(Patient, enrollment.patient_id), enrollment, at)


def _add_missing(session: Session, campaign: Campaign, patient: Patient, enrollment: Enrollment, at: datetime) -> None:
    there = set(session.scalars(select(Contact.step).where(Contact.enrollment_id == enrollment.id)))
    for contact in contacts_of(campaign, patient, enrollment):
        if contact.step not in there and contact.not_after > at:
            session.add(contact)
