"""What is settled before Rasa is asked: by rule, without a model."""

from __future__ import annotations

from dataclasses import dataclass, field

from care.messages.outbox import OutboundText
from care.patients.consent import ConsentStatus
from care.storage.tables import Conversation, Inbound, Patient
from care.texts import scripted


@dataclass(frozen=True)
class FrontDesk:
    """Whether the message is settled here, and what is answered."""

    settled: bool
    replies: list[OutboundText] = field(default_factory=list)


def front_desk(patient: Patient, conversation: Conversation, inbound: Inbound, consent: ConsentStatus) -> FrontDesk:
    """A coordinator who answers silences the bot; an opted-out patient is not written to; a message without words is asked for words."""
    if conversation.coordinator_id is not None:
        return FrontDesk(settled=True)
    if consent == "revoked":
        return FrontDesk(settled=True)
    if inbound.trigger is None and not inbound.body.strip():
        key = "media_only" if inbound.media else "empty_message"
        return FrontDesk(settled=True, replies=[OutboundText(scripted(key, patient.language), key=key)])
    return FrontDesk(settled=False)
