"""Users of the console are added, given a new password, and locked out from the command line."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from typer.testing import CliRunner

from aftercare.commands.user import app
from aftercare.failure import CommandFailed
from care.storage.engine import reading
from care.storage.tables import AuditEntry, User
from web.app import create_app

pytestmark = pytest.mark.usefixtures("database")
FIRST, SECOND = "correct horse battery", "staple correct horse"


@pytest.fixture
def browser() -> Iterator[TestClient]:
    with TestClient(create_app(), follow_redirects=False) as client:
        yield client


def run(*arguments: str, password: str = "") -> str:
    done = CliRunner().invoke(app, list(arguments), input=f"{password}\n", catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def signs_in(browser: TestClient, password: str) -> bool:
    return browser.post("/console/login", data={"username": "nia", "password": password}).status_code == 303


def test_a_user_signs_in_until_locked_out(browser: TestClient) -> None:
    run("add", "nia", "--role", "lead", password=FIRST)
    assert "lead" in run("list")
    assert signs_in(browser, FIRST)
    assert browser.get("/console/campaigns").status_code == 200
    run("lock-out", "nia")
    assert browser.get("/console").status_code == 303  # the open session is over as well
    assert not signs_in(browser, FIRST)
    assert browser.get("/api/v1/campaigns", auth=("nia", FIRST)).status_code == 401
    assert "locked out" in run("list")
    run("let-in", "nia")
    assert signs_in(browser, FIRST)
    with reading() as session:
        assert [each.action for each in session.scalars(select(AuditEntry)) if each.actor.startswith("cli:")] == [
            "user_added",
            "user_locked_out",
            "user_let_in",
        ]


def test_a_new_password_ends_what_the_old_one_opened(browser: TestClient) -> None:
    run("add", "nia", password=FIRST)
    assert signs_in(browser, FIRST)
    run("password", "nia", password=SECOND)
    assert browser.get("/console").status_code == 303
    assert not signs_in(browser, FIRST)
    assert signs_in(browser, SECOND)


@pytest.mark.parametrize(
    ("arguments", "password", "problem"),
    [
        (["add", "nia"], "short", "password: must have at least"),
        (["add", "n:a"], FIRST, "name: must have"),
        (["add", "old"], FIRST, "name: 'old' is taken"),
        (["password", "nobody"], FIRST, "name: there is no user"),
        (["lock-out", "nobody"], "", "name: there is no user"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(arguments: list[str], password: str, problem: str) -> None:
    run("add", "old", password=FIRST)
    with pytest.raises(CommandFailed, match=problem):
        run(*arguments, password=password)
    with reading() as session:
        assert [each.username for each in session.scalars(select(User))] == ["old"]
