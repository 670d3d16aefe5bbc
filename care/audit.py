"""Who did what to which patient: an append-only chain in which every entry is sealed with the one before it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from sqlalchemy import event, select, text
from sqlalchemy.orm import Session, SessionTransaction

from care.keys import keys
from care.storage.tables import AuditEntry

_GENESIS = "0" * 64
_CHAIN_LOCK = 7_105_411
_NOTED, _MARKS = "audit.noted", "audit.marks"


@dataclass(frozen=True)
class _Noted:
    """An entry that is to be appended."""

    at: datetime
    actor: str
    action: str
    subject: str


def record(session: Session, *, actor: str, action: str, subject: str, at: datetime) -> None:
    """Appends an entry in the caller's transaction, and writes what it has changed so far: no audit, no action. `subject` is an id, never a name or words.

    The entry is noted here and appended as the transaction commits: the chain has one end, and whoever appends holds it until then. A roster's import must
    not keep red flags from being escalated.
    """
    session.flush()
    session.info.setdefault(_NOTED, []).append(_Noted(at, actor, action, subject))


@event.listens_for(Session, "before_commit")
def _append(session: Session) -> None:
    if session.in_nested_transaction():
        return
    session.info.pop(_MARKS, None)
    if not (noted := session.info.pop(_NOTED, [])):
        return
    session.flush()  # no row is locked after the chain
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CHAIN_LOCK})
    last = session.execute(select(AuditEntry.seq, AuditEntry.hash).order_by(AuditEntry.seq.desc()).limit(1)).first()
    seq, previous = (last.seq, last.hash) if last else (0, _GENESIS)
    for each in noted:
        seq += 1
        entry = AuditEntry(seq=seq, at=each.at, actor=each.actor, action=each.action, subject=each.subject, hash="")
        previous = entry.hash = _seal(entry, previous)
        session.add(entry)


@event.listens_for(Session, "after_transaction_create")
def _mark(session: Session, begun: SessionTransaction) -> None:
    """What is noted in a savepoint goes where the savepoint goes."""
    session.info.setdefault(_MARKS, {})[begun] = len(session.info.get(_NOTED, []))


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, rolled_back: SessionTransaction) -> None:
    del session.info.get(_NOTED, [])[session.info.get(_MARKS, {}).pop(rolled_back, 0) :]


def verify(session: Session) -> int | None:
    """The number of the first entry that was changed, moved or removed; None where the chain is whole."""
    previous, expected = _GENESIS, 1
    for entry in session.scalars(select(AuditEntry).order_by(AuditEntry.seq).execution_options(yield_per=1000)):
        if entry.seq != expected or not hmac.compare_digest(entry.hash, _seal(entry, previous)):
            return expected
        previous, expected = entry.hash, expected + 1
    return None


def _seal(entry: AuditEntry, previous: str) -> str:
    line = "\x1f".join((previous, str(entry.seq), entry.at.isoformat(), entry.actor, entry.action, entry.subject))
    return hmac.new(keys().audit.get_secret_value(), line.encode(), sha256).hexdigest()
