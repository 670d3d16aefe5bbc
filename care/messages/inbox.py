"""Accepting a message: one database transaction that needs nothing but the database.

The message is stored once, the keyword and red-flag rules are run on it (alone, and joined with those of the last five minutes), and what
they call for, an escalation, a warning, an opt-out, is written with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from care.acuity import Acuity, highest
from care.escalations.service import Cause, raise_escalation
from care.knowledge import knowledge
from care.messages.keywords import Keyword, KeywordHit, keyword
from care.messages.outbox import OutboundText, write
from care.patients.consent import consent_status, record_consent
from care.patients.context import clinical_context
from care.redflags import check, first_words
from care.sessions import chat_url
from care.storage.crypto import blind_index
from care.storage.tables import Channel, Conversation, Escalation, EscalationState, Inbound, InboundState, Patient, Stranger
from care.texts import scripted
from care.triage.model import RedFlagHit

_JOIN_WINDOW = timedelta(minutes=5)
_MOST_PARTS = 3
"""A sentence is looked for in so many messages and the one that follows them."""
_JOINED_OF_EACH = 1_600
_STRANGER_PAUSE = timedelta(hours=24)
MAX_BODY = 100_000


@dataclass(frozen=True)
class Incoming:
    """A message as it came from a channel. SMS gives the sender's number and `ours` that it was written to, web chat the patient of its session."""

    channel: Channel
    external_id: str
    body: str
    received_at: datetime
    phone: str | None = None
    patient_id: str | None = None
    media: int = 0
    not_after: datetime | None = None
    ours: str | None = None


@dataclass(frozen=True)
class Accepted:
    """`new` is false for a repeat. `answered`: a rule wrote a text that must not wait for the turn. `stranger_answer` is the neutral text for a number
    nobody knows, when one is due."""

    patient_id: str | None
    inbound_id: int | None
    new: bool
    answered: bool = False
    stranger_answer: str | None = None


def accept(session: Session, incoming: Incoming) -> Accepted:
    """Stores the message once and runs the rules on it, in the caller's transaction."""
    known = _sender(session, incoming)
    if known is None:
        return _accept_stranger(session, incoming)
    patient, conversation = known
    inbound = _insert_once(session, patient.id, incoming)
    if inbound is None:
        return Accepted(patient.id, None, new=False)
    conversation.channel = incoming.channel
    conversation.sender = incoming.ours or conversation.sender
    hit = _keyword(session, patient.id, incoming)
    if hit:
        _obey_keyword(session, patient, inbound, hit)
    _raise_red_flags(session, patient, inbound)
    if hit and not hit.rest:
        inbound.state, inbound.handled_at = InboundState.HANDLED, incoming.received_at
    return Accepted(patient.id, inbound.id, new=True, answered=bool(hit) or inbound.flagged is Acuity.EMERGENCY)


def accept_trigger(
    session: Session,
    patient_id: str,
    trigger: str,
    contact_id: str | None,
    occurrence: str,
    at: datetime,
    not_after: datetime | None = None,
    channel: Channel = Channel.SMS,
) -> bool:
    """Queues a turn in which our side speaks first; false where this occurrence was queued before. Nothing is said after `not_after`."""
    incoming = Incoming(channel, occurrence, "", at, patient_id=patient_id, not_after=not_after)
    return _insert_once(session, patient_id, incoming, trigger=trigger, contact_id=contact_id) is not None


def note_said(session: Session, patient_id: str, trigger: str, contact_id: str, occurrence: str, at: datetime) -> int | None:
    """Notes, for the dialogue to hear before the patient's next message, that our side spoke; None where this occurrence was noted before."""
    incoming = Incoming(Channel.SMS, occurrence, "", at, patient_id=patient_id)
    noted = _insert_once(session, patient_id, incoming, trigger=trigger, contact_id=contact_id, state=InboundState.SAID)
    return noted.id if noted else None


def _sender(session: Session, incoming: Incoming) -> tuple[Patient, Conversation] | None:
    """Who wrote, with the conversation locked: the patient's messages are accepted one after another."""
    asked = Patient.id == incoming.patient_id if incoming.patient_id else Patient.phone_index == blind_index(incoming.phone or "")
    both = select(Patient, Conversation).join(Conversation, Conversation.patient_id == Patient.id)
    row = session.execute(both.where(asked).with_for_update(of=Conversation)).one_or_none()
    return (row[0], row[1]) if row else None


def _insert_once(
    session: Session,
    patient_id: str,
    incoming: Incoming,
    trigger: str | None = None,
    contact_id: str | None = None,
    state: InboundState = InboundState.ACCEPTED,
) -> Inbound | None:
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = (
        insert(Inbound)
        .values(
            patient_id=patient_id,
            channel=incoming.channel,
            external_id=incoming.external_id,
            trigger=trigger,
            contact_id=contact_id,
            body=storable(incoming.body),
            media=incoming.media,
            received_at=incoming.received_at,
            not_after=incoming.not_after,
            state=state,
            attempts=0,
        )
        .on_conflict_do_nothing(index_elements=["channel", "external_id"])
        .returning(Inbound)
    )
    return session.scalars(statement).one_or_none()


def storable(body: str) -> str:
    """The text without NUL and lone surrogates, at most `MAX_BODY` characters."""
    return body.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")[:MAX_BODY]


def _keyword(session: Session, patient_id: str, incoming: Incoming) -> KeywordHit | None:
    """The keyword of an SMS. In the chat the dialogue hears them all, but for a language and the START of who opted out, whom the dialogue does not hear."""
    if not (keyword(incoming.body) or keyword(incoming.body, opted_out=True)):
        return None
    opted_out = consent_status(session, patient_id) == "revoked"
    hit = keyword(incoming.body, opted_out=opted_out)
    if hit is None or incoming.channel is Channel.SMS or hit.keyword is Keyword.LANGUAGE:
        return hit
    return hit if opted_out and hit.keyword is Keyword.START else None


def _obey_keyword(session: Session, patient: Patient, inbound: Inbound, hit: KeywordHit) -> None:
    if hit.keyword is Keyword.STOP:
        record_consent(session, patient.id, granted=False, channel=inbound.channel, words=inbound.body, source="keyword", at=inbound.received_at)
        text = "stop_confirmed"
    elif hit.keyword is Keyword.START:
        record_consent(session, patient.id, granted=True, channel=inbound.channel, words=inbound.body, source="keyword", at=inbound.received_at)
        text = "start_confirmed"
    elif hit.language is not None:
        patient.language, text = hit.language, "language_set"
    else:
        text = "help" if hit.keyword is Keyword.HELP else "chat_link"
    values = {"link": chat_url(session, patient.id, inbound.received_at)} if text == "chat_link" else {}
    reply = OutboundText(scripted(text, patient.language, **values), key=text, compliance=True)
    write(session, patient.id, inbound.channel, [reply], inbound.received_at, inbound_id=inbound.id)
    if hit.keyword is Keyword.LANGUAGE:  # what was asked last is asked again, in the patient's words
        trigger = "resume" if consent_status(session, patient.id) == "granted" else "ask_consent"
        accept_trigger(session, patient.id, trigger, None, f"language:{inbound.id}", inbound.received_at, channel=inbound.channel)


def _raise_red_flags(session: Session, patient: Patient, inbound: Inbound) -> None:
    context = clinical_context(session, patient, inbound.received_at)
    own = {hit.rule: hit for hit in check(inbound.body, context)}
    hits = {hit.rule: hit for text in _joined(session, inbound) for hit in check(text, context)} | own
    if not hits:
        return
    known = _rules_already_raised(session, patient.id, inbound.received_at)
    fresh = [hit for rule, hit in hits.items() if rule in own or rule not in known]
    if not fresh:
        return
    inbound.flagged = highest(hit.acuity for hit in fresh)
    if all(hit.rule in known for hit in fresh):
        return
    opted_out = consent_status(session, patient.id) == "revoked"
    _escalate(session, patient, inbound, fresh, opted_out)
    may_be_told = not opted_out or inbound.channel is Channel.WEB  # the patient's own chat is not a message to a phone
    if inbound.flagged is Acuity.EMERGENCY and may_be_told:
        text = "crisis_reply" if any(hit.rule.startswith("crisis") for hit in fresh) else "emergency_warning"
        advice = [knowledge().advice[each].said(patient.language) for each in first_words(fresh, Acuity.EMERGENCY)]
        warning = OutboundText(" ".join([scripted(text, patient.language), *advice]), key=text, safety=True)
        write(session, patient.id, inbound.channel, [warning], inbound.received_at, inbound_id=inbound.id)


def _joined(session: Session, inbound: Inbound) -> list[str]:
    """The message with those of the minutes before it: as lines, and as a sentence sent in two parts and in four. Empty where it is the first."""
    recent = session.scalars(
        select(Inbound)
        .where(Inbound.patient_id == inbound.patient_id, Inbound.id < inbound.id, Inbound.trigger.is_(None))
        .where(Inbound.received_at >= inbound.received_at - _JOIN_WINDOW)
        .order_by(Inbound.id.desc())
        .limit(20)
    ).all()
    if not recent:
        return []
    before = [message.body[-_JOINED_OF_EACH:] for message in reversed(recent)]
    beginning = inbound.body[:_JOINED_OF_EACH]
    return ["\n".join([*before, beginning]), " ".join([before[-1], beginning]), " ".join([*before[-_MOST_PARTS:], beginning])]


def _rules_already_raised(session: Session, patient_id: str, at: datetime) -> set[str]:
    rows = session.scalars(
        select(Escalation).where(
            Escalation.patient_id == patient_id,
            Escalation.reason == "red_flag",
            Escalation.state != EscalationState.RESOLVED,
            Escalation.created_at >= at - _JOIN_WINDOW,
        )
    )
    return {flag["rule"] for row in rows for flag in row.evidence.get("red_flags", [])}


def _escalate(session: Session, patient: Patient, inbound: Inbound, hits: list[RedFlagHit], opted_out: bool) -> None:
    summary = "; ".join(hit.reason for hit in hits)
    if opted_out:
        summary += " (opted out of messages: phone the patient)"
    cause = Cause(
        key=f"red_flag:{inbound.id}",
        reason="red_flag",
        acuity=highest(hit.acuity for hit in hits),
        summary=summary,
        inbound_id=inbound.id,
        evidence={"red_flags": [hit.model_dump(mode="json") for hit in hits], "opted_out": opted_out},
    )
    raise_escalation(session, patient.id, cause, inbound.received_at)


def _accept_stranger(session: Session, incoming: Incoming) -> Accepted:
    """A number nobody knows gets one neutral answer a day; only its keyed hash is kept."""
    index = blind_index(incoming.phone or "")
    known = session.get(Stranger, index)
    answer = scripted("stranger")
    if known is None:
        session.add(Stranger(phone_index=index, external_id=incoming.external_id, answered_at=incoming.received_at))
        return Accepted(None, None, new=True, stranger_answer=answer)
    repeat = known.external_id == incoming.external_id
    known.messages += 0 if repeat else 1
    due = not repeat and incoming.received_at - known.answered_at >= _STRANGER_PAUSE
    if due:
        known.answered_at = incoming.received_at
    known.external_id = incoming.external_id
    return Accepted(None, None, new=not repeat, stranger_answer=answer if due else None)
