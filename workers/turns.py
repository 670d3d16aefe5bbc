"""Turns and sending, one task a patient."""

from __future__ import annotations

from functools import cache

import structlog
from sqlalchemy.exc import OperationalError

from aftercare.assembly import build_sender, build_turn_runner
from care.messages.sending import Sender
from care.settings import settings
from care.turns.service import TurnRunner
from workers.app import app

log = structlog.get_logger()

TOGETHER = 16
"""So many patients' messages are sent with the same transactions."""


@cache
def _turns() -> TurnRunner:
    return build_turn_runner(settings())


@cache
def _sender() -> Sender:
    return build_sender(settings())


@app.task(name="turns.run")  # type: ignore[untyped-decorator]
def run_turns(patient_id: str) -> None:
    """Handles what is accepted for the patient, then sends. A death half-way leaves rows that the sweep rings for again."""
    _turns().run(patient_id)
    _sender().run(patient_id)


@app.task(name="turns.run_each")  # type: ignore[untyped-decorator]
def run_turns_of_each(patient_ids: list[str]) -> None:
    """The same for several patients, one after another. A death half-way leaves rows that the sweep rings for again."""
    for patient_id in patient_ids:
        run_turns(patient_id)


@app.task(name="sms.send")  # type: ignore[untyped-decorator]
def send(patient_id: str) -> None:
    """Sends the patient's outbox. A death half-way leaves a claim that is looked up at Twilio before anything is sent again."""
    _sender().run(patient_id)


@app.task(name="sms.send_each")  # type: ignore[untyped-decorator]
def send_each(patient_ids: list[str]) -> None:
    """The same for several patients, with few transactions. Where it fails for one, the others' are sent one by one."""
    try:
        _sender().run_each(patient_ids)
    except OperationalError:  # the database is away: the sweep rings again
        raise
    except Exception as error:
        log.warning("sent_one_by_one", patients=len(patient_ids), error=type(error).__name__)
        for patient_id in patient_ids:
            send.delay(patient_id)
