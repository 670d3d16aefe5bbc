"""Answers that an outage kept back until the night: they wait for the morning, unless the patient is awake and writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from care.campaigns.hours import next_open
from care.campaigns.plan import place_of
from care.clock import real_time
from care.storage.tables import Inbound, Outbound, OutboundState, Patient

_LATE = timedelta(hours=1)
_SAME = timedelta(minutes=1)


def hold_late(session: Session, waiting: Mapping[str, Sequence[Outbound]], patients: Mapping[str, Patient], at: datetime) -> None:
    """Outside of the hours in which a patient may be written to, has answers wait for these where the newest is over an hour late; where it is not, all of them
    may go. Warnings and what the law asks for never wait."""
    answers = {patient_id: found for patient_id, rows in waiting.items() if (found := [row for row in rows if _is_answer(row)])}
    morning = {patient_id: opens for patient_id in answers if (opens := next_open(at, place_of(patients[patient_id]))) > at}
    wanted = {row.inbound_id for patient_id in morning for row in answers[patient_id]}
    asked = {row[0]: row[1] for row in session.execute(select(Inbound.id, Inbound.received_at).where(Inbound.id.in_(wanted)))} if wanted else {}
    for patient_id, opens in morning.items():
        newest = max(asked.get(row.inbound_id or 0, row.created_at) for row in answers[patient_id])
        until = datetime.now(UTC) + real_time(opens - at)
        for row in answers[patient_id]:
            if at - newest > _LATE:
                row.next_at = until
            elif row.next_at is not None and abs(row.next_at - until) < _SAME:  # a pause before another try stays
                row.next_at = None


def _is_answer(row: Outbound) -> bool:
    return row.state is OutboundState.PENDING and row.not_after is None and not (row.safety or row.compliance)
