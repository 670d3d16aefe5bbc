"""Twilio failing in its own ways, played by the emulator to the real client: nothing is sent twice, nothing lost, and a person knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from zlib import crc32

import httpx
import pytest

from tests.conftest import Service

pytestmark = pytest.mark.timeout(300)
ANSWER = "You are welcome"


@pytest.fixture
def phone(service: Service, request: pytest.FixtureRequest) -> Iterator[str]:
    """The phone of a consenting patient of its own."""
    number = crc32(request.node.name.encode()) % 9000 + 1000
    phone = f"+1555040{number:04d}"
    options = ["--reference", f"t{number}", "--name", "Tia Example", "--phone", phone, "--date-of-birth", "1960-01-01", "--anchor", "2020-01-01"]
    assert service.run("campaign", "enroll", "Knee replacement (demo)", *options).returncode == 0
    service.agree(phone)
    yield phone
    httpx.delete(f"{service.phones}/faults")


def fail(service: Service, kind: str, phone: str, count: int = 1, seconds: float = 5.0) -> None:
    httpx.post(f"{service.phones}/faults", json={"kind": kind, "to": phone, "count": count, "seconds": seconds}).raise_for_status()


def rows(service: Service, phone: str, what: str, table: str) -> list[tuple[object, ...]]:
    return service.sql(f"SELECT {what} FROM {table} WHERE patient_id = (SELECT id FROM patients WHERE reference = 't{int(phone[-4:])}') ORDER BY id")


def until(true: Callable[[], bool], within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.3)


def test_a_webhook_that_never_came_is_found_in_twilios_list(service: Service, phone: str) -> None:
    fail(service, "webhook_lost", phone)
    service.text(phone, "thanks a lot")
    service.wait_for(phone, ANSWER, 60)
    assert rows(service, phone, "trigger", "inbound").count((None,)) == 3


def test_an_answer_that_never_came_does_not_text_twice(service: Service, phone: str) -> None:
    fail(service, "accepted_no_answer", phone)
    service.text(phone, "thanks a lot")
    service.wait_for(phone, ANSWER)
    until(lambda: rows(service, phone, "state", "outbound")[-1] == ("delivered",))
    service.text(phone, "/restart")
    until(lambda: len(service.received(phone)) >= 4)
    assert sum(ANSWER in body for body in service.received(phone)) == 1


def test_a_message_that_twilios_list_shows_late_is_not_sent_twice(service: Service, phone: str) -> None:
    """Nothing but the list can tell: the answer was lost, and so are the receipts. With a message that never comes into it, see `5xx` below."""
    for kind in ("accepted_no_answer", "receipts_lost", "list_late"):
        fail(service, kind, phone, seconds=10)
    service.text(phone, "thanks a lot")
    until(lambda: rows(service, phone, "state", "outbound")[-1] == ("unknown",))
    until(lambda: rows(service, phone, "state", "outbound")[-1] == ("accepted",), 40)
    assert sum(ANSWER in body for body in service.received(phone)) == 1


@pytest.mark.parametrize("kind", ["429", "5xx"])
def test_a_refusal_for_now_is_tried_again(service: Service, phone: str, kind: str) -> None:
    fail(service, kind, phone)
    service.text(phone, "thanks a lot")
    service.wait_for(phone, ANSWER, 90)
    assert sum(ANSWER in body for body in service.received(phone)) == 1


def test_an_opt_out_at_the_carrier_is_kept_as_one(service: Service, phone: str) -> None:
    fail(service, "21610", phone)
    service.text(phone, "thanks a lot")
    until(lambda: ("not_sent",) in rows(service, phone, "reason", "escalations"))
    assert rows(service, phone, "granted, source", "consents")[-1] == (0, "carrier")


def test_a_message_to_a_landline_is_put_before_a_person(service: Service, phone: str) -> None:
    fail(service, "30005", phone)
    service.text(phone, "thanks a lot")
    until(lambda: ("not_sent",) in rows(service, phone, "reason", "escalations"))
    assert rows(service, phone, "state, error_code", "outbound")[-1] == ("undelivered", 30005)
    assert service.sql(f"SELECT number_problem FROM patients WHERE reference = 't{int(phone[-4:])}'") == [(30005,)]


def test_a_phone_that_is_off_is_tried_again_later(service: Service, phone: str) -> None:
    fail(service, "30003", phone)
    service.text(phone, "thanks a lot")
    until(lambda: rows(service, phone, "state, error_code", "outbound")[-1] == ("pending", 30003))
    assert rows(service, phone, "reason", "escalations") == []


def test_a_provider_that_refuses_everything_holds_the_queue(service: Service, phone: str) -> None:
    fail(service, "63038", phone)
    service.text(phone, "thanks a lot")
    until(lambda: service.sql("SELECT code FROM breakers") == [(63038,)])
    assert rows(service, phone, "state", "outbound")[-1] == ("pending",)
    service.wait_for(phone, ANSWER, 90)
    until(lambda: service.sql("SELECT code FROM breakers") == [])


@pytest.mark.parametrize("kind", ["out_of_order", "repeated"])
def test_receipts_in_any_order_end_in_delivered(service: Service, phone: str, kind: str) -> None:
    fail(service, kind, phone)
    service.text(phone, "thanks a lot")
    service.wait_for(phone, ANSWER)
    until(lambda: rows(service, phone, "state", "outbound")[-1] == ("delivered",))


def test_a_slow_twilio_gets_one_message(service: Service, phone: str) -> None:
    fail(service, "slow", phone, seconds=12)
    service.text(phone, "thanks a lot")
    service.wait_for(phone, ANSWER, 120)
    time.sleep(3)
    assert sum(ANSWER in body for body in service.received(phone)) == 1
