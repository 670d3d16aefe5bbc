"""What is settled before Rasa is asked: by rule, without a model."""

from __future__ import annotations

from dataclasses import dataclass, field

from care.acuity import Acuity
from care.messages.outbox import OutboundText
from care.patients.consent import ConsentStatus
from care.storage.tables import Channel, Conversation, Inbound, Patient
from care.texts import scripted


@dataclass(frozen=True)
class FrontDesk:
    """Whether the message is settled here, what is answered, and what a person is told: why, and how soon to read it."""

    settled: bool
    told: str | None = None
    acuity: Acuity = Acuity.ROUTINE
    replies: list[OutboundText] = field(default_factory=list)


def front_desk(patient: Patient, conversation: Conversation, inbound: Inbound, consent: ConsentStatus) -> FrontDesk:
    """A coordinator who answers silences the bot; an opted-out patient is not written to, and told so in the chat they opened; empty words are asked again.

    What no turn reads, a person is told to read.
    """
    wrote = inbound.trigger is None and bool(inbound.body.strip())
    if conversation.coordinator_id is not None:
        return FrontDesk(settled=True, told="The patient wrote while a person answers: read it." if wrote else None, acuity=Acuity.URGENT)
    if consent == "revoked":
        told = "The patient, who gets no more messages, wrote: read it, and phone where it is needed." if wrote else None
        return FrontDesk(settled=True, told=told, replies=_in_the_chat(patient, inbound))
    if inbound.trigger is None and not inbound.body.strip():
        key = "media_only" if inbound.media else "empty_message"
        return FrontDesk(settled=True, replies=[OutboundText(scripted(key, patient.language), key=key)])
    return FrontDesk(settled=False)


def _in_the_chat(patient: Patient, inbound: Inbound) -> list[OutboundText]:
    """Who opted out and writes in the chat is answered there, how to begin again; a phone is left alone."""
    if inbound.channel is not Channel.WEB or inbound.trigger is not None:
        return []
    return [OutboundText(scripted("opted_out_chat", patient.language), key="opted_out_chat", compliance=True)]
