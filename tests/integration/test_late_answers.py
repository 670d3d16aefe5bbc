"""What an outage kept back until the night waits for the morning, unless the patient writes; warnings do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from care.clock import ManualClock
from care.messages.gateway import SmsRefused
from care.messages.outbox import OutboundText, write
from care.messages.sending import Sender
from care.storage.engine import transaction
from care.storage.tables import (
    Channel,
    Outbound,
    OutboundState,
)
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, rows, runner, text_in

pytestmark = pytest.mark.usefixtures("database")


EVENING, NIGHT = NOON.replace(hour=23, minute=30), NOON.replace(hour=7) + timedelta(days=1)
"""Of a patient in New York: half past six, and two in the morning."""


def answered_in_the_evening(clock: ManualClock) -> str:
    """A patient who wrote in the evening, and whose answer an outage keeps back."""
    clock.moment = EVENING
    patient = add_patient()
    text_in(patient, "hello", 1, at=EVENING)
    runner(Echo(), clock).run(patient)
    return patient


def test_an_answer_that_an_outage_kept_back_until_the_night_waits_for_the_morning(clock: ManualClock) -> None:
    patient, phone = answered_in_the_evening(clock), Phone()
    clock.moment = NIGHT
    Sender(phone, clock).run(patient)
    (row,) = rows(Outbound)
    assert row.state is OutboundState.PENDING
    assert row.next_at is not None
    assert timedelta(hours=6, minutes=59) < row.next_at - datetime.now(UTC) <= timedelta(hours=7)
    with transaction() as session:
        session.execute(update(Outbound).values(next_at=datetime.now(UTC)))
    clock.advance(timedelta(hours=7))
    assert Sender(phone, clock).run(patient) == 1


def test_so_does_the_answer_of_a_turn_that_waited_until_the_night(clock: ManualClock) -> None:
    clock.moment = EVENING
    patient = add_patient()
    text_in(patient, "hello", 1, at=EVENING)
    clock.moment = NIGHT
    runner(Echo(), clock).run(patient)
    assert Sender(Phone(), clock).run(patient) == 0


def test_a_patient_who_writes_at_night_gets_what_was_kept_back_and_then_the_answer(clock: ManualClock) -> None:
    patient, phone = answered_in_the_evening(clock), Phone()
    clock.moment = NIGHT
    Sender(phone, clock).run(patient)
    text_in(patient, "are you there?", 2, at=NIGHT)
    runner(Echo(), clock).run(patient)
    assert Sender(phone, clock).run(patient) == 2
    assert [sms.body for sms in phone.held] == [row.body for row in rows(Outbound)]


def test_a_warning_does_not_wait_for_the_morning(clock: ManualClock) -> None:
    patient = answered_in_the_evening(clock)
    with transaction() as session:
        write(session, patient, Channel.SMS, [OutboundText("Call 911 now.", safety=True)], EVENING)
    clock.moment = NIGHT
    assert Sender(Phone(), clock).run(patient) == 1


def test_a_fresh_answer_that_is_refused_at_night_waits_before_the_next_try(clock: ManualClock) -> None:
    clock.moment = NIGHT
    patient, refused = add_patient(), SmsRefused(20429)
    text_in(patient, "hello", 1, at=NIGHT)
    runner(Echo(), clock).run(patient)
    phone = Phone(answer=lambda _body: refused)
    Sender(phone, clock).run(patient)
    assert len(phone.references) == 1
    assert rows(Outbound)[0].state is OutboundState.PENDING
