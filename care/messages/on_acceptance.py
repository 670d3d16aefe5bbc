"""What the rules call for when a message is accepted: a keyword is obeyed, a red flag is escalated and answered with what to do now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.acuity import Acuity, highest
from care.escalations.service import Cause, raise_escalation
from care.knowledge import knowledge
from care.messages.keywords import Keyword, KeywordHit, keyword
from care.messages.outbox import OutboundText, write
from care.patients.consent import consent_status, record_consent
from care.redflags import first_words
from care.sessions import chat_url
from care.storage.tables import Channel, Escalation, EscalationState, Inbound, Patient
from care.texts import scripted
from care.triage.model import RedFlagHit

JOIN_WINDOW = timedelta(minutes=5)
_MOST_PARTS = 3
"""A sentence is looked for in so many messages and the one that follows them."""
_JOINED_OF_EACH = 1_600


def wanted_keyword(session: Session, patient_id: str, channel: Channel, body: str) -> KeywordHit | None:
    """The keyword of an SMS. In the chat the dialogue hears them all, but for a language and the START of who opted out, whom the dialogue does not hear."""
    if not (keyword(body) or keyword(body, opted_out=True)):
        return None
    opted_out = consent_status(session, patient_id) == "revoked"
    hit = keyword(body, opted_out=opted_out)
    if hit is None or channel is Channel.SMS or hit.keyword is Keyword.LANGUAGE:
        return hit
    return hit if opted_out and hit.keyword is Keyword.START else None


def obey_keyword(session: Session, patient: Patient, inbound: Inbound, hit: KeywordHit, ask_again: Callable[..., bool]) -> None:
    """Does what the keyword asks for and confirms it. After a new language `ask_again` queues the turn that asks what was asked last."""
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
    if hit.keyword is Keyword.LANGUAGE:
        trigger = "resume" if consent_status(session, patient.id) == "granted" else "ask_consent"
        ask_again(session, patient.id, trigger, None, f"language:{inbound.id}", inbound.received_at, channel=inbound.channel)


def joined(before: Sequence[str], body: str) -> list[str]:
    """The message with those of the minutes before it: as lines, and as a sentence sent in two parts and in four. Empty where it is the first."""
    if not before:
        return []
    endings, beginning = [each[-_JOINED_OF_EACH:] for each in before], body[:_JOINED_OF_EACH]
    return ["\n".join([*endings, beginning]), " ".join([endings[-1], beginning]), " ".join([*endings[-_MOST_PARTS:], beginning])]


def raise_red_flags(session: Session, patient: Patient, inbound: Inbound, own: Sequence[RedFlagHit], together: Sequence[RedFlagHit]) -> None:
    """Escalates what the message says by itself or `together` with those before it, unless that was told of before; an emergency is answered at once."""
    by_itself = {hit.rule: hit for hit in own}
    hits = {hit.rule: hit for hit in together} | by_itself
    if not hits:
        return
    known = _rules_already_raised(session, patient.id, inbound)
    fresh = [hit for rule, hit in hits.items() if rule in by_itself or rule not in known]
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


def _rules_already_raised(session: Session, patient_id: str, inbound: Inbound) -> set[str]:
    rows = session.scalars(
        select(Escalation).where(
            Escalation.patient_id == patient_id,
            Escalation.reason == "red_flag",
            Escalation.state != EscalationState.RESOLVED,
            Escalation.created_at >= inbound.received_at - JOIN_WINDOW,
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
