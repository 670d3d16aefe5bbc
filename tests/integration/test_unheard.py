"""What Twilio leaves unsaid: a message that its list shows late, a warning whose receipt never comes. The emulator plays it to the real client."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import uvicorn
from sqlalchemy import update

from care.acuity import Acuity
from care.clock import ManualClock
from care.messages.gateway import SmsUnanswered
from care.messages.handing_over import SendPolicy
from care.messages.outbox import OutboundText, write
from care.messages.poller import ask_for_receipts
from care.messages.receipts import WARNING_LATE, Told, take_receipt, tell_of_unconfirmed
from care.messages.sending import Sender
from care.messages.twilio_client import account_of, twilio_client
from care.messages.twilio_gateway import TwilioGateway
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Channel, Escalation, EscalationState, Outbound, OutboundState, Patient
from emulator.app import Account, create_app
from emulator.store import Ledger
from tests.conftest import NOON, add_patient
from tests.integration.parties import Phone, make_due, rows, text_in

pytestmark = pytest.mark.usefixtures("database")
_MINUTE = timedelta(minutes=1)


@dataclass
class Twilio:
    """A running emulator to which nobody listens for receipts."""

    ledger: Ledger
    url: str
    gateway: TwilioGateway

    def fail(self, kind: str, seconds: float = 5.0) -> None:
        httpx.post(f"{self.url}/faults", json={"kind": kind, "seconds": seconds}).raise_for_status()


@pytest.fixture
def twilio(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Twilio]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AFTERCARE_EMULATOR_PORT", str(port))
    settings.cache_clear()
    current, ledger = settings(), Ledger(tmp_path / "emulator.db")
    account = Account(*account_of(current), current.our_numbers, "http://127.0.0.1:1/sms/inbound")
    server = uvicorn.Server(uvicorn.Config(create_app(account, ledger), port=port, log_level="critical"))
    running = threading.Thread(target=server.run)
    running.start()
    while not server.started:
        time.sleep(0.02)
    yield Twilio(ledger, f"http://127.0.0.1:{port}", TwilioGateway(twilio_client(current), current))
    server.should_exit = True
    running.join(20)


def _written(clock: ManualClock) -> str:
    patient = add_patient()
    with transaction() as session:
        write(session, patient, Channel.SMS, [OutboundText("hello")], clock.now())
    return patient


def test_a_message_that_twilios_list_shows_late_is_not_sent_twice(clock: ManualClock, twilio: Twilio) -> None:
    patient = _written(clock)
    twilio.fail("accepted_no_answer")
    twilio.fail("list_late", seconds=600)
    sender = Sender(twilio.gateway, clock, SendPolicy(retry=timedelta(0)))
    for _ in range(3):
        sender.run(patient)
        make_due()
    taken = twilio.ledger.find(rows(Patient)[0].phone)
    assert len(taken) == 1
    assert twilio.gateway.listed(rows(Patient)[0].phone) == []
    assert rows(Outbound)[0].state is OutboundState.UNKNOWN
    httpx.delete(f"{twilio.url}/faults").raise_for_status()
    sender.run(patient)
    assert (rows(Outbound)[0].state, rows(Outbound)[0].external_id) == (OutboundState.ACCEPTED, taken[0].sid)
    assert len(twilio.ledger.find(rows(Patient)[0].phone)) == 1


def test_a_message_that_never_comes_into_twilios_list_is_sent_once_the_doubt_is_over(clock: ManualClock, twilio: Twilio) -> None:
    patient = _written(clock)
    twilio.fail("5xx")
    doubt = timedelta(seconds=2)
    sender = Sender(twilio.gateway, clock, SendPolicy(doubt=doubt, retry=timedelta(0)))
    sender.run(patient)
    make_due()
    sender.run(patient)
    assert rows(Outbound)[0].state is OutboundState.UNKNOWN
    assert twilio.ledger.find(rows(Patient)[0].phone) == []
    time.sleep(doubt.total_seconds())
    make_due()
    sender.run(patient)
    assert [sms.body for sms in twilio.ledger.find(rows(Patient)[0].phone)] == ["hello"]
    assert rows(Outbound)[0].state is OutboundState.ACCEPTED


def _warned(clock: ManualClock) -> Phone:
    """The phone of a patient who was warned; Twilio took the warning."""
    phone = Phone()
    text_in(patient := add_patient(), "crushing chest pain")
    Sender(phone, clock).run(patient)
    assert rows(Outbound)[0].state is OutboundState.ACCEPTED
    return phone


@dataclass
class _Asked:
    """Twilio's side, where it is asked what became of a message: with no `status` it is away."""

    status_now: str = "sent"
    sids: list[str] = field(default_factory=list)

    def status(self, sid: str) -> tuple[str, int | None]:
        self.sids.append(sid)
        if not self.status_now:
            raise SmsUnanswered
        return self.status_now, None


def _ask(after: timedelta, twilio: _Asked | None = None) -> int:
    return ask_for_receipts(twilio or _Asked(), ManualClock(NOON + after))  # type: ignore[arg-type]


def _told(after: timedelta) -> list[tuple[str, Acuity]]:
    """What a person is told after so long, besides the red flag itself."""
    with transaction() as session:
        tell_of_unconfirmed(session, NOON + after)
    return [(row.reason, row.acuity) for row in rows(Escalation) if row.reason != "red_flag"]


@pytest.mark.parametrize("status", ["", "sent"])
def test_a_warning_of_which_nothing_more_is_heard_has_a_person_phone_once(clock: ManualClock, status: str) -> None:
    phone = _warned(clock)
    if status:
        with transaction() as session:
            assert take_receipt(session, Told(phone.references[0], phone.held[0].external_id, status), NOON)
    assert _ask(WARNING_LATE - timedelta(seconds=1)) == 0
    assert _told(WARNING_LATE - timedelta(seconds=1)) == []
    assert _ask(WARNING_LATE) == 0
    assert _told(WARNING_LATE) == [("not_sent", Acuity.URGENT)]
    assert _told(WARNING_LATE + 30 * _MINUTE) == [("not_sent", Acuity.URGENT)]
    assert "Phone the patient" in rows(Escalation)[-1].summary


def test_a_warning_that_arrived_and_a_message_that_is_none_call_nobody(clock: ManualClock) -> None:
    phone, other = _warned(clock), add_patient(2)
    with transaction() as session:
        assert take_receipt(session, Told(phone.references[0], phone.held[0].external_id, "delivered"), NOON)
        write(session, other, Channel.SMS, [OutboundText("hello")], NOON)
    Sender(phone, clock).run(other)
    _ask(60 * _MINUTE)
    assert _told(60 * _MINUTE) == []


def test_a_warnings_receipt_is_asked_for_before_a_person_is_told(clock: ManualClock) -> None:
    phone, asked = _warned(clock), _Asked("delivered")
    assert _told(WARNING_LATE) == [], "not asked yet"
    assert _ask(WARNING_LATE, asked) == 1
    assert asked.sids == [phone.held[0].external_id]
    assert _told(WARNING_LATE) == []


def test_of_a_warning_that_twilio_could_not_be_asked_about_a_person_is_told(clock: ManualClock) -> None:
    _warned(clock)
    assert _ask(WARNING_LATE, _Asked("")) == 0
    assert _told(WARNING_LATE) == [("not_sent", Acuity.URGENT)]


def test_of_a_warning_that_was_tried_again_nobody_is_told_before_twilio_was_asked(clock: ManualClock) -> None:
    _warned(clock)
    with transaction() as session:
        session.execute(update(Outbound).values(next_at=datetime.now(UTC) - _MINUTE))
    assert _told(WARNING_LATE) == []


@pytest.mark.parametrize("why", ["safe_reply", "closed"])
def test_what_a_person_hears_of_anyway_or_has_closed_calls_nobody(clock: ManualClock, why: str) -> None:
    _warned(clock)
    with transaction() as session:
        if why == "closed":
            session.execute(update(Escalation).values(state=EscalationState.RESOLVED, resolved_at=NOON + _MINUTE))
        else:
            session.execute(update(Outbound).values(key=why))
    _ask(WARNING_LATE)
    assert _told(WARNING_LATE) == []


def test_the_minutes_of_a_late_warning_are_real_ones(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    _warned(clock)
    monkeypatch.setenv("AFTERCARE_CLOCK_SPEED", "1000")
    settings.cache_clear()
    asked = _Asked()
    _ask(WARNING_LATE * 999, asked)
    assert asked.sids == []
    _ask(WARNING_LATE * 1000, asked)
    assert len(asked.sids) == 1
    assert _told(WARNING_LATE * 999) == []
    assert _told(WARNING_LATE * 1000) == [("not_sent", Acuity.URGENT)]
