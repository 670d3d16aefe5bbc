"""What keeps promises when a bell was lost: the sweep, the poller of Twilio's list, the deadlines."""

from __future__ import annotations

from functools import cache

import redis

from aftercare.assembly import build_gateway
from care.clock import service_clock
from care.escalations.service import mark_overdue
from care.escalations.silence import call_for_silent
from care.messages.poller import ask_for_receipts, poll
from care.messages.sweep import SWEPT, waiting_patients
from care.messages.twilio_gateway import TwilioGateway
from care.settings import settings
from care.storage.engine import reading, transaction
from workers.app import app
from workers.turns import TOGETHER, run_turns, send, send_each

_SWEPT_S = 30
_UNHEARD, _MOST_RUNG, _FEWEST_RUNG = 10, 150, 10
_SWEEPS_S = 6


@cache
def _gateway() -> TwilioGateway:
    return build_gateway(settings())


@app.task(name="upkeep.sweep")  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Rings for patients with a turn or a send that nobody is at, and leaves a sign that Beat and a worker are at work.

    Where bells have not been heard yet, those who wait longest are rung for and no others: most of them have been rung for, and bells that find nothing to do
    take the workers' time in a backlog. Nor are more rung for than our numbers can send until the next sweeps.
    """
    current = settings()
    sent_meanwhile = _SWEEPS_S * current.sms_segments_per_second * len(current.our_numbers)
    broker = redis.Redis.from_url(current.redis)
    with reading() as session:
        turns, sends = waiting_patients(session)
    for patient_id in turns[: _room(broker, "turns")]:
        run_turns.delay(patient_id)
    most = min(_room(broker, "sms"), max(_FEWEST_RUNG, int(sent_meanwhile)))
    for start in range(0, most, TOGETHER):
        if together := sends[start : min(start + TOGETHER, most)]:
            send_each.delay(together)
    broker.set(SWEPT, "1", ex=_SWEPT_S)


def _room(broker: redis.Redis, queue: str) -> int:
    return _MOST_RUNG if int(broker.llen(queue)) < _UNHEARD else _FEWEST_RUNG


@app.task(name="upkeep.poll")  # type: ignore[untyped-decorator]
def poll_twilio() -> None:
    """Takes in what no webhook brought."""
    for patient_id in poll(_gateway(), service_clock()):
        send.delay(patient_id)
        run_turns.delay(patient_id)


@app.task(name="upkeep.receipts")  # type: ignore[untyped-decorator]
def receipts() -> None:
    """Looks up what became of messages whose receipts did not come."""
    ask_for_receipts(_gateway(), service_clock())


@app.task(name="upkeep.deadlines")  # type: ignore[untyped-decorator]
def deadlines() -> None:
    """Marks escalations that passed their deadline, and calls a person for who went silent after a question that could show danger."""
    with transaction() as session:
        mark_overdue(session, service_clock().now())
        call_for_silent(session, service_clock().now())
