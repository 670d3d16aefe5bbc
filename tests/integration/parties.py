"""The other sides of the pipeline in tests: a dialogue that repeats what it hears, Twilio's side of the SMS port, patients who write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import select, update

from care.campaigns.schedule import tick
from care.clock import ManualClock
from care.messages.acceptance import Accepted, accept
from care.messages.gateway import SentSms, SmsUnanswered
from care.messages.inbox import Incoming
from care.patients.model import NewPatient
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import (
    Breaker,
    Channel,
    Contact,
    ContactState,
    Outbound,
)
from care.turns.dialogue import DialogueFailed, DialogueRequest, DialogueResponse, Reply
from care.turns.service import TurnRunner
from tests.conftest import NOON


@dataclass
class Echo:
    """A dialogue that repeats what it hears, and counts."""

    heard: list[str] = field(default_factory=list)
    fail: Callable[[DialogueRequest], str | None] = lambda _request: None
    reached: bool = True

    def turn(self, request: DialogueRequest, state: Any, deadline_s: float) -> DialogueResponse:
        if reason := self.fail(request):
            raise DialogueFailed(reason, reached=self.reached)
        self.heard.append(request.text or f"<{request.trigger}>")
        return DialogueResponse(replies=[Reply(text=f"you said {self.heard[-1]}")], effects=[], state={}, state_version=request.state_version + 1)


@dataclass
class Phone:
    """Twilio's side of the SMS port."""

    held: list[SentSms] = field(default_factory=list)
    answer: Callable[[str], Exception | None] = lambda _body: None
    keep_when_silent: bool = True
    numbers: list[str] = field(default_factory=lambda: ["+15550100000"])
    senders: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)

    def send(self, to: str, body: str, reference: str, sender: str) -> str:
        self.senders.append(sender)
        self.references.append(reference)
        error = self.answer(body)
        sms = SentSms(f"SM{uuid4().hex}", body)
        if error is None or (isinstance(error, SmsUnanswered) and self.keep_when_silent):
            self.held.append(sms)
        if error:
            raise error
        return sms.external_id

    def listed(self, to: str) -> list[SentSms]:
        return self.held


def text_in(patient: str, body: str, number: int = 1, channel: Channel = Channel.SMS, at: datetime = NOON) -> Accepted | None:
    with transaction() as session:
        return accept(session, Incoming(channel, f"SM{number}", body, at, patient_id=patient))


def runner(dialogue: Echo, clock: ManualClock) -> TurnRunner:
    return TurnRunner(dialogue, clock, settings())


def rows(kind: type[Any]) -> list[Any]:
    with transaction() as session:
        return list(session.scalars(select(kind).order_by(*kind.__table__.primary_key)))


def make_due() -> None:
    """As if the pauses before further tries were over."""
    with transaction() as session:
        session.execute(update(Outbound).values(next_at=None))
        session.execute(update(Breaker).values(retry_at=NOON))


def planned() -> list[Contact]:
    """The contacts that are still to come, the next first."""
    return sorted((row for row in rows(Contact) if row.state is ContactState.PLANNED), key=lambda row: row.due_at)


def new_patient(number: int, **given: object) -> NewPatient:
    """Somebody who is not enrolled yet."""
    return NewPatient.model_validate(
        {
            "reference": f"ref-{number}",
            "name": f"Pat{number} Example",
            "phone": f"+1555010{number:04d}",
            "date_of_birth": "1950-01-01",
            "anchor": "2026-03-01",
            **given,
        }
    )


def run_ticks(clock: ManualClock, days: float, every: timedelta = timedelta(minutes=30)) -> None:
    """The campaigns' clockwork for so many days."""
    end = clock.now() + timedelta(days=days)
    while clock.now() < end:
        with transaction() as session:
            tick(session, clock.now())
        clock.advance(every)


def one_reply(patient: str, clock: ManualClock, number: int = 1) -> Outbound:
    """The row of an answer that waits to be sent."""
    text_in(patient, f"hello {number}", number)
    runner(Echo(), clock).run(patient)
    return rows(Outbound)[-1]
