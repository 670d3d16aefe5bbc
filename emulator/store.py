"""The emulator's ledger: every message it took or sent, in a SQLite file that survives a kill."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

_SCHEMA = """CREATE TABLE IF NOT EXISTS messages (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, sid TEXT UNIQUE, direction TEXT, sender TEXT, recipient TEXT, body TEXT, status TEXT,
  error_code INTEGER, callback TEXT, media INTEGER, created TEXT);
CREATE INDEX IF NOT EXISTS by_recipient ON messages (recipient);
CREATE INDEX IF NOT EXISTS by_sender ON messages (sender);
"""
QUEUED = "queued"
"""The status of a message that has no date of sending yet."""


@dataclass
class Sms:
    """A message in Twilio's hands; `direction` is inbound (from a phone) or outbound-api."""

    seq: int
    sid: str
    direction: str
    sender: str
    recipient: str
    body: str
    status: str
    error_code: int | None
    callback: str | None
    media: int
    created: datetime


class Ledger:
    """Thread-safe access to the messages."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")  # safe from a kill; only a power failure may take the last rows back
        self._db.executescript(_SCHEMA)

    def add(self, direction: str, sender: str, recipient: str, body: str, status: str, callback: str | None = None, media: int = 0) -> Sms:
        """Stores a new message."""
        sid = ("MM" if media else "SM") + uuid4().hex
        with self._lock:
            self._db.execute(
                "INSERT INTO messages (sid, direction, sender, recipient, body, status, callback, media, created) VALUES (?,?,?,?,?,?,?,?,?)",
                (sid, direction, sender, recipient, body, status, callback, media, datetime.now(UTC).isoformat()),
            )
        found = self.get(sid)
        if found is None:
            raise RuntimeError("a message just stored is gone")
        return found

    def set_status(self, sid: str, status: str, error_code: int | None = None) -> None:
        """Moves a message on."""
        with self._lock:
            self._db.execute("UPDATE messages SET status=?, error_code=? WHERE sid=?", (status, error_code, sid))

    def get(self, sid: str) -> Sms | None:
        """The message of this sid."""
        return next(iter(self._select("sid=?", (sid,))), None)

    def find(self, to: str = "", sender: str = "", after: datetime | None = None, before: datetime | None = None) -> list[Sms]:
        """Messages by Twilio's filters, the newest first. What is queued was not sent at any date."""
        where = ["1=1"]
        values: list[str] = []
        if after or before:
            where.append("status<>?")
            values.append(QUEUED)
        for clause, value in (
            ("recipient=?", to),
            ("sender=?", sender),
            ("created>=?", after and after.isoformat()),
            ("created<=?", before and before.isoformat()),
        ):
            if value:
                where.append(clause)
                values.append(value)
        return list(reversed(self._select(" AND ".join(where), tuple(values))))

    def of_phone(self, number: str) -> list[Sms]:
        """A phone's messages, the oldest first."""
        return self._select("sender=? OR recipient=?", (number, number))

    def numbers(self, ours: set[str]) -> list[str]:
        """Every phone that wrote or was written to."""
        with self._lock:
            rows = self._db.execute("SELECT sender, recipient FROM messages").fetchall()
        return sorted({number for row in rows for number in row} - ours)

    def _select(self, where: str, values: tuple[str, ...]) -> list[Sms]:
        query = f"SELECT seq, sid, direction, sender, recipient, body, status, error_code, callback, media, created FROM messages WHERE {where} ORDER BY seq"  # noqa: S608
        with self._lock:
            rows = self._db.execute(query, values).fetchall()
        return [replace(Sms(*row), created=datetime.fromisoformat(row[-1])) for row in rows]
