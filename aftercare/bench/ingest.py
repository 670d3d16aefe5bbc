"""`aftercare bench ingest`: signed webhooks stored and acknowledged, against a bare route that checks the signature; and their latency in a campaign."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import quantiles
from urllib.parse import urlencode
from uuid import uuid4

import httpx
from pydantic import BaseModel
from rich.console import Console
from sqlalchemy import exists, func, or_, select
from twilio.request_validator import RequestValidator

from aftercare.bench import bare_route
from aftercare.bench.cohort import enroll_cohort, phone, start_outreach
from aftercare.bench.posting import post_all, post_each
from care.clock import service_clock
from care.messages.twilio_client import account_of
from care.settings import ROOT, settings
from care.storage.engine import transaction
from care.storage.tables import Contact, ContactState, Inbound, InboundState, Outbound, OutboundState
from workers.app import app as workers

_CONNECTIONS = 64
_QUEUES = ("turns", "polls", "campaigns", "upkeep", "sms", "warnings")
_AT_ONCE, _BETWEEN_S, _PAUSE_S = 20, 0.1, 0.05
"""How often it is looked at whether the campaign is out, in patients' answers, and the seconds between two of those; how often all else is looked at."""
_TURNS = 3
"""Each way is measured as often, in turn, so that a slow minute of the machine falls on both."""
_LONGEST_S, _RECEIPTS_S = 1800.0, 60.0
_TEXT = "I walked {} steps to the shop and back, my knee is a bit stiff today"
"""Each message's is its own, so that the rules read every one of them."""
_CONSENT = "YES"
"""What a patient answers to a campaign's first message; each begins a check-in."""
_progress = Console(stderr=True)


class IngestBench(BaseModel):
    """Webhooks a second of our service and of the bare route; how many a second the rules have read when the last of such a burst is read; one webhook's
    milliseconds while a campaign goes out."""

    database: str
    webhooks: int
    ours_per_s: float
    bare_per_s: float
    ratio: float
    read_per_s: float
    contacts: int
    during_campaign: int
    p50_ms: float
    p99_ms: float


def measure(webhooks: int, contacts: int) -> IngestBench:
    """One webhook at a time while `contacts` are written to; then both ways in turn, with the workers at rest so that the web process alone is timed."""
    port, ours_s, bare_s, read_s = settings().web_port, 0.0, 0.0, 0.0
    each = max(_CONNECTIONS, webhooks // _TURNS)
    cohort = max(contacts, _TURNS * each)
    _progress.print(f"enrolling {cohort} patients")
    enroll_cohort(cohort)
    _progress.print("writing to them while they write")
    cuts = quantiles(times := asyncio.run(_during_campaign(port, cohort)), n=100, method="inclusive")
    _progress.print(f"{len(times)} webhooks meanwhile; now as many as are taken")
    _hold_workers()
    with _bare_server() as bare_port:
        for turn in range(_TURNS):
            before, began = _stored(), time.monotonic()
            ours_s += asyncio.run(
                post_all(port, [_request(port, sender, _TEXT.format(sender)) for sender in range(turn * each, (turn + 1) * each)], _CONNECTIONS)
            )
            if _stored() - before != each:
                raise RuntimeError(f"{each} webhooks were answered, {_stored() - before} messages stored")
            while _unread():
                if time.monotonic() - began > _LONGEST_S:
                    raise TimeoutError(f"messages are stored and not accepted after {_LONGEST_S:g} s")
                time.sleep(_PAUSE_S)
            read_s += time.monotonic() - began
            bare_s += asyncio.run(post_all(bare_port, [_request(bare_port, sender, _TEXT.format(sender)) for sender in range(each)], _CONNECTIONS))
    ours, bare = _TURNS * each / ours_s, _TURNS * each / bare_s
    return IngestBench(
        database=settings().database.partition(":")[0],
        webhooks=_TURNS * each,
        ours_per_s=round(ours, 1),
        bare_per_s=round(bare, 1),
        ratio=round(ours / bare, 2),
        read_per_s=round(_TURNS * each / read_s, 1),
        contacts=cohort,
        during_campaign=len(times),
        p50_ms=round(cuts[49] * 1000, 1),
        p99_ms=round(cuts[98] * 1000, 1),
    )


async def _during_campaign(port: int, cohort: int) -> list[float]:
    """The seconds that each webhook took until the campaign's last message was handed to Twilio. Patients agree, one after the other."""
    seconds: list[float] = []
    senders = itertools.cycle(range(cohort))
    began = time.monotonic()
    await asyncio.to_thread(start_outreach)
    while await asyncio.to_thread(_going_out):
        if time.monotonic() - began > _LONGEST_S:
            raise TimeoutError(f"the campaign is not out after {_LONGEST_S:g} s")
        seconds += await post_each(port, [_request(port, each, _CONSENT) for each in itertools.islice(senders, _AT_ONCE)], _BETWEEN_S)
    return seconds


def _going_out() -> bool:
    """Whether a contact is still due or its words unsent."""
    with transaction() as session:
        due = exists().where(Contact.next_at <= service_clock().now(), Contact.state == ContactState.PLANNED)
        unsent = exists().where(
            Outbound.state.in_((OutboundState.PENDING, OutboundState.SENDING)), Inbound.id == Outbound.inbound_id, Inbound.trigger.is_not(None)
        )
        return bool(session.scalar(select(or_(due, unsent))))


def _request(port: int, sender: int, words: str) -> bytes:
    """A webhook as Twilio posts it, of its own MessageSid."""
    sid, token = account_of(settings())
    fields = {
        "MessageSid": f"SM{uuid4().hex}",
        "AccountSid": sid,
        "From": phone(sender),
        "To": settings().our_numbers[0],
        "Body": words,
        "NumMedia": "0",
    }
    body = urlencode(fields).encode()
    signature = RequestValidator(token).compute_signature(settings().public + bare_route.PATH, fields)
    head = (
        f"POST {bare_route.PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Twilio-Signature: {signature}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _hold_workers() -> None:
    """Lets the workers end what they are at and take nothing more: on two cores they would be what is measured."""
    for queue in _QUEUES:
        workers.control.cancel_consumer(queue, reply=True)
    while any((workers.control.inspect().active() or {}).values()):
        time.sleep(_PAUSE_S)
    ends = time.monotonic() + _RECEIPTS_S
    while _receipts_come() and time.monotonic() < ends:
        time.sleep(_PAUSE_S)


@contextmanager
def _bare_server() -> Iterator[int]:
    """The bare route on a port of its own, served as the web process is."""
    port = settings().web_port + 1000 if settings().web_port < 64000 else settings().web_port - 1000
    command = [sys.executable, "-m", "uvicorn", "aftercare.bench.bare_route:create_app", "--factory"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(settings().web_processes), "--no-access-log", "--log-level", "warning"]
    process = subprocess.Popen(command, cwd=ROOT)  # noqa: S603
    try:
        for _ in range(200):
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _receipts_come() -> bool:
    """Whether the campaign's delivery receipts are still on their way to the web process."""
    with transaction() as session:
        return bool(session.scalar(select(exists().where(Outbound.state.in_((OutboundState.ACCEPTED, OutboundState.SENT))))))


def _stored() -> int:
    with transaction() as session:
        return session.scalar(select(func.count()).select_from(Inbound)) or 0


def _unread() -> bool:
    with transaction() as session:
        return bool(session.scalar(select(exists().where(Inbound.state == InboundState.STORED))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="aftercare.bench.ingest")
    parser.add_argument("--webhooks", type=int, required=True)
    parser.add_argument("--contacts", type=int, required=True)
    given = parser.parse_args()
    print(measure(given.webhooks, given.contacts).model_dump_json(indent=1))
