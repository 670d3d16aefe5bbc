"""What the rules call for when a message is accepted: a keyword is obeyed, a red flag is escalated and answered with what to do now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.acuity import Acuity, highest
from care.audit import record
from care.escalations.service import Cause, raise_escalation, raise_once
from care.knowledge import knowledge
from care.knowledge.model import StepKind
from care.messages.inbox import confirmable_until, note_said
from care.messages.keywords import Keyword, KeywordHit, keyword
from care.messages.outbox import OutboundText, write
from care.messages.unsaid import ASK_CONSENT, consent_request_waits, consent_was_asked
from care.patients.consent import WRONG_NUMBER, consent_status, number_in_doubt, record_consent
from care.redflags import first_words
from care.sessions import chat_url
from care.storage.tables import Channel, Contact, ContactState, Escalation, EscalationState, Inbound, Patient
from care.texts import scripted
from care.triage.model import RedFlagHit

JOIN_WINDOW = timedelta(minutes=5)
_CONFIRM_OPT_OUT = ("stop_confirmed", "wrong_number")
_ON_EVERY_CHANNEL = (Keyword.STOP, Keyword.WRONG_NUMBER, Keyword.LANGUAGE, Keyword.SHARED_PHONE)
_MOST_PARTS = 3
"""A sentence is looked for in so many messages and the one that follows them."""
_JOINED_OF_EACH = 1_600


def wanted_keyword(session: Session, patient_id: str, channel: Channel, body: str) -> KeywordHit | None:
    """The keyword of a message. In the chat the dialogue hears HELP, and the START of who did not opt out."""
    if not (keyword(body) or keyword(body, opted_out=True)):
        return None
    opted_out = consent_status(session, patient_id) == "revoked"
    hit = keyword(body, opted_out=opted_out)
    if opted_out and hit is not None and hit.keyword is Keyword.SHARED_PHONE:
        return None
    if hit is None or channel is Channel.SMS or hit.keyword in _ON_EVERY_CHANNEL:
        return hit
    return hit if opted_out and hit.keyword is Keyword.START else None


def obey_keyword(session: Session, patient: Patient, inbound: Inbound, hit: KeywordHit, ask_again: Callable[..., bool]) -> bool:
    """Does what the keyword asks for and confirms it; whether the message is settled with that. After a new language `ask_again` queues the turn that asks
    what was asked last."""
    values: dict[str, str] = {}
    text: str | None
    match hit.keyword:
        case Keyword.STOP | Keyword.WRONG_NUMBER:
            text = _leave(session, patient, inbound, hit)
        case Keyword.START:
            text = _come_back(session, patient, inbound)
        case Keyword.HELP:
            text = "help"
        case Keyword.CHAT:
            text, values = "chat_link", {"link": chat_url(session, patient.id, inbound.received_at)}
        case Keyword.LANGUAGE:
            patient.language, text = hit.language or patient.language, "language_set"
        case Keyword.SHARED_PHONE:
            text = _tell_that_others_read(session, patient, inbound, hit)
    if text is not None:
        reply = OutboundText(scripted(text, patient.language, **values), key=text, compliance=True)
        until = confirmable_until(inbound) if text in _CONFIRM_OPT_OUT else None
        if until is None or until >= inbound.received_at:
            write(session, patient.id, inbound.channel, [reply], inbound.received_at, inbound_id=inbound.id, not_after=until)
    if hit.keyword is Keyword.LANGUAGE:
        trigger = "resume" if consent_status(session, patient.id) == "granted" else "ask_consent"
        ask_again(session, patient.id, trigger, None, f"language:{inbound.id}", inbound.received_at, channel=inbound.channel)
    return hit.keyword is not Keyword.SHARED_PHONE or text is not None


def _leave(session: Session, patient: Patient, inbound: Inbound, hit: KeywordHit) -> str | None:
    """Ends the messages; what confirms it, once: who is left alone already gets nothing more on the phone."""
    wrong, left_before, in_doubt = hit.keyword is Keyword.WRONG_NUMBER, consent_status(session, patient.id) == "revoked", number_in_doubt(session, patient.id)
    source = WRONG_NUMBER if wrong else "keyword"
    record_consent(session, patient.id, granted=False, channel=inbound.channel, words=inbound.body, source=source, at=inbound.received_at)
    if wrong and not in_doubt:
        told = "The number seems to be somebody else's: nothing is sent to it. Find the patient another way, then correct or confirm the number."
        _tell(session, inbound, "wrong_number", told)
    elif hit.rest:
        _tell(session, inbound, "opt_out_wish", "The patient asked for no more messages, which are off, and wrote more beside it: read it.")
    elif _asked_about_visit(session, patient.id):
        told = "The patient answered the reminder of a visit with the word that ends all messages: they are off. Ask whether the visit stands."
        _tell(session, inbound, "opt_out_wish", told)
    if left_before:
        return "opted_out_chat" if inbound.channel is Channel.WEB else None
    return "wrong_number" if wrong else "stop_confirmed"


def _asked_about_visit(session: Session, patient_id: str) -> bool:
    asked = (ContactState.STARTED, ContactState.REMINDED, ContactState.OFFERED_CHAT)
    open_one = select(Contact.id).where(Contact.patient_id == patient_id, Contact.kind == StepKind.APPOINTMENT, Contact.state.in_(asked))
    return session.scalar(open_one.limit(1)) is not None


def _come_back(session: Session, patient: Patient, inbound: Inbound) -> str | None:
    """Begins again, but where the number is said to be somebody else's: a stranger's yes is not the patient's. Who was never asked is asked first."""
    if number_in_doubt(session, patient.id):
        told = "Somebody asks for messages at a number that was said not to be the patient's: correct or confirm the number."
        _tell(session, inbound, "number_in_doubt", told)
        return "number_in_doubt" if inbound.channel is Channel.WEB else None
    if consent_status(session, patient.id) == "unknown" and not consent_was_asked(session, patient.id):
        _ask_for_consent(session, patient, inbound)
        return None
    record_consent(session, patient.id, granted=True, channel=inbound.channel, words=inbound.body, source="keyword", at=inbound.received_at)
    return "start_confirmed"


def _ask_for_consent(session: Session, patient: Patient, inbound: Inbound) -> None:
    """The first message's words, as an answer, unless they are on their way; the dialogue hears of them with the next message."""
    if consent_request_waits(session, patient.id):
        return
    noted = note_said(session, patient.id, ASK_CONSENT, None, f"start:{inbound.id}", inbound.received_at)
    request = OutboundText(scripted("consent_request", patient.language, first_name=patient.first_name), key="consent_request")
    write(session, patient.id, inbound.channel, [request], inbound.received_at, inbound_id=noted)


def _tell_that_others_read(session: Session, patient: Patient, inbound: Inbound, hit: KeywordHit) -> str | None:
    """A person hears of it and keeps it with the patient, since a rule may misread. A message that says more, or that is known, the dialogue answers."""
    if patient.shared_phone:
        return None
    told = "The patient says that others read the phone: ask, and say so on the patient's page, so that no health detail is sent to it."
    raise_once(session, patient.id, Cause(f"shared_phone:{inbound.id}", "shared_phone", Acuity.ROUTINE, told, inbound_id=inbound.id), inbound.received_at)
    return None if hit.rest else "read_by_person"


def _tell(session: Session, inbound: Inbound, reason: str, summary: str) -> None:
    cause = Cause(f"{reason}:{inbound.id}", reason, Acuity.ROUTINE, summary, inbound_id=inbound.id)
    raise_escalation(session, inbound.patient_id, cause, inbound.received_at)


def tell_of_pictures(session: Session, patient: Patient, inbound: Inbound) -> None:
    """A person hears of pictures, which are not kept: they may show what the words do not say."""
    if inbound.media:
        told = "The patient sent a picture, which is not kept: ask what it shows, or to see it another way."
        raise_once(session, patient.id, Cause(f"picture:{inbound.id}", "picture", Acuity.ROUTINE, told, inbound_id=inbound.id), inbound.received_at)


def clear_number_problem(session: Session, patient: Patient, inbound: Inbound) -> None:
    """A number that a text came from takes texts, whatever was said of it before: a warning must not be kept back."""
    if inbound.channel is Channel.SMS and patient.number_problem is not None:
        patient.number_problem = None
        record(session, actor=f"patient:{patient.id}", action="number_works_again", subject=patient.id, at=inbound.received_at)


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
