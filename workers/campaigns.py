"""The campaign clock."""

from __future__ import annotations

import time
from datetime import datetime

from sqlalchemy.orm import Session

from care.campaigns.operation import complete
from care.campaigns.schedule import outreach_waits, take_pace, tick, turns_wait
from care.clock import service_clock
from care.messages.sweep import with_a_turn
from care.settings import settings
from care.storage.engine import transaction
from workers.app import app
from workers.turns import TOGETHER, run_turns, send_each

_AT_ONCE = 48
"""So many in a transaction: others wait for no more than these, and their messages leave while the next are prepared."""
_LONGEST_S = 1.8
"""So long a tick goes on. What it skips or puts off takes nothing of the pace: after an outage thousands of stale contacts must not keep back the others."""
_AHEAD_S, _FEWEST_AHEAD, _MOST_AHEAD = 30, 20, 1000
"""Nobody is written to while so many seconds' worth of segments, or so many messages, wait to be sent: where Twilio takes nothing, or less than is due,
contacts stay planned, and what becomes stale is skipped and recorded instead of begun in vain."""
_MOST_TURNS_AHEAD = 100
"""For each process that handles turns: while more wait, about half a minute's worth, nobody is written to. Who has answered comes before who is to be asked."""


def room(session: Session, at: datetime) -> int:
    """How many may be written to before too much waits; none where it is not positive."""
    current = settings()
    if turns_wait(session) >= _MOST_TURNS_AHEAD * current.worker_processes:
        return 0
    ahead = min(_MOST_AHEAD, max(_FEWEST_AHEAD, int(_AHEAD_S * current.sms_segments_per_second * len(current.our_numbers))))
    return ahead - outreach_waits(session, at)


@app.task(name="campaigns.tick")  # type: ignore[untyped-decorator]
def campaigns_tick() -> None:
    """Queues the turns of contacts that are due, at the pace that our numbers may send, then rings for them; unrung ones are found by the sweep."""
    began = time.monotonic()
    with transaction() as session:
        free = room(session, service_clock().now())
        most = take_pace(session, settings().sms_per_second * len(settings().our_numbers), free) if free > 0 else 0
    full = free <= 0
    while (most > 0 or full) and time.monotonic() - began < _LONGEST_S:
        with transaction() as session:
            ticked = tick(session, service_clock().now(), min(_AT_ONCE, most))
            turns = with_a_turn(session, ticked.patients)
        for patient_id in turns:
            run_turns.delay(patient_id)
        said = [patient_id for patient_id in ticked.patients if patient_id not in turns]
        for start in range(0, len(said), TOGETHER):
            send_each.delay(said[start : start + TOGETHER])
        most -= len(ticked.patients)
        if not ticked.contacts:
            return


@app.task(name="campaigns.complete")  # type: ignore[untyped-decorator]
def campaigns_complete() -> None:
    """Closes enrollments whose protocol is over."""
    with transaction() as session:
        complete(session, service_clock().now())
