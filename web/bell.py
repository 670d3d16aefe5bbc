"""Ringing for a worker. The rows say what is to do; a bell that fails costs seconds, since the sweep looks as well."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import structlog
from celery import Celery
from kombu.exceptions import OperationalError

from care.messages.acceptance import Accepted
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


def ring_for_accepted(accepted: Sequence[Accepted]) -> None:
    """Asks workers to send what the rules wrote, warnings first, and to run the patients' turns; never raises. Where one bell fails no more are rung."""
    for each in sorted(accepted, key=lambda each: not each.warned):
        if each.answered and not ring_sender(each.patient_id, warning=each.warned):
            return
    wanted = list(dict.fromkeys(each.patient_id for each in accepted))
    if len(wanted) == 1:
        _send_task("turns.run", "turns", wanted[0])
        return
    for first in range(0, len(wanted), _TOGETHER):
        if not _send_task("turns.run_each", "turns", wanted[first : first + _TOGETHER]):
            return


def ring_sender(patient_id: str, *, warning: bool = False) -> bool:
    """Asks a worker to send the patient's outbox; false where the bell failed."""
    return _send_task("sms.send", "warnings" if warning else "sms", patient_id)


def _send_task(name: str, queue: str, argument: Any) -> bool:
    try:
        _celery().send_task(name, [argument], queue=queue, retry=False)
    except (OperationalError, OSError):
        log.warning("bell_failed", task=name)
        return False
    return True
