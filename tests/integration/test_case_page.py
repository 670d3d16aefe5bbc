"""The case page: what decides the call is on it, it does not go stale, and a slip of the hand does no harm."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from care.acuity import Acuity
from care.clock import service_clock
from care.escalations.service import Cause, Outcome, acknowledge, raise_escalation, resolve
from care.messages.outbox import OutboundText, write
from care.patients.consent import WRONG_NUMBER, record_consent
from care.sessions import csrf_token
from care.storage.engine import transaction
from care.storage.tables import AuditEntry, Channel, Conversation, Escalation, Outbound, Patient, Role, User, WebSession
from care.users import add_user
from tests.conftest import NOON, add_patient
from tests.integration.parties import rows, text_in
from web.app import create_app

pytestmark = pytest.mark.usefixtures("database")
FLAG = "crushing chest pain"


@pytest.fixture
def user() -> User:
    with transaction() as session:
        return add_user(session, "nurse", "a long password", Role.COORDINATOR, NOON)


@pytest.fixture
def nurse(user: User) -> Iterator[TestClient]:
    """A coordinator's browser, signed in."""
    with TestClient(create_app(), follow_redirects=False) as browser:
        sign_in(browser)
        yield browser


def sign_in(browser: TestClient, address: str = "/console/login") -> str:
    """Where signing in leads to."""
    answer = browser.post(address, data={"username": "nurse", "password": "a long password"})
    assert answer.status_code == 303
    return answer.headers["location"]


def raise_case(patient: str, key: str = "k", **given: object) -> int:
    with transaction() as session:
        raised = raise_escalation(
            session, patient, Cause(key=key, **{"reason": "test", "acuity": Acuity.URGENT, "summary": "why", **given}), service_clock().now()
        )  # type: ignore[arg-type]
        assert raised is not None
        return raised.id


def page(browser: TestClient, case: int, part: str = "") -> str:
    answer = browser.get(f"/console/escalations/{case}{part}")
    assert answer.status_code == 200
    return answer.text


def send(browser: TestClient, case: int, act: str, **given: str) -> tuple[int, str]:
    csrf = re.search(r'name="csrf" value="(\w+)"', browser.get("/console/patients").text)
    assert csrf
    answer = browser.post(f"/console/escalations/{case}/{act}", data={"csrf": csrf[1], **given})
    return answer.status_code, answer.text


def leave_alone(for_so_long: timedelta) -> None:
    with transaction() as session:
        session.execute(update(WebSession).values(seen_at=datetime.now(UTC) - for_so_long))


def last_seen() -> timedelta:
    return datetime.now(UTC) - rows(WebSession)[0].seen_at


def test_the_conversation_alone_is_fresh_and_keeps_no_session_alive(nurse: TestClient) -> None:
    patient = add_patient()
    text_in(patient, FLAG)
    case = rows(Escalation)[0].id
    page(nurse, case)
    text_in(patient, "and now my arm aches", 2)
    leave_alone(timedelta(minutes=10))
    talk = page(nurse, case, "/talk")
    assert "and now my arm aches" in talk
    assert "<html" not in talk
    assert nurse.get("/console/board").status_code == 200
    assert last_seen() > timedelta(minutes=9)
    page(nurse, case)
    assert last_seen() < timedelta(minutes=1)


def test_an_open_page_is_one_reading_and_the_conversation_is_not_read_unrecorded(nurse: TestClient, user: User) -> None:
    opened, other = add_patient(1), add_patient(2)
    case, unopened = raise_case(opened, "a"), raise_case(other, "b")
    page(nurse, case)
    for _ in range(3):
        page(nurse, case, "/talk")
        page(nurse, unopened, "/talk")
    assert [(each.actor, each.subject) for each in rows(AuditEntry) if each.action == "case_read"] == [
        (f"user:{user.id}", opened),
        (f"user:{user.id}", other),
    ]


def test_what_tells_of_news_stays_while_the_conversation_is_replaced(nurse: TestClient) -> None:
    case = raise_case(add_patient())
    whole, talk = page(nurse, case), page(nurse, case, "/talk")
    for mark in ('role="status" id="said"', 'role="alert" id="stale"', f'data-live="/console/escalations/{case}/talk"', "<textarea"):
        assert mark in whole
        assert mark not in talk


def test_no_outcome_is_chosen_for_the_coordinator(nurse: TestClient) -> None:
    case = raise_case(add_patient())
    assert send(nurse, case, "acknowledge")[0] == 303
    choices = page(nurse, case).partition('<select name="outcome" required>')[2]
    assert choices.startswith('<option value="">choose</option>')
    assert send(nurse, case, "resolve", outcome="", note="phoned")[0] == 422
    assert rows(Escalation)[0].outcome is None


@pytest.mark.parametrize("nothing", ["", "   ", " \r\n\t\r\n "])
def test_a_reply_of_nothing_is_refused_and_leaves_the_bot_answering(nothing: str, nurse: TestClient) -> None:
    status, answer = send(nurse, raise_case(add_patient()), "reply", text=nothing)
    assert status == 422
    assert "<h1>" in answer
    assert rows(Outbound) == []
    assert rows(Conversation)[0].coordinator_id is None


def test_a_new_line_counts_as_one_character(nurse: TestClient) -> None:
    patient = add_patient()
    with transaction() as session:
        session.get_one(Conversation, patient).channel = Channel.WEB
    case, lines = raise_case(patient), "\r\n".join(["123456789"] * 160)
    assert send(nurse, case, "reply", text=lines)[0] == 303
    assert rows(Outbound)[0].body == lines.replace("\r\n", "\n")
    assert send(nurse, case, "reply", text="a" * 1601)[0] == 422


def test_a_form_that_is_out_of_date_is_answered_with_a_page(nurse: TestClient) -> None:
    refused = nurse.post(f"/console/escalations/{raise_case(add_patient())}/reply", data={"csrf": "old", "text": "hello"})
    assert refused.status_code == 403
    assert "<h1>" in refused.text
    assert "out of date" in refused.text
    assert nurse.get("/console/nothing").text.count("<h1>") == 1
    assert nurse.get("/api/v1/nothing").json() == {"detail": "Not Found"}


def test_what_was_typed_can_be_told_from_what_was_taken(nurse: TestClient) -> None:
    """The script keeps drafts until the page that comes after says by its address that they were taken."""
    case = raise_case(add_patient())
    csrf = {"csrf": page(nurse, case).partition('name="csrf" value="')[2].partition('"')[0]}
    taken = nurse.post(f"/console/escalations/{case}/reply", data={**csrf, "text": "hello"})
    assert taken.headers["location"] == f"/console/escalations/{case}#sent"
    nurse.cookies.clear()
    assert "#sent" not in nurse.post(f"/console/escalations/{case}/acknowledge").text


def test_signing_in_leads_back_to_what_was_asked_for(nurse: TestClient) -> None:
    leave_alone(timedelta(hours=1))
    asked = nurse.get("/console?show=mine").headers["location"]
    assert asked == "/console/login?next=%2Fconsole%3Fshow%3Dmine"
    assert sign_in(nurse, asked) == "/console?show=mine"
    csrf = csrf_token(nurse.cookies["aftercare_console"])
    leave_alone(timedelta(hours=1))
    sent = nurse.post("/console/escalations/7/reply", data={"csrf": csrf, "text": "hello"})
    assert sign_in(nurse, sent.headers["location"]) == "/console/escalations/7"


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://example.org/console",
        "//example.org",
        "/console.example.org",
        "/console/../chat",
        "/console/%2e%2e/chat",
        "/chat",
        "console",
        "\\\\example.org",
        "",
    ],
)
def test_signing_in_leads_nowhere_else(elsewhere: str, nurse: TestClient) -> None:
    answer = nurse.post("/console/login", params={"next": elsewhere}, data={"username": "nurse", "password": "a long password"})
    assert answer.headers["location"] == "/console"


def test_what_decides_the_call_is_on_the_page(nurse: TestClient, user: User) -> None:
    patient = add_patient(anchor=service_clock().now().date() - timedelta(days=3), language="es")
    with transaction() as session:
        session.get_one(Patient, patient).timezone = "Pacific/Honolulu"
    case = raise_case(patient)
    shown = page(nurse, case)
    assert "Spanish" in shown
    assert f"{service_clock().now() - timedelta(hours=10):%a %b %d %H:}" in shown
    assert "Pacific/Honolulu" in shown
    assert re.search(r"knee replacement, day [234]", shown)
    assert "<dt>Consent</dt><dd>granted</dd>" in shown
    assert '<a href="tel:+15550100001">' in shown
    assert 'id="unsent"' not in shown
    assert send(nurse, case, "acknowledge")[0] == 303
    assert "acknowledged, taken by nurse" in page(nurse, case)


def test_acknowledge_comes_before_what_is_long(nurse: TestClient) -> None:
    shown = page(nurse, raise_case(add_patient()))
    places = [shown.index(mark) for mark in ("</dl>", "/acknowledge", "Conversation", "Evidence", "Answers over time")]
    assert places == sorted(places)
    assert shown.count("/acknowledge") == 1


@pytest.mark.parametrize("why", ["opted out", "somebody else", "takes no SMS"])
def test_that_a_reply_does_not_arrive_is_said_before_it_is_typed(why: str, nurse: TestClient) -> None:
    patient = add_patient()
    with transaction() as session:
        if why == "takes no SMS":
            session.get_one(Patient, patient).number_problem = 30005
        else:
            source = "keyword" if why == "opted out" else WRONG_NUMBER
            record_consent(session, patient, granted=False, channel="sms", words="x", source=source, at=NOON)
    form = page(nurse, raise_case(patient)).partition("/reply")[2]
    assert why in form.partition("<textarea")[0]


def test_the_patients_other_open_escalations_are_named_with_their_links(nurse: TestClient, user: User) -> None:
    patient, stranger = add_patient(1), add_patient(2)
    case, other, done = (raise_case(patient, key, reason=reason) for key, reason in (("a", "test"), ("b", "no_answer"), ("c", "over")))
    elsewhere = raise_case(stranger, "d")
    with transaction() as session:
        acknowledge(session, done, user.id, NOON)
        resolve(session, done, user.id, Outcome.REACHED_SAFE, "phoned", NOON)
    top = page(nurse, case).partition("<dl>")[0].partition("Also open")[2]
    assert re.search(rf'href="/console/escalations/{other}">no answer</a>, urgent, 0 min old', top)
    assert not [each for each in (case, done, elsewhere) if f'/escalations/{each}"' in top]


def test_the_message_that_raised_the_case_is_marked_and_linked(nurse: TestClient) -> None:
    patient = add_patient()
    text_in(patient, "good morning", 1)
    text_in(patient, FLAG, 2)
    raised = rows(Escalation)[0]
    shown = page(nurse, raised.id)
    assert f'<a href="#in{raised.inbound_id}">' in shown
    line = shown.partition(f'<li id="in{raised.inbound_id}"')[2].partition("</li>")[0]
    assert "the message that raised this" in line
    assert FLAG in line
    assert shown.count("the message that raised this") == 1
    assert "The message that raised this" not in page(nurse, raise_case(patient))


def test_the_conversation_tells_the_time_where_the_patient_is(nurse: TestClient) -> None:
    patient = add_patient()
    with transaction() as session:
        session.get_one(Patient, patient).timezone = "America/Denver"
        write(session, patient, Channel.WEB, [OutboundText("hello")], NOON)
    assert "Mar 02 10:00 MST" in page(nurse, raise_case(patient), "/talk")
