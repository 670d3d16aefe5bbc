"""Celery: the bell and the hands. A task carries an id; the row in the database decides whether there is anything to do."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.signals import worker_init

from care import redflags
from care.campaigns import hours
from care.settings import settings

app = Celery("aftercare", broker=settings().redis, include=["workers.turns", "workers.campaigns", "workers.upkeep"])
app.conf.update(
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"socket_connect_timeout": 1, "socket_timeout": 10, "visibility_timeout": 3600},
    task_publish_retry=False,
    worker_hijack_root_logger=False,
    timezone="UTC",
    task_routes={
        "turns.*": {"queue": "turns"},
        "sms.*": {"queue": "sms"},
        "campaigns.*": {"queue": "campaigns"},
        "upkeep.poll": {"queue": "polls"},
        "upkeep.receipts": {"queue": "polls"},
        "upkeep.*": {"queue": "upkeep"},
    },
    beat_schedule={
        "campaigns.tick": {"task": "campaigns.tick", "schedule": 2.0, "options": {"expires": 10}},
        "campaigns.complete": {"task": "campaigns.complete", "schedule": 3600.0, "options": {"expires": 600}},
        "upkeep.sweep": {"task": "upkeep.sweep", "schedule": 3.0, "options": {"expires": 10}},
        "upkeep.poll": {"task": "upkeep.poll", "schedule": 30.0, "options": {"expires": 60}},
        "upkeep.receipts": {"task": "upkeep.receipts", "schedule": 60.0, "options": {"expires": 60}},
        "upkeep.on_call": {"task": "upkeep.on_call", "schedule": 15.0, "options": {"expires": 60}},
        "upkeep.silences": {"task": "upkeep.silences", "schedule": 15.0, "options": {"expires": 60}},
    },
)


@worker_init.connect  # type: ignore[untyped-decorator]
def make_ready(**_given: Any) -> None:
    """Before the pool is forked: its processes share what was read."""
    hours.make_ready()
    redflags.make_ready()
