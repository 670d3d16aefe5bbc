"""A coordinator's morning: two hundred open cases, the most pressing first."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from care.acuity import Acuity
from care.escalations.board import LONGEST, Show, board, next_untaken
from care.escalations.service import Cause, Outcome, acknowledge, raise_escalation, resolve
from care.messages import breaker
from care.storage.engine import transaction
from care.storage.tables import Role, User
from care.users import add_user
from tests.conftest import NOON, add_patient
from web.app import create_app

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def nurse() -> User:
    with transaction() as session:
        return add_user(session, "nurse", "a long password", Role.COORDINATOR, NOON)


def raise_many(number: int) -> list[int]:
    """Escalations of twenty patients, raised over the night in no order of seriousness."""
    chance = random.Random(5)
    patients = [add_patient(each) for each in range(20)]
    found = []
    with transaction() as session:
        for each in range(number):
            cause = Cause(f"k{each}", "test", chance.choice(list(Acuity)), f"case {each}")
            escalation = raise_escalation(session, chance.choice(patients), cause, NOON - timedelta(minutes=chance.randrange(600)))
            assert escalation is not None
            found.append(escalation.id)
    return found


def test_the_most_serious_come_first_then_the_nearest_deadline(nurse: User) -> None:
    raise_many(200)
    with transaction() as session:
        seen = board(session, NOON, nurse)
    order = [(-row.acuity.rank, row.deadline) for row in seen.rows]
    assert order == sorted(order)
    assert (len(seen.rows), seen.hidden, sum(seen.acuities.values())) == (200, 0, 200)
    assert all(row.overdue == (row.deadline < NOON) for row in seen.rows)


def test_each_part_of_the_board_holds_what_its_count_says(nurse: User) -> None:
    raised = raise_many(60)
    with transaction() as session:
        for each in raised[:7]:
            acknowledge(session, each, nurse.id, NOON)
        resolve(session, raised[0], nurse.id, Outcome.REACHED_SAFE, "phoned", NOON)
    with transaction() as session:
        parts = {show: board(session, NOON, nurse, show) for show in Show}
    assert {show: len(part.rows) for show, part in parts.items()} == parts[Show.ALL].counts
    assert (len(parts[Show.ALL].rows), len(parts[Show.MINE].rows), len(parts[Show.UNTAKEN].rows)) == (59, 6, 53)
    assert all(row.overdue for row in parts[Show.OVERDUE].rows)


def test_the_next_case_is_the_most_pressing_that_nobody_has_taken(nurse: User) -> None:
    raise_many(30)
    with transaction() as session:
        first, second = (row.id for row in board(session, NOON, nurse, Show.UNTAKEN).rows[:2])
        assert next_untaken(session, after=first) == second
        acknowledge(session, second, nurse.id, NOON)
        assert next_untaken(session, after=first) not in (first, second)


def test_what_does_not_fit_is_counted_and_is_the_least_pressing(nurse: User) -> None:
    raise_many(LONGEST + 30)
    with transaction() as session:
        seen = board(session, NOON, nurse)
    assert seen.hidden == 30
    assert seen.acuities[Acuity.EMERGENCY] == sum(row.acuity is Acuity.EMERGENCY for row in seen.rows)


@pytest.fixture
def signed_in(nurse: User) -> Iterator[TestClient]:
    with TestClient(create_app()) as browser:
        assert browser.post("/console/login", data={"username": "nurse", "password": "a long password"}, follow_redirects=False).status_code == 303
        yield browser


def test_the_page_shows_two_hundred_and_refuses_an_unknown_part(signed_in: TestClient) -> None:
    raise_many(200)
    assert signed_in.get("/console").text.count("<tr class=") == 200
    assert signed_in.get("/console/board?show=mine").text.count("<tr class=") == 0
    assert signed_in.get("/console?show=none").status_code == 422


def test_the_title_counts_the_emergencies_that_nobody_has_taken(signed_in: TestClient, nurse: User) -> None:
    assert "<title>Escalations ·" in signed_in.get("/console").text
    patient = add_patient()
    with transaction() as session:
        first, *_ = [raise_escalation(session, patient, Cause(f"k{each}", "test", Acuity.EMERGENCY, "why"), NOON) for each in range(3)]
        raise_escalation(session, patient, Cause("u", "test", Acuity.URGENT, "why"), NOON)
        assert first is not None
        acknowledge(session, first.id, nurse.id, NOON)
    assert "<title>(2) Escalations ·" in signed_in.get("/console?show=mine").text
    assert 'data-title="(2) Escalations"' in signed_in.get("/console/board?show=mine").text


def test_what_tells_of_the_board_stays_while_the_list_is_replaced(signed_in: TestClient) -> None:
    whole, listed = signed_in.get("/console").text, signed_in.get("/console/board").text
    for mark in ("data-live", 'role="alert" id="stale"', 'role="status" id="said"'):
        assert mark in whole
        assert mark not in listed


def test_a_hold_on_sms_is_shown_to_everybody(signed_in: TestClient) -> None:
    assert "SMS is held" not in signed_in.get("/console/board").text
    with transaction() as session:
        breaker.trip(session, 63038)
    assert "code 63038" in signed_in.get("/console/board").text
