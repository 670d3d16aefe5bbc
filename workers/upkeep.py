"""What keeps promises when a bell was lost: the sweep, the poller of Twilio's list, the silences, the call to a person outside the console."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import cache

import httpx
import redis
import structlog

from aftercare.assembly import build_gateway
from care.clock import service_clock
from care.escalations.on_call import call, to_call_for, were_called_for
from care.escalations.silence import call_for_silent
from care.messages.poller import ask_for_receipts, poll
from care.messages.receipts import tell_of_unconfirmed
from care.messages.sweep import SWEPT, waiting_patients
from care.messages.twilio_gateway import TwilioGateway
from care.settings import settings
from care.storage.engine import reading, transaction
from workers.app import app
from workers.turns import TOGETHER, run_turns, send, send_each

log = structlog.get_logger()
_SWEPT_S = 30
_UNHEARD, _MOST_UNHEARD = 10, 500
_MOST_RUNG, _FEWEST_RUNG = 150, 10
_SWEEPS_S = 6


@cache
def _gateway() -> TwilioGateway:
    return build_gateway(settings())


@app.task(name="upkeep.sweep")  # type: ignore[untyped-decorator]
def sweep() -> None:
    """Rings for patients with a turn or a send that nobody is at, and leaves a sign that Beat and a worker are at work.

    Where bells have not been heard yet, only a few are rung for, drawn by lot: most have been rung for, and bells that find nothing to do take the workers'
    time in a backlog. Nor are more rung for than our numbers can send until the next sweeps.
    """
    current = settings()
    sent_meanwhile = _SWEEPS_S * current.sms_segments_per_second * len(current.our_numbers)
    broker = redis.Redis.from_url(current.redis)
    with reading() as session:
        turns, sends = waiting_patients(session)
    for patient_id in _rung_for(broker, "turns", turns, _MOST_RUNG):
        run_turns.delay(patient_id)
    wanted = _rung_for(broker, "sms", sends, max(_FEWEST_RUNG, int(sent_meanwhile)))
    for start in range(0, len(wanted), TOGETHER):
        send_each.delay(wanted[start : start + TOGETHER])
    broker.set(SWEPT, "1", ex=_SWEPT_S)


def _rung_for(broker: redis.Redis, queue: str, waiting: list[str], most: int) -> list[str]:
    unheard = int(broker.llen(queue))
    if unheard < _UNHEARD:
        return waiting[: min(_MOST_RUNG, most)]
    return random.sample(waiting, min(_FEWEST_RUNG, most, len(waiting))) if unheard < _MOST_UNHEARD else []


@app.task(name="upkeep.poll")  # type: ignore[untyped-decorator]
def poll_twilio() -> None:
    """Takes in what no webhook brought."""
    for patient_id in poll(_gateway(), service_clock()):
        send.delay(patient_id)
        run_turns.delay(patient_id)


@app.task(name="upkeep.receipts")  # type: ignore[untyped-decorator]
def receipts() -> None:
    """Looks up what became of messages whose receipts did not come, and has a person phone where that was a warning and Twilio does not know either."""
    ask_for_receipts(_gateway(), service_clock())
    with transaction() as session:
        tell_of_unconfirmed(session, service_clock().now())


@app.task(name="upkeep.silences")  # type: ignore[untyped-decorator]
def silences() -> None:
    """Calls a person for who went silent after a question that could show danger."""
    with transaction() as session:
        call_for_silent(session, service_clock().now())


@app.task(name="upkeep.on_call")  # type: ignore[untyped-decorator]
def call_person() -> None:
    """Calls the address that was given while an emergency waits that nobody has taken: at once for a new one, and again every few minutes."""
    current, now = settings(), service_clock().now()
    if not current.alert_url:
        return
    with reading() as session:
        found = to_call_for(session, timedelta(minutes=current.alert_every_minutes), now)
    if found is None:
        return
    try:
        call(current.alert_url, found, f"{current.public}/console")
    except httpx.HTTPError as error:
        log.error("nobody_called", error=type(error).__name__)
        return
    with transaction() as session:
        were_called_for(session, found, now)
