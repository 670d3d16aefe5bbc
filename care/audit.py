"""Who did what to which patient: an append-only chain in which every entry is sealed with the one before it."""

from __future__ import annotations

import hmac
from datetime import datetime
from hashlib import sha256

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from care.keys import keys
from care.storage.tables import AuditEntry

_GENESIS = "0" * 64
_CHAIN_LOCK = 7_105_411


def record(session: Session, *, actor: str, action: str, subject: str, at: datetime) -> None:
    """Appends an entry in the caller's transaction: no audit, no action. `subject` is an id, never a name or words."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CHAIN_LOCK})
    session.flush()
    last = session.execute(select(AuditEntry.seq, AuditEntry.hash).order_by(AuditEntry.seq.desc()).limit(1)).first()
    seq, previous = (last.seq + 1, last.hash) if last else (1, _GENESIS)
    entry = AuditEntry(seq=seq, at=at, actor=actor, action=action, subject=subject, hash="")
    entry.hash = _seal(entry, previous)
    session.add(entry)
    session.flush()


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
