"""The control arm: plain Celery tasks with `acks_late`, as one would write them without an outbox."""

from __future__ import annotations

import os

import redis
from celery import Celery

_URL = os.environ.get("PLAIN_REDIS_URL", "")
app = Celery("plain", broker=_URL)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_transport_options={"visibility_timeout": 8},
)
DONE = "plain:done"


@app.task(name="plain.send")  # type: ignore[untyped-decorator]
def send(number: int) -> None:
    """Notes that it ran."""
    redis.Redis.from_url(_URL).sadd(DONE, number)
