"""The programme lead's two ways to a campaign: the JSON API and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from aftercare.commands import operate
from aftercare.failure import CommandFailed
from care.sessions import add_user
from care.storage.engine import transaction
from care.storage.tables import Role
from tests.conftest import NOON
from web.app import create_app

pytestmark = pytest.mark.usefixtures("database")
TODAY = datetime.now(UTC).date()
PATIENT = {"reference": "r1", "name": "Lee Example", "phone": "+15550109999", "date_of_birth": "1960-01-01", "anchor": str(TODAY)}
KNEES = "/api/v1/campaigns/Knees"


@pytest.fixture
def lead() -> Iterator[TestClient]:
    with transaction() as session:
        add_user(session, "lead", "a long password", Role.LEAD, NOON)
        add_user(session, "nurse", "a long password", Role.COORDINATOR, NOON)
    with TestClient(create_app()) as client:
        client.auth = ("lead", "a long password")
        assert client.post("/api/v1/campaigns", json={"name": "Knees", "protocol": "knee_replacement"}).status_code == 201
        yield client


def test_a_campaign_is_run_over_the_api(lead: TestClient) -> None:
    told = lead.post(f"{KNEES}/preview", json=PATIENT).json()
    assert lead.get("/api/v1/campaigns").json()[0]["patients"] == 0
    assert lead.post(f"{KNEES}/patients", json=PATIENT).json()["contacts"] == len(told)
    assert [each["step"] for each in lead.get(f"{KNEES}/preview").json()] == [each["step"] for each in told]
    assert lead.post(f"{KNEES}/pause").json() == {"contacts": len(told)}
    assert lead.post(f"{KNEES}/pause").status_code == 422
    assert lead.post(f"{KNEES}/resume").json() == {"contacts": len(told)}
    assert lead.post(f"{KNEES}/amend", json={"move_patients": True}).status_code == 422
    later = str(TODAY + timedelta(days=3))
    assert lead.post(f"{KNEES}/patients/r1/move", json={"anchor": later}).json() == {"contacts": len(told)}
    visit = datetime.now(UTC) + timedelta(days=9)
    assert lead.post(f"{KNEES}/patients/r1/appointments", json={"at": visit.isoformat()}).status_code == 201
    assert lead.post(f"{KNEES}/patients/r1/end", json={"because": "readmission"}).json() == {"enrollments": 1}
    assert lead.post(f"{KNEES}/patients/r1/end", json={"because": "readmission"}).status_code == 409
    assert lead.get(f"{KNEES}/preview").json() == []
    assert lead.post(f"{KNEES}/stop").json() == {"enrollments": 0}
    assert lead.get("/api/v1/campaigns").json()[0]["state"] == "stopped"


@pytest.mark.parametrize(
    ("path", "body", "status", "names"),
    [
        ("Hips/pause", None, 404, "Hips"),
        ("Knees/patients/none/end", {"because": "death"}, 409, "reference"),
        ("Knees/patients/none/end", {"because": "boredom"}, 422, "because"),
        ("Knees/patients/none/move", {"anchor": "30 Feb"}, 422, "anchor"),
        ("Knees/patients/none/appointments", {"at": "2026-03-02T10:00"}, 422, "at"),
        ("Knees/amend", {}, 422, "move_patients"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(lead: TestClient, path: str, body: object, status: int, names: str) -> None:
    answer = lead.post(f"/api/v1/campaigns/{path}", json=body)
    assert answer.status_code == status
    assert names in answer.text


def test_a_coordinator_does_not_run_campaigns(lead: TestClient) -> None:
    assert lead.post(f"{KNEES}/stop", auth=("nurse", "a long password")).status_code == 403
    assert lead.post(f"{KNEES}/stop", auth=("lead", "wrong")).status_code == 401


def _cli(*arguments: str) -> str:
    done = CliRunner().invoke(operate.app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_campaign_is_run_from_the_command_line(tmp_path: Path) -> None:
    roster = tmp_path / "roster.csv"
    roster.write_text(f"reference,name,phone,date_of_birth,anchor,state\nr1,Lee Example,+15550109999,1960-01-01,{TODAY},KY\n")
    _cli("create", "Knees", "--send-hour", "11", "--spread-minutes", "0")
    told = _cli("preview", "Knees", "--csv", str(roster), "--json").splitlines()
    assert len(told) > 5
    assert '"local"' in told[0]
    assert "1 enrolled, 0 problems" in _cli("import", "Knees", str(roster))
    assert "r1" in _cli("preview", "Knees")
    assert f"{len(told)} contacts are held" in _cli("pause", "Knees")
    assert f"{len(told)} contacts go on" in _cli("resume", "Knees")
    assert "planned" in _cli("move", "Knees", "--reference", "r1", "--anchor", str(TODAY + timedelta(days=2)))
    visit = datetime.combine(date.today() + timedelta(days=9), datetime.min.time()).replace(hour=14)
    assert "local time" in _cli("appointment", "Knees", "--reference", "r1", "--at", visit.strftime("%Y-%m-%dT%H:%M"))
    assert "1 enrollments" in _cli("end", "Knees", "--reference", "r1", "--because", "death")
    with pytest.raises(CommandFailed, match=r"ended|stopped"):
        _cli("end", "Knees", "--reference", "r1", "--because", "death")
    with pytest.raises(CommandFailed, match="runs already"):
        _cli("amend", "Knees", "--move")
    assert "stopped" in _cli("stop", "Knees")
