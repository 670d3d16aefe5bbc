"""The programme lead's two ways to a campaign: the JSON API and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from typer.testing import CliRunner

from aftercare.commands import operate
from aftercare.failure import CommandFailed
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Patient, Role
from care.users import add_user
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
    assert lead.post("/api/v1/patients/r1/place", json={"timezone": "Pacific/Honolulu", "state": "HI"}).json() == {"contacts": len(told)}
    assert lead.post("/api/v1/patients/r1/place", json={"timezone": "Mars/Olympus"}).status_code == 422
    assert lead.post("/api/v1/patients/nobody/place", json={"timezone": "Asia/Tokyo"}).status_code == 404
    visit = datetime.now(UTC) + timedelta(days=9)
    assert lead.post(f"{KNEES}/patients/r1/appointments", json={"at": visit.isoformat()}).status_code == 201
    moved = visit + timedelta(days=1)
    assert lead.post(f"{KNEES}/patients/r1/appointments", json={"at": moved.isoformat(), "instead_of": visit.isoformat()}).status_code == 201
    assert lead.post(f"{KNEES}/patients/r1/appointments/cancel", json={"at": visit.isoformat()}).status_code == 409
    assert lead.post(f"{KNEES}/patients/r1/appointments/cancel", json={"at": moved.isoformat()}).status_code == 204
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
    visit = {"at": (datetime.now(UTC) + timedelta(days=9)).isoformat()}
    assert lead.post(f"{KNEES}/patients", json=PATIENT).status_code == 201
    assert lead.post(f"{KNEES}/patients/r1/appointments", json=visit, auth=("nurse", "a long password")).status_code == 201  # but keeps their visits
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
    moved = (visit + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    assert "local time" in _cli("appointment", "Knees", "--reference", "r1", "--at", moved, "--instead-of", visit.strftime("%Y-%m-%dT%H:%M"))
    assert "cancelled" in _cli("cancel-appointment", "Knees", "--reference", "r1", "--at", moved)
    assert "1 enrollment of the patient" in _cli("end", "Knees", "--reference", "r1", "--because", "death")
    with pytest.raises(CommandFailed, match=r"ended|stopped"):
        _cli("end", "Knees", "--reference", "r1", "--because", "death")
    with pytest.raises(CommandFailed, match="runs already"):
        _cli("amend", "Knees", "--move")
    assert "stopped" in _cli("stop", "Knees")


def test_a_patient_without_a_time_zone_is_in_the_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERCARE_SITE_TIMEZONE", "America/Chicago")
    settings.cache_clear()
    _cli("create", "Knees")
    own = ("--name", "Lee Example", "--date-of-birth", "1960-01-01", "--anchor", str(TODAY))
    _cli("enroll", "Knees", "--reference", "r1", "--phone", "+15550109999", *own)
    _cli("enroll", "Knees", "--reference", "r2", "--phone", "+15550109998", "--timezone", "America/New_York", "--state", "KY", *own)
    with transaction() as session:
        places = session.execute(select(Patient.timezone, Patient.state).order_by(Patient.reference)).all()
    assert [tuple(place) for place in places] == [("America/Chicago", None), ("America/New_York", "KY")]


@pytest.fixture
def console(lead: TestClient) -> Iterator[TestClient]:
    """A lead's browser, signed in."""
    with TestClient(create_app(), follow_redirects=True) as browser:
        assert browser.post("/console/login", data={"username": "lead", "password": "a long password"}).status_code == 200
        yield browser


def _token(page: str) -> str:
    return page.partition('name="csrf" value="')[2].partition('"')[0]


def _campaign_page(console: TestClient) -> tuple[str, str]:
    """The campaign's address and its page."""
    address = "/console/campaigns/" + console.get("/console/campaigns").text.partition('href="/console/campaigns/')[2].partition('"')[0]
    return address, console.get(address).text


def test_a_lead_enrolls_from_a_file_after_seeing_what_will_be_sent(console: TestClient) -> None:
    address, page = _campaign_page(console)
    rows = ["reference,name,phone,date_of_birth,anchor", f"r1,Lee Example,+15550109999,1960-01-01,{TODAY}", f"r2,=cmd,+15550109998,1960-01-01,{TODAY}"]
    checked = console.post(f"{address}/roster", data={"csrf": _token(page)}, files={"roster": ("cohort.csv", "\n".join(rows), "text/csv")}).text
    assert "line 3: name" in checked
    assert "<strong>1 patient</strong>" in checked
    assert "reply YES to agree" in checked
    assert "<dt>Patients</dt><dd>0</dd>" in console.get(address).text
    enrolled = console.post(f"{address}/enroll", data={"csrf": _token(checked), "text": "\n".join(rows)}).text
    assert "1 patient enrolled; left out: line 3 (name)" in enrolled
    assert "<dt>Patients</dt><dd>1</dd>" in enrolled


def test_a_lead_runs_a_campaign_in_the_console(console: TestClient, lead: TestClient) -> None:
    lead.post(f"{KNEES}/patients", json=PATIENT)
    address, page = _campaign_page(console)
    csrf = _token(page)

    def act(path: str, **given: str) -> tuple[int, str]:
        answer = console.post(f"{address}/{path}", data={"csrf": csrf, **given})
        return answer.status_code, answer.text

    assert "contacts are held" in act("change", how="pause")[1]
    assert act("change", how="pause")[0] == 422
    assert "contacts go on" in act("change", how="resume")[1]
    assert "contacts are planned" in act("move", reference="r1", anchor=str(TODAY + timedelta(days=2)))[1]
    assert act("move", reference="nobody", anchor=str(TODAY))[0] == 409
    assert "1 follow-ups ended" in act("end", reference="r1", because="death")[1]
    assert "<strong>stopped</strong>" in act("change", how="stop")[1]
    assert console.post(f"{address}/change", data={"how": "pause"}).status_code == 403
    assert console.get("/console/campaigns/none").status_code == 404


def test_a_lead_makes_a_campaign_in_the_console(console: TestClient) -> None:
    csrf = _token(console.get("/console/campaigns").text)
    made = console.post("/console/campaigns", data={"csrf": csrf, "name": "Hips", "protocol": "hip_replacement", "send_hour": "11"})
    assert "<h1>Hips</h1>" in made.text
    assert console.post("/console/campaigns", data={"csrf": csrf, "name": "Hips", "protocol": "hip_replacement"}).status_code == 422


def test_a_coordinator_has_no_campaign_pages(lead: TestClient) -> None:
    with TestClient(create_app()) as browser:
        browser.post("/console/login", data={"username": "nurse", "password": "a long password"})
        assert "/console/campaigns" not in browser.get("/console").text
        assert browser.get("/console/campaigns").status_code == 403
        assert browser.post("/console/campaigns", data={"name": "Mine", "protocol": "copd"}).status_code == 403
