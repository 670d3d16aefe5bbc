"""Carrying out what the dialogue decided, in the turn's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.escalations.service import TIME_TO_ACT, Cause, raise_escalation
from care.escalations.silence import await_answer
from care.moments import named_times
from care.patients.consent import record_consent
from care.storage.tables import Answer, Contact, ContactState, Escalation, EscalationState, Inbound, Patient, ReportRow
from care.turns.dialogue import AnswerEffect, AwaitEffect, ConsentEffect, ContactDoneEffect, Effect, EscalationEffect, ReportEffect


def carry_out(session: Session, inbound: Inbound, effects: Sequence[Effect], at: datetime) -> None:
    """Writes answers, reports, escalations, consent and finished contacts of one turn."""
    report = next((effect for effect in effects if isinstance(effect, ReportEffect)), None)
    for number, effect in enumerate(effects):
        match effect:
            case AnswerEffect():
                _write_answer(session, inbound, effect, at)
            case ReportEffect():
                _write_report(session, inbound, effect, at)
            case EscalationEffect():
                evidence = {"triage": report.triage.model_dump(mode="json")} if report else {}
                if not _joined(session, inbound, effect, evidence, at):
                    summary = f"{effect.summary}{_named_times(session, inbound) if effect.reason == 'appointment' else ''}"
                    cause = Cause(f"{effect.reason}:{inbound.id}:{number}", effect.reason, effect.acuity, summary, inbound.id, evidence)
                    raise_escalation(session, inbound.patient_id, cause, at)
            case AwaitEffect():
                await_answer(session, inbound, effect.question, effect.acuity, at)
            case ConsentEffect():
                record_consent(
                    session,
                    inbound.patient_id,
                    granted=effect.granted,
                    channel=inbound.channel,
                    words=effect.words,
                    source=effect.source,
                    at=at,
                )
            case ContactDoneEffect():
                _finish_contact(session, effect, at)


def _named_times(session: Session, inbound: Inbound) -> str:
    """The days and hours that the patient named, on their calendar when they wrote."""
    named = named_times(inbound.body, inbound.received_at, session.get_one(Patient, inbound.patient_id).timezone)
    return f" Named: {'; '.join(named)}." if named else ""


def _joined(session: Session, inbound: Inbound, effect: EscalationEffect, evidence: dict[str, Any], at: datetime) -> bool:
    """Adds a triage to the escalation that the rules raised for the same message: one cause, one row, at the higher acuity of the two.

    One that a coordinator has taken already is not made more serious behind their back: then the triage is a row of its own.
    """
    raised = session.scalars(select(Escalation).where(Escalation.key == f"red_flag:{inbound.id}")).one_or_none()
    if raised is None or not effect.reason.startswith(("triage_", "crisis")):
        return False
    if effect.acuity.rank > raised.acuity.rank:
        if raised.state is not EscalationState.OPEN:
            return False
        raised.acuity = effect.acuity
        raised.deadline = min(raised.deadline, at + TIME_TO_ACT[effect.acuity])
        raised.summary = f"{effect.summary}; {raised.summary}"
    raised.evidence = {**raised.evidence, **evidence}
    return True


def _write_answer(session: Session, inbound: Inbound, effect: AnswerEffect, at: datetime) -> None:
    session.add(
        Answer(
            patient_id=inbound.patient_id,
            inbound_id=inbound.id,
            contact_id=effect.contact,
            question=effect.question,
            value=effect.value,
            unit=effect.unit,
            words=effect.words,
            at=at,
        )
    )


def _write_report(session: Session, inbound: Inbound, effect: ReportEffect, at: datetime) -> None:
    session.add(
        ReportRow(
            patient_id=inbound.patient_id,
            inbound_id=inbound.id,
            words=effect.words,
            acuity=effect.triage.acuity,
            triage=effect.triage.model_dump(mode="json"),
            at=at,
        )
    )


def _finish_contact(session: Session, effect: ContactDoneEffect, at: datetime) -> None:
    contact = session.get(Contact, effect.contact)
    if contact is not None and contact.completed_at is None:
        contact.state, contact.completed_at, contact.next_at = ContactState.COMPLETED, at, None
