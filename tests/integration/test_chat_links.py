"""The link to the web chat in an SMS: what it opens, for how long, and who is in the chat already."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, update

from care.acuity import Acuity
from care.clock import ManualClock
from care.escalations.service import Cause, raise_escalation
from care.messages.notice import NOTICE
from care.messages.outbox import OutboundText, write
from care.sessions import mark_gone, mark_online
from care.storage.engine import transaction
from care.storage.tables import Channel, ChatLink, Escalation, Patient, Role, WebSession
from care.users import add_user
from tests.conftest import NOON, add_patient
from tests.integration.parties import rows, text_in
from tests.integration.shared_phones import BORN, connected, in_chat, link, open_chat, say, shared, shown, texts
from web.app import create_app

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def browser() -> Iterator[TestClient]:
    with TestClient(create_app()) as opened:
        yield opened


def write_in_chat(patient: str, words: str) -> None:
    """A person's words to who wrote in the chat."""
    with transaction() as session:
        write(session, patient, Channel.WEB, [OutboundText(words, key="person", author="user:u1")], NOON)


def test_who_is_in_the_chat_gets_no_link_beside_it_and_who_has_left_it_does(browser: TestClient) -> None:
    patient = shared()
    say(patient, "one")
    assert open_chat(browser, link()) == 204
    with connected(browser):
        write_in_chat(patient, "two")
        assert texts() == [NOTICE]
        with transaction() as session:
            session.execute(update(WebSession).values(online_at=datetime.now(UTC) - timedelta(seconds=46)))
        write_in_chat(patient, "three")
        assert texts() == [NOTICE, NOTICE]
    assert shown(browser) == ["one", "two", "three"]


def test_a_session_that_shows_no_chat_is_nobody_in_the_chat(browser: TestClient) -> None:
    patient = shared()
    say(patient, "one")
    assert open_chat(browser, link()) == 204
    write_in_chat(patient, "two")
    assert texts() == [NOTICE, NOTICE]


def test_who_is_in_the_chat_and_writes_by_text_is_told_on_the_phone(browser: TestClient) -> None:
    patient = shared()
    say(patient, "one")
    assert open_chat(browser, link()) == 204
    with connected(browser):
        say(patient, "two")
    assert texts() == [NOTICE, NOTICE]


def test_a_chat_that_only_lies_open_goes_idle_and_a_socket_marks_no_other_one_gone(browser: TestClient) -> None:
    patient = shared()
    say(patient, "one")
    assert open_chat(browser, link()) == 204
    seen = rows(WebSession)[0].seen_at
    token = browser.cookies["aftercare_chat"]
    with transaction() as session:
        first, second = mark_online(session, token), mark_online(session, token)
    for mark, left in ((first, second), (second, None)):
        with transaction() as session:
            mark_gone(session, token, mark)
        assert rows(WebSession)[0].online_at == left
    assert rows(WebSession)[0].seen_at == seen


def test_a_chat_on_a_shared_phone_closes_sooner(browser: TestClient) -> None:
    shared(1), add_patient(2)
    for number, status in ((1, 401), (2, 200)):
        with transaction() as session:
            session.execute(delete(WebSession))
            patient = next(row.id for row in session.query(Patient) if row.reference == f"ref-{number}")
            write(session, patient, Channel.SMS, [OutboundText("word " * 200)], NOON)
        assert open_chat(browser, link()) == 204
        with transaction() as session:
            session.execute(update(WebSession).values(seen_at=datetime.now(UTC) - timedelta(minutes=16)))
        assert browser.get("/chat/messages").status_code == status


def test_a_link_in_an_unasked_message_opens_hours_later_once_and_with_the_date_of_birth_alone(browser: TestClient) -> None:
    say(shared())
    token = link()
    (made,) = rows(ChatLink)
    assert timedelta(hours=23) < made.expires_at - datetime.now(UTC) <= timedelta(hours=24)
    assert token.encode() not in made.token_hash
    assert open_chat(browser, token, "1951-01-01") == 403
    assert open_chat(browser, token) == 204
    again = browser.post("/chat/open", json={"token": token, "date_of_birth": BORN})
    assert again.status_code == 403
    assert "text CHAT" in again.json()["detail"]


def test_five_wrong_dates_lock_a_link_and_an_old_one_opens_nothing(browser: TestClient) -> None:
    patient = shared()
    say(patient)
    for _ in range(5):
        open_chat(browser, link(), "1951-01-01")
    assert open_chat(browser, link()) == 403
    say(patient, "a locked link calls nobody")
    assert texts() == [NOTICE, NOTICE]
    with transaction() as session:
        session.execute(update(ChatLink).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert open_chat(browser, link()) == 403


def test_ten_wrong_dates_at_any_links_of_a_day_shut_the_chat_and_a_person_is_told(browser: TestClient) -> None:
    patient, other = shared(), shared(2)
    for number in range(10):
        text_in(patient, "CHAT", number)
        assert open_chat(browser, link(), "1951-01-01") == 403
        with transaction() as session:
            session.execute(update(ChatLink).values(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
        assert len(rows(Escalation)) == number // 9
    text_in(patient, "CHAT", 10)
    assert open_chat(browser, link()) == 403
    (told,) = rows(Escalation)
    assert (told.reason, told.acuity, told.patient_id) == ("chat_guessed", Acuity.ROUTINE, patient)
    text_in(other, "CHAT", 11)
    assert open_chat(browser, link()) == 204
    with transaction() as session:
        session.execute(update(ChatLink).where(ChatLink.failures > 0).values(failed_at=datetime.now(UTC) - timedelta(hours=25)))
    text_in(patient, "CHAT", 12)
    assert open_chat(browser, link()) == 204
    assert sum(row.failures for row in rows(ChatLink)) == 0, "what counts no more is not kept"


def test_the_link_that_a_patient_asked_for_lives_a_quarter_of_an_hour() -> None:
    text_in(shared(), "CHAT")
    (made,) = rows(ChatLink)
    assert made.expires_at - datetime.now(UTC) <= timedelta(minutes=15)


def test_an_answer_too_long_for_a_message_waits_in_the_chat_of_any_patient(clock: ManualClock) -> None:
    patient = add_patient()
    say(patient, "short")
    say(patient, "a long answer " * 40, key="person", author="user:u1")
    assert texts() == ["", NOTICE]
    assert len(in_chat()) == 1


def test_a_coordinator_reads_no_link_that_opens_the_patients_chat(browser: TestClient) -> None:
    patient = shared()
    say(patient)
    with transaction() as session:
        add_user(session, "nurse", "a long password", Role.COORDINATOR, NOON)
        raised = raise_escalation(session, patient, Cause("k", "test", Acuity.URGENT, "why"), NOON)
        assert raised is not None
    browser.post("/console/login", data={"username": "nurse", "password": "a long password"})
    page = browser.get(f"/console/escalations/{raised.id}").text
    assert "#open=..." in page
    assert link() not in page
