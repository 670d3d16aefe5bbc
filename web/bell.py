"""Ringing for a worker. The rows say what is to do; a bell that fails costs seconds, since the sweep looks as well."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from care.settings import settings

log = structlog.get_logger()
_TOGETHER = 4
"""Patients in one bell, where many write at once: their turns run one after another in a worker process."""


@cache
def _celery() -> Celery:
    app = Celery("bell", broker=settings().redis)
    app.conf.update(task_publish_retry=False, broker_transport_options={"socket_connect_timeout": 1, "socket_timeout": 2})
    return app


def ready_bell() -> None:
    """Loads what ringing needs, so that the first message does not wait for it."""
    _celery().producer_pool  # noqa: B018


def ring(patient_id: str) -> None:
    """Asks a worker to run the patient's turns; never raises."""
    _send_task("turns.run", "turns", patient_id)


def ring_for_all(patient_ids: Sequence[str]) -> list[None]:
    """Asks workers to run the turns of several patients; never raises."""
    wanted = list(dict.fromkeys(patient_ids))
    if len(wanted) == 1:
        ring(wanted[0])
    else:
        for first in range(0, len(wanted), _TOGETHER):
            _send_task("turns.run_each", "turns", wanted[first : first + _TOGETHER])
    return [None] * len(patient_ids)


def ring_sender(patient_id: str, *, warning: bool = False) -> None:
    """Asks a worker to send the patient's outbox, a warning before all others; never raises."""
    _send_task("sms.send", "warnings" if warning else "sms", patient_id)


def _send_task(name: str, queue: str, argument: Any) -> None:
    try:
        _celery().send_task(name, [argument], queue=queue, retry=False)
    except (OperationalError, OSError):
        log.warning("bell_failed", task=name)
