"""Delivery receipts in every order, and every code of Twilio's in the way it comes: refused at once, or told later by receipt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, permutations

import pytest
from sqlalchemy import update

from care.acuity import Acuity
from care.clock import ManualClock
from care.messages.gateway import SmsRefused
from care.messages.outbox import SEGMENTS_A_MESSAGE, OutboundText, write
from care.messages.receipts import Told, take_receipt, take_usual_receipts
from care.messages.sending import Sender
from care.messages.sms_text import segments
from care.patients.consent import consent_status
from care.storage.engine import transaction
from care.storage.tables import Breaker, Channel, Escalation, Outbound, OutboundState, Patient
from tests.conftest import NOON, add_patient
from tests.integration.parties import Phone, make_due, rows

pytestmark = pytest.mark.usefixtures("database")
_MINUTES, _HOURS = timedelta(minutes=1), timedelta(hours=1)


def _sent(clock: ManualClock, number: int = 1, *, safety: bool = False, refusal: int | None = None) -> str:
    """A message that Twilio took, or refused; the patient."""
    patient = add_patient(number)
    with transaction() as session:
        write(session, patient, Channel.SMS, [OutboundText("hello", safety=safety)], NOON)
    Sender(Phone(answer=lambda _body: SmsRefused(refusal) if refusal else None), clock).run(patient)
    return patient


def _told(status: str, code: int | None = None) -> None:
    """A receipt, as the web process takes it: with others, else by itself."""
    row = rows(Outbound)[-1]
    told = Told(row.reference, row.external_id, status, code)
    with transaction() as session:
        if not take_usual_receipts(session, [told])[0]:
            assert take_receipt(session, told, NOON)


def _orders(final: str) -> list[tuple[str, ...]]:
    """Every order of the statuses, and of those that are left where some before the final one are lost."""
    kept = [("queued", "sending", "sent", final), ("queued", "sent", final), ("sending", final), (final,)]
    return list(chain.from_iterable(permutations(each) for each in kept))


ALL_FIVE = ("accepted", "queued", "sending", "sent")


@pytest.mark.parametrize("final", ["delivered", "undelivered"])
@pytest.mark.parametrize("five", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_receipts_in_every_order_lost_and_repeated_end_where_the_message_ended(clock: ManualClock, five: bool, final: str) -> None:
    _sent(clock)
    for order in permutations((*ALL_FIVE, final)) if five else _orders(final):
        with transaction() as session:
            session.execute(update(Outbound).values(state=OutboundState.ACCEPTED, error_code=None, attempts=1, next_at=None))
        reached = 0
        for status in [each for each in order for _ in range(2)]:
            _told(status, 30004 if status == "undelivered" else None)
            rank = ["accepted", "sent", "delivered", "undelivered"].index(rows(Outbound)[0].state)
            assert rank >= min(reached, 2), order
            reached = rank
        assert rows(Outbound)[0].state == final, order


@dataclass(frozen=True)
class Code:
    """What is done about a code: how long until the first further try, whether the number is marked, an opt-out kept, the queue held."""

    code: int
    again: timedelta | None = None
    marked: bool = False
    opted_out: bool = False
    held: bool = False


# Each class of Twilio's error codes; 5xx and no answer are in test_pipeline.
TABLE = [
    Code(20429, again=timedelta(seconds=2)),
    Code(21211, marked=True),
    Code(21610, opted_out=True),
    Code(21611, again=1 * _MINUTES),
    Code(30001, again=1 * _MINUTES),
    Code(21617),
    Code(30003, again=15 * _MINUTES),
    Code(30004),
    Code(30005, marked=True),
    Code(30006, marked=True),
    Code(30007),
    Code(30008, again=1 * _MINUTES),
    Code(30034, held=True),
    Code(30610, again=1 * _HOURS),
    Code(30640, opted_out=True),
    Code(63038, held=True),
    Code(20003, held=True),
    Code(31999, again=1 * _MINUTES),  # one that nobody knows
]


@pytest.mark.parametrize(("by_receipt", "safety"), [(False, False), (False, True), (True, False), (True, True)])
def test_every_code_is_acted_on_as_the_table_says(clock: ManualClock, by_receipt: bool, safety: bool) -> None:
    for number, row in enumerate(TABLE):
        patient = _sent(clock, number, safety=safety, refusal=None if by_receipt else row.code)
        if by_receipt:
            _told("undelivered", row.code)
        message, waits = rows(Outbound)[-1], row.again is not None or row.held
        assert message.state == ("pending" if waits else "undelivered" if by_receipt else "failed"), row
        if row.again is not None:
            pause = message.next_at - datetime.now(UTC)
            assert row.again * 0.9 - timedelta(seconds=5) < pause <= row.again * 1.3, row
        with transaction() as session:
            assert bool(session.get_one(Patient, patient).number_problem) == row.marked, row
            assert (consent_status(session, patient) == "revoked") == row.opted_out, row
            assert bool(session.query(Breaker).delete()) == row.held, row
        told = [each.acuity for each in rows(Escalation) if each.patient_id == patient]
        soon = row.code == 20429 and not by_receipt  # a try in two seconds is no reason to phone
        if waits and (soon or not safety):
            assert told == [], row
        else:
            assert told == [Acuity.URGENT if safety else Acuity.ROUTINE], row


def test_no_text_is_too_long_for_twilio(clock: ManualClock) -> None:
    patient = add_patient()
    with transaction() as session:
        for letter in ("a", "é", "疼", "😀"):
            write(session, patient, Channel.SMS, [OutboundText(f"{letter * 7} " * 400, safety=True)], NOON)
    assert all(segments(row.body).segments <= SEGMENTS_A_MESSAGE and len(row.body) <= 1600 for row in rows(Outbound))


@pytest.mark.parametrize("arrives", [True, False])
def test_a_provider_that_refuses_by_receipt_is_trusted_again_only_when_a_probe_was_not_refused(clock: ManualClock, arrives: bool) -> None:
    _sent(clock, 1)
    _told("undelivered", 30034)
    people = [add_patient(number) for number in (2, 3)]
    for patient in people:
        with transaction() as session:
            write(session, patient, Channel.SMS, [OutboundText("hello")], NOON)
    phone = Phone()

    def a_minute_later() -> None:
        make_due()
        for patient in people:
            Sender(phone, clock).run(patient)

    a_minute_later()
    a_minute_later() if arrives else None
    assert len(phone.held) == (2 if arrives else 1)
    if arrives:
        assert rows(Breaker) == []
        return
    probe = next(row for row in rows(Outbound) if row.external_id == phone.held[0].external_id and row.patient_id == people[0])
    with transaction() as session:
        assert take_receipt(session, Told(probe.reference, probe.external_id, "undelivered", 30034), NOON)
    a_minute_later()
    assert len(rows(Breaker)) == 1
    assert len(phone.held) == 2  # the next minute's probe, and no more
