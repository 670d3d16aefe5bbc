"""Runs the campaign of a simulation on the service of this environment, and writes its report."""

from __future__ import annotations

import argparse
import heapq
import itertools
import signal
import sqlite3
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, datetime, timedelta
from pathlib import Path

import httpx
import psutil
from rich.console import Console
from rich.progress import Progress
from sqlalchemy import exists, select

from aftercare.commands.up import running_state
from aftercare.simulate.account import Outage, account
from aftercare.simulate.phones import Behaviour, Phone, phones
from aftercare.simulate.report import write_report
from care.campaigns.service import campaign_named, create_campaign, enroll
from care.clock import service_clock
from care.patients.model import NewPatient
from care.settings import settings
from care.storage.engine import reading, transaction
from care.storage.tables import Inbound, InboundState

_PLACES = [
    ("America/New_York", "NY"),
    ("America/Chicago", "TX"),
    ("America/Denver", "CO"),
    ("America/Los_Angeles", "CA"),
    ("America/New_York", "RI"),
    ("Pacific/Honolulu", "HI"),
    ("Pacific/Guam", "GU"),
    ("Asia/Shanghai", None),
    ("Europe/Madrid", None),
]
_CAMPAIGN = "simulation"
_LOOK_S = 0.2
_PATIENCE_S = 600.0
"""How long a phone waits for the emulator on a busy machine: an answer posted a second time would be said twice."""
_SETTLES_S, _LONGEST_SETTLING_S = 20.0, 900.0
_ENROLLED_AT_ONCE = 500
_OUTAGE_HOURS = 4
_TWILIO_OUT_DAY, _WORKERS_OUT_DAY = 0.3, 0.6
"""When each outage begins, as a share of the simulation."""
_WORKERS = ("worker", "sender", "beat")
_progress = Console(stderr=True)


def simulate(patients: int, days: int, protocol: str, spread_minutes: int, discharged_over: int, seed: int, out: Path) -> None:
    """Enrolls the patients, lets their phones answer for so many days, then judges every message."""
    owned = phones(patients, seed)
    began = service_clock().now()
    with transaction() as session:
        create_campaign(session, _CAMPAIGN, protocol, began, spread_minutes=spread_minutes)
    ends = began + timedelta(days=days)
    outages = [
        Outage("Twilio", began + (ends - began) * _TWILIO_OUT_DAY, began + (ends - began) * _TWILIO_OUT_DAY + timedelta(hours=_OUTAGE_HOURS)),
        Outage("workers", began + (ends - began) * _WORKERS_OUT_DAY, began + (ends - began) * _WORKERS_OUT_DAY + timedelta(hours=_OUTAGE_HOURS)),
    ]
    with httpx.Client(base_url=f"http://127.0.0.1:{settings().emulator_port}", timeout=_PATIENCE_S) as emulator, ThreadPoolExecutor(1) as other:
        enrolling = other.submit(_enroll_all, list(owned), discharged_over)
        replies = _Town(owned, emulator).live_until(ends, outages, enrolling)
        enrolling.result()
    judged = account(owned, replies, began, ends)
    write_report(judged, outages, out)
    _progress.print(f"{out / 'report.html'} and report.json are written")
    print(judged.model_dump_json(indent=1, exclude={"days"}))
    if judged.wrong:
        raise SystemExit(1)


def _enroll_all(numbers: list[str], discharged_over: int) -> None:
    placed = list(enumerate(numbers))
    for first in range(0, len(placed), _ENROLLED_AT_ONCE):
        _enroll(placed[first : first + _ENROLLED_AT_ONCE], discharged_over)


def _enroll(placed: list[tuple[int, str]], discharged_over: int) -> None:
    with transaction() as session:
        campaign, now = campaign_named(session, _CAMPAIGN), service_clock().now()
        for place, number in placed:
            zone, state = _PLACES[place % len(_PLACES)]
            new = NewPatient(
                reference=f"sim-{place}",
                name="Pat Simulated",
                phone=number,
                date_of_birth=date(1955, 1, 1),
                timezone=zone,
                state=state,
                anchor=now.date() - timedelta(days=place % (discharged_over + 1)),
            )
            enroll(session, campaign, new, now)


class _Town:
    """All the phones: what they hear, and what they are about to send."""

    def __init__(self, owned: dict[str, Phone], emulator: httpx.Client) -> None:
        self._owned, self._emulator = owned, emulator
        self._seen = 0
        self._order = itertools.count()
        self._waiting: list[tuple[float, int, str, str]] = []
        self._sent: list[tuple[str, str]] = []

    def live_until(self, ends: datetime, outages: list[Outage], enrolling: Future[None]) -> list[tuple[str, str]]:
        """Every reply that was sent, as (number, words). The first patients already answer while the last are enrolled."""
        self._switch_off_the_dead()
        began = service_clock().now()
        pending, away = list(outages), list[Outage]()
        with Progress(console=_progress) as bar:
            task = bar.add_task("days", total=(ends - began).total_seconds())
            while (now := service_clock().now()) < ends:
                if enrolling.done():
                    enrolling.result()
                self._hear()
                self._speak()
                for outage in [each for each in pending if each.begins <= now]:
                    pending.remove(outage)
                    away.append(outage)
                    self._break(outage)
                for outage in [each for each in away if each.ends <= now]:
                    away.remove(outage)
                    self._mend(outage)
                bar.update(task, completed=(now - began).total_seconds(), description=f"{now:%b %d}")
                time.sleep(_LOOK_S)
        for outage in away:
            self._mend(outage)
        begun, longest = time.monotonic() + _SETTLES_S, time.monotonic() + _LONGEST_SETTLING_S
        while time.monotonic() < begun or (_turns_wait() and time.monotonic() < longest):  # nobody answers any more, but what was said is still heard
            self._speak()
            time.sleep(_LOOK_S)
        return self._sent

    def _hear(self) -> None:
        with sqlite3.connect(f"file:{settings().data_dir / 'emulator.db'}?mode=ro", uri=True) as ledger:
            rows = ledger.execute(
                "SELECT seq, recipient, body FROM messages WHERE seq > ? AND direction LIKE 'outbound%' ORDER BY seq", (self._seen,)
            ).fetchall()
        for seq, number, body in rows:
            self._seen = seq
            reply = self._owned[number].hears(body)
            if reply is not None:
                at = time.monotonic() + reply.after_minutes * 60 / settings().clock_speed
                heapq.heappush(self._waiting, (at, next(self._order), number, reply.body))

    def _speak(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            _, _, number, body = heapq.heappop(self._waiting)
            self._emulator.post(f"/phones/{number}/messages", json={"body": body}).raise_for_status()
            self._sent.append((number, body))

    def _switch_off_the_dead(self) -> None:
        for phone in self._owned.values():
            if phone.behaviour is Behaviour.DEAD:
                self._emulator.post("/faults", json={"kind": "30005", "count": 100_000, "to": phone.number}).raise_for_status()

    def _break(self, outage: Outage) -> None:
        if outage.what == "Twilio":
            self._emulator.post("/faults", json={"kind": "5xx", "count": 100_000}).raise_for_status()
        else:
            _signal_workers(signal.SIGSTOP)

    def _mend(self, outage: Outage) -> None:
        if outage.what == "Twilio":
            self._emulator.delete("/faults").raise_for_status()
            self._switch_off_the_dead()
        else:
            _signal_workers(signal.SIGCONT)


def _turns_wait() -> bool:
    with reading() as session:
        return bool(session.scalar(select(exists().where(Inbound.state.in_((InboundState.STORED, InboundState.ACCEPTED)), Inbound.trigger.is_(None)))))


def _signal_workers(number: signal.Signals) -> None:
    state = running_state()
    if state is None:
        raise RuntimeError("the service to simulate is gone")
    parents = [psutil.Process(each["pid"]) for each in state["processes"] if each["name"] in _WORKERS]
    for process in [each for parent in parents for each in (parent, *parent.children(recursive=True))]:
        process.send_signal(number)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="aftercare.simulate.run")
    parser.add_argument("--patients", type=int, required=True)
    parser.add_argument("--days", type=int, required=True)
    parser.add_argument("--protocol", required=True)
    parser.add_argument("--spread-minutes", type=int, required=True)
    parser.add_argument("--discharged-over", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    simulate(given.patients, given.days, given.protocol, given.spread_minutes, given.discharged_over, given.seed, given.out)
