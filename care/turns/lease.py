"""One turn at a time per patient: a lease on the conversation, with a number that fences out whoever lost it.

Leases run on real time, not on the service's clock, which may be fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.storage.tables import Conversation

LEASE = timedelta(seconds=30)


class LeaseLost(Exception):
    """Another process took the patient over while this one was slow; nothing of this turn may be written."""

    def __init__(self, patient_id: str, fence: int) -> None:
        super().__init__(f"lease {fence} on patient {patient_id} was taken over")


@dataclass(frozen=True)
class Lease:
    """The right to write a patient's turn."""

    patient_id: str
    fence: int


def real_now() -> datetime:
    """The wall clock's time, in UTC."""
    return datetime.now(UTC)


def take(session: Session, patient_id: str) -> Lease | None:
    """The lease, or None while somebody else holds it."""
    conversation = _locked(session, patient_id)
    if conversation.lease_until is not None and conversation.lease_until > real_now():
        return None
    conversation.fence += 1
    conversation.lease_until = real_now() + LEASE
    return Lease(patient_id, conversation.fence)


def held(session: Session, lease: Lease) -> Conversation:
    """The conversation, locked for writing under the lease. Raises `LeaseLost`."""
    conversation = _locked(session, lease.patient_id)
    if conversation.fence != lease.fence:
        raise LeaseLost(lease.patient_id, lease.fence)
    return conversation


def renew(conversation: Conversation) -> None:
    """Keeps the lease for the next turn."""
    conversation.lease_until = real_now() + LEASE


def give_back(conversation: Conversation) -> None:
    """Frees the patient for the next process."""
    conversation.lease_until = None


def _locked(session: Session, patient_id: str) -> Conversation:
    return session.scalars(select(Conversation).where(Conversation.patient_id == patient_id).with_for_update()).one()
