"""How fast each of our numbers sends: no faster than Twilio passes on, so that a warning never waits in Twilio's queue behind routine messages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from care.storage.engine import transaction
from care.storage.tables import Heartbeat


class Haste(Enum):
    """How many seconds' worth of segments may lie at Twilio before a message of this kind waits with us. Outreach leaves room for answers; a warning leaves
    at all times, and what comes after it waits the longer."""

    OUTREACH = 3.0
    ANSWER = 4.5
    WARNING = float("inf")


@dataclass(frozen=True)
class Leaving:
    """A message about to leave from our `number`."""

    number: str
    segments: int
    haste: Haste


def may_leave(messages: Sequence[Leaving], per_second: float) -> list[bool]:
    """Which of the messages may leave now, where each number sends so many segments a second; those are counted. In a transaction of its own: all senders
    share the count, and none holds it while it waits for a patient."""
    of_number: dict[str, list[int]] = defaultdict(list)
    for place, message in enumerate(messages):
        of_number[message.number].append(place)
    allowed = [False] * len(messages)
    with transaction(durable=False) as session:
        for number in sorted(of_number):
            busy_until, now = _busy_until(session, number), datetime.now(UTC)
            for place in of_number[number]:
                ahead = max(busy_until.at - now, timedelta(0))
                if ahead.total_seconds() <= messages[place].haste.value:
                    busy_until.at = now + ahead + timedelta(seconds=messages[place].segments / per_second)
                    allowed[place] = True
    return allowed


def _busy_until(session: Session, number: str) -> Heartbeat:
    """When the number has sent what has left, locked."""
    name = f"sms.pace:{number}"
    row = select(Heartbeat).where(Heartbeat.name == name).with_for_update()
    found = session.scalars(row).one_or_none()
    if found is None:
        insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
        session.execute(insert(Heartbeat).values(name=name, at=datetime.now(UTC)).on_conflict_do_nothing(index_elements=["name"]))
        found = session.scalars(row).one()
    return found
