"""The other sides of the pipeline in tests: a dialogue that repeats what it hears, Twilio's side of the SMS port, patients who write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select, update

from care.clock import ManualClock
from care.messages.acceptance import Accepted, accept
from care.messages.inbox import Incoming
from care.messages.sending import SentSms, SmsUnanswered
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import (
    Breaker,
    Channel,
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
        if error is None or (isinstance(error, SmsUnanswered) and self.keep_when_silent):
            self.held.append(SentSms(f"SM{len(self.held):032d}", body))
        if error:
            raise error
        return self.held[-1].external_id

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
