"""Which of our numbers writes to a patient: always the same one, until its queue at Twilio is full."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import structlog
from sqlalchemy.orm import Session

from care.storage.tables import Conversation

log = structlog.get_logger()


def sticky_number(conversation: Conversation, numbers: Sequence[str]) -> str:
    """The number of ours that the patient knows; the first time one of the pool."""
    if conversation.sender not in numbers:
        digest = blake2b(conversation.patient_id.encode(), digest_size=4).digest()
        conversation.sender = numbers[int.from_bytes(digest, "big") % len(numbers)]
    return str(conversation.sender)


def leave_full_number(session: Session, patient_id: str, numbers: Sequence[str], code: int) -> None:
    """The patient's further messages come from the next number of the pool, if there is another; tells whoever is on call."""
    conversation = session.get_one(Conversation, patient_id)
    number = sticky_number(conversation, numbers)
    conversation.sender = numbers[(numbers.index(number) + 1) % len(numbers)]
    log.error("sender_full", code=code, number_of_pool=numbers.index(number), pool=len(numbers))
