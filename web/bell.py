"""Ringing for a worker. The rows say what is to do; a bell that fails costs seconds, since the sweep looks as well."""

from __future__ import annotations

from functools import cache

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from care.settings import settings

log = structlog.get_logger()


@cache
def _celery() -> Celery:
    app = Celery("bell", broker=settings().redis)
    app.conf.update(task_publish_retry=False, broker_transport_options={"socket_connect_timeout": 1, "socket_timeout": 2})
    return app


def ring(patient_id: str) -> None:
    """Asks a worker to run the patient's turns; never raises."""
    _send_task("turns.run", "turns", patient_id)


def ring_sender(patient_id: str) -> None:
    """Asks a worker to send the patient's outbox; never raises."""
    _send_task("sms.send", "sms", patient_id)


def _send_task(name: str, queue: str, patient_id: str) -> None:
    try:
        _celery().send_task(name, [patient_id], queue=queue, retry=False)
    except (OperationalError, OSError):
        log.warning("bell_failed", patient=patient_id)
