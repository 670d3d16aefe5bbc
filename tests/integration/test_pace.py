"""How fast a number sends: no faster than Twilio passes on, and nothing that matters waits for outreach."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import update

from care.clock import ManualClock
from care.messages.handing_over import SendPolicy
from care.messages.sending import Sender
from care.storage.engine import transaction
from care.storage.tables import (
    Heartbeat,
    Outbound,
)
from tests.conftest import add_patient
from tests.integration.parties import Phone, make_due, one_reply, rows, text_in

pytestmark = pytest.mark.usefixtures("database")


def _paced(phone: Phone, clock: ManualClock) -> Sender:
    return Sender(phone, clock, SendPolicy(segments_per_second=2.0))


def _the_numbers_have_sent() -> None:
    """As if what has left were sent by Twilio."""
    with transaction() as session:
        session.execute(update(Heartbeat).values(at=datetime.now(UTC)))
    make_due()


def test_a_number_sends_no_faster_than_twilio_passes_on(clock: ManualClock) -> None:
    patients = [add_patient(number) for number in range(30)]
    for number, patient in enumerate(patients):
        one_reply(patient, clock, number)
    phone, sent = Phone(), [0]
    for _ in range(10):
        _paced(phone, clock).run_each(patients)
        sent.append(len(phone.held))
        _the_numbers_have_sent()
    assert sent[-1] == 30
    assert all(0 < later - earlier <= 11 for earlier, later in pairwise(sent) if earlier < 30)  # 4.5 seconds' worth, and what the clock gained meanwhile
    assert {row.attempts for row in rows(Outbound)} == {1}


def test_a_warning_and_an_answer_do_not_wait_for_outreach(clock: ManualClock) -> None:
    patients = [add_patient(number) for number in range(30)]
    for number, patient in enumerate(patients):
        one_reply(patient, clock, number)
    with transaction() as session:
        session.execute(update(Outbound).values(not_after=clock.now() + timedelta(hours=2)))
    phone = Phone()
    _paced(phone, clock).run_each(patients)
    first = list(phone.held)
    assert len(first) < 10
    one_reply(answered := add_patient(40), clock, 40)
    text_in(warned := add_patient(41), "crushing chest pain", 41)
    _paced(phone, clock).run_each([answered, *patients[10:], warned])
    later = [sms.body for sms in phone.held[len(first) :]]
    assert any("911" in body for body in later)
    assert "you said hello 40" in later
    assert len(later) < 6


def test_each_number_has_its_own_pace(clock: ManualClock) -> None:
    patients = [add_patient(number) for number in range(30)]
    for number, patient in enumerate(patients):
        one_reply(patient, clock, number)
    phone = Phone(numbers=["+15550100000", "+15550100001"])
    _paced(phone, clock).run_each(patients)
    assert {phone.senders.count(number) for number in phone.numbers} <= {9, 10, 11}
