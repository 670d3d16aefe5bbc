"""The bare engine that `aftercare bench dispatch` compares with: Celery tasks that make the same call to Twilio, and nothing else."""

from __future__ import annotations

from functools import cache

from celery import Celery
from twilio.rest import Client

from care.messages.twilio_client import twilio_client
from care.settings import settings

app = Celery("bare", broker=settings().redis)
app.conf.update(task_ignore_result=True, worker_prefetch_multiplier=1, task_default_queue="bare", worker_hijack_root_logger=False)


@cache
def _client() -> Client:
    return twilio_client(settings())


@app.task(name="bare.send")  # type: ignore[untyped-decorator]
def send(to: str, body: str) -> None:
    """Hands one message to Twilio."""
    callback = f"{settings().public}/sms/status?ref=bare"
    _client().messages.create(to=to, from_=settings().our_numbers[0], body=body, status_callback=callback)
