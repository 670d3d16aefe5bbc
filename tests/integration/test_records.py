"""A patient's record is handed over whole, erased whole, and corrected by a person; the key of what is encrypted can be changed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, text
from typer.testing import CliRunner

from aftercare.commands.patient import app
from aftercare.failure import CommandFailed
from care import keys as key_module
from care.acuity import Acuity
from care.audit import verify
from care.campaigns.schedule import tick
from care.clock import ManualClock
from care.escalations.service import Cause, Outcome, acknowledge, raise_escalation, resolve
from care.keys import ensure_keys, key_file, keys
from care.knowledge.model import StepKind
from care.messages.acceptance import accept
from care.messages.inbox import Incoming
from care.messages.sending import Sender
from care.patients.consent import consent_status
from care.patients.corrections import opt_out, set_phone
from care.patients.model import OptOut, Way
from care.patients.record import find_patient
from care.settings import settings
from care.storage import rotation
from care.storage.crypto import FieldUndecryptable, decrypt
from care.storage.engine import reading, transaction
from care.storage.tables import AuditEntry, Channel, Consent, Contact, Enrollment, Escalation, Inbound, Outbound, OutboundState, Patient, Role
from care.users import add_user
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, rows, runner
from web.app import create_app

pytestmark = pytest.mark.usefixtures("database")
WORDS = "the stitches look a bit wet today"


@pytest.fixture(autouse=True)
def own_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str) -> Iterator[None]:
    """Keys that belong to this test alone."""
    monkeypatch.setenv("AFTERCARE_HOME", str(tmp_path))
    settings.cache_clear()
    keys.cache_clear()
    ensure_keys(settings())
    yield
    keys.cache_clear()


def write(patient_id: str, words: str, number: int) -> None:
    with transaction() as session:
        accept(session, Incoming(channel=Channel.SMS, external_id=f"SM{number}", patient_id=patient_id, body=words, received_at=NOON))


def test_everything_of_a_patient_and_of_no_other_is_exported(tmp_path: Path) -> None:
    write(add_patient(1), WORDS, 1)
    write(add_patient(2), "someone else's words", 2)
    out = tmp_path / "record.json"
    assert CliRunner().invoke(app, ["export", "ref-1", "--out", str(out)]).exit_code == 0
    record = json.loads(out.read_text())
    assert record["patient"]["name"] == "Pat1 Example"
    assert [row["body"] for row in record["rows"]["inbound"]] == [WORDS]
    assert len(record["rows"]["consents"]) == 1
    assert record["rows"]["contacts"]
    assert "someone else" not in out.read_text()
    assert out.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandFailed, match="name a new file"):
        CliRunner().invoke(app, ["export", "ref-1", "--out", str(out)], catch_exceptions=False)


def test_an_erased_patient_leaves_no_words_and_the_audit_chain_whole() -> None:
    patient_id = add_patient(1)
    write(patient_id, WORDS, 1)
    write(other := add_patient(2), "kept", 2)
    assert CliRunner().invoke(app, ["erase", "ref-1", "--yes"]).exit_code == 0
    with reading() as session:
        patient = session.get_one(Patient, patient_id)
        assert (patient.name, patient.phone, patient.date_of_birth) == ("", "", "")
        assert session.scalars(select(Inbound.patient_id)).all() == [other]
        assert session.scalars(select(Consent.words).where(Consent.patient_id == patient_id)).all() == [""]
        assert session.scalar(select(func.count()).where(AuditEntry.action == "patient_erased")) == 1
        assert verify(session) is None
    with pytest.raises(CommandFailed, match="no patient has the reference"):
        CliRunner().invoke(app, ["erase", "ref-1", "--yes"], catch_exceptions=False)


@pytest.fixture
def nurse() -> Iterator[TestClient]:
    """A coordinator's browser, signed in to the console and with the name and password for the API."""
    with transaction() as session:
        add_user(session, "nurse", "a long password", Role.COORDINATOR, NOON)
    with TestClient(create_app(), follow_redirects=False) as browser:
        assert browser.post("/console/login", data={"username": "nurse", "password": "a long password"}).status_code == 303
        browser.auth = ("nurse", "a long password")
        yield browser


def token(browser: TestClient) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', browser.get("/console/patients").text)
    assert found
    return found[1]


def by_command(_browser: TestClient, what: str, **given: str) -> int:
    arguments = [f"--{name}={value}" if what == "opt-out" else value for name, value in given.items()]
    return CliRunner().invoke(app, [what, "ref-1", *arguments]).exit_code


def by_api(browser: TestClient, what: str, **given: str) -> int:
    return browser.post(f"/api/v1/patients/ref-1/{what}", json=given).status_code


def by_console(browser: TestClient, what: str, **given: str) -> int:
    return browser.post(f"/console/patients/{what}", data={"csrf": token(browser), "reference": "ref-1", **given}).status_code


EVERY_WAY = pytest.mark.parametrize(("act", "done", "refused"), [(by_command, 0, 1), (by_api, 200, 409), (by_console, 303, 409)])


@EVERY_WAY
def test_an_opt_out_that_a_person_heard_is_kept_and_holds(act: Callable[..., int], done: int, refused: int, nurse: TestClient, clock: ManualClock) -> None:
    patient = add_patient(1)
    assert act(nurse, "opt-out", way="phone", words="she wants no more texts") == done
    newest = rows(Consent)[-1]
    assert (newest.granted, newest.channel, newest.words, newest.source) == (False, "phone", "she wants no more texts", "staff")
    assert [each.actor.split(":")[0] for each in rows(AuditEntry) if each.action == "consent_revoked"] == ["cli" if act is by_command else "user"]
    with transaction() as session:
        tick(session, NOON)
    assert rows(Outbound) == []
    write(patient, "START", 1)
    with reading() as session:
        assert consent_status(session, patient) == "granted"


@EVERY_WAY
def test_a_corrected_number_is_asked_for_consent_before_anything_else(
    act: Callable[..., int], done: int, refused: int, nurse: TestClient, clock: ManualClock
) -> None:
    patient = add_patient(1)
    add_patient(2)
    with transaction() as session:
        tick(session, NOON)  # health questions that wait to be sent to the former number
        session.get_one(Patient, patient).number_problem = 30005
    assert act(nurse, "phone", phone="+15550100002") == refused  # another patient's
    assert act(nurse, "phone", phone="+15550109999") == done
    assert act(nurse, "phone", phone="+15550109999") == refused  # it is on record already
    with reading() as session:
        changed = session.get_one(Patient, patient)
        assert (changed.phone, changed.number_problem, consent_status(session, patient)) == ("+15550109999", None, "unknown")
        assert verify(session) is None
    assert "phone_changed" in {each.action for each in rows(AuditEntry)}
    for _ in range(18):
        clock.advance(timedelta(hours=4))
        with transaction() as session:
            tick(session, clock.now())
    to_patient = [row for row in rows(Outbound) if row.patient_id == patient]
    assert next(row.key for row in to_patient if row.state is not OutboundState.CANCELLED) in ("consent_request", "consent_needed")
    assert {row.state for row in to_patient if row.key.startswith("question")} == {OutboundState.CANCELLED}
    text = Incoming(channel=Channel.SMS, external_id="SM1", phone="+15550109999", body="crushing chest pain", received_at=NOON)
    with transaction() as session:
        accepted = accept(session, text)
    assert accepted is not None
    assert accepted.patient_id == patient


@EVERY_WAY
def test_a_number_in_doubt_is_freed_by_a_person_alone(act: Callable[..., int], done: int, refused: int, nurse: TestClient, clock: ManualClock) -> None:
    patient = add_patient(1)
    write(patient, "you have the wrong number", 1)
    write(patient, "START", 2)
    with reading() as session:
        assert consent_status(session, patient) == "revoked"
    assert "somebody else" in nurse.get("/console/patients?reference=ref-1").text
    assert act(nurse, "phone", phone="+15550100001") == done
    with reading() as session:
        assert consent_status(session, patient) == "unknown"
    write(patient, "START", 3)
    assert rows(Outbound)[-1].key == "consent_request", "a START that answers nothing is asked what it agrees to"
    Sender(Phone(), clock).run(patient)
    write(patient, "START", 4)
    with reading() as session:
        assert consent_status(session, patient) == "granted"


def find(browser: TestClient, sought: str) -> tuple[int, str]:
    answer = browser.post("/console/patients/find", data={"csrf": token(browser), "sought": sought})
    return answer.status_code, answer.headers.get("location") or answer.text


@pytest.mark.parametrize("sought", ["ref-1", " ref-1 ", "+15550100001", "(555) 010-0001", "555 010 0001"])
def test_a_patient_is_found_by_reference_or_phone(sought: str, nurse: TestClient) -> None:
    add_patient(1)
    add_patient(2)
    assert find(nurse, sought) == (303, "/console/patients?reference=ref-1")  # no address holds a phone number


@pytest.mark.parametrize("sought", ["", "ref-9", "+15550100009", "nobody"])
def test_who_is_not_found_is_said_beside_the_field(sought: str, nurse: TestClient) -> None:
    add_patient(1)
    status, shown = find(nurse, sought)
    assert status == 404
    assert "No patient has this reference or phone" in shown
    assert f'name="sought" required maxlength="64" value="{sought}"' in shown


def test_a_patients_escalations_are_listed_with_links_the_open_ones_first(nurse: TestClient) -> None:
    patient, stranger = add_patient(1), add_patient(2)
    with transaction() as session:
        raised = [raise_escalation(session, patient, Cause(f"k{each}", "test", Acuity.ROUTINE, "why"), NOON) for each in range(13)]
        raise_escalation(session, stranger, Cause("other", "test", Acuity.EMERGENCY, "why"), NOON)
        ids = [each.id for each in raised if each]
        for hour, each in enumerate(ids[:12]):
            at = NOON + timedelta(hours=hour)
            acknowledge(session, each, "u1", at)
            resolve(session, each, "u1", Outcome.REACHED_SAFE, "phoned", at)
    shown = nurse.get("/console/patients?reference=ref-1").text
    assert [int(each) for each in re.findall(r'href="/console/escalations/(\d+)"', shown)] == [ids[12], *reversed(ids[2:12])]
    assert "resolved: reached safe" in shown


def visits(browser: TestClient) -> list[str]:
    return re.findall(r'name="instead_of" value="([^"]+)"', browser.get("/console/patients?reference=ref-1").text)


def test_a_coordinator_plans_moves_and_calls_off_a_visit(nurse: TestClient) -> None:
    add_patient(1)
    visit, moved = (f"{date.today() + timedelta(days=days)}T{hour}:00" for days, hour in ((9, "10:30"), (11, "15:00")))
    with reading() as session:
        campaign = session.scalars(select(Enrollment.campaign_id)).one()
    assert visits(nurse) == []
    assert by_console(nurse, "visit", campaign=campaign, at=visit) == 303
    assert by_console(nurse, "visit", campaign=campaign, at=visit) == 409  # planned already
    assert visits(nurse) == [visit]
    with reading() as session:
        planned = session.scalars(select(Contact).where(Contact.kind == StepKind.APPOINTMENT)).one()
        assert planned.appointment_at is not None
        assert planned.appointment_at.astimezone(ZoneInfo(session.scalars(select(Patient.timezone)).one())).hour == 10  # the patient's hour, not the server's
    assert by_console(nurse, "visit", campaign=campaign, at=moved, instead_of=visit) == 303
    assert visits(nurse) == [moved]
    assert by_console(nurse, "cancel-visit", campaign=campaign, at=moved) == 303
    assert visits(nurse) == []
    assert by_console(nurse, "visit", campaign="none", at=visit) == 404


def test_a_coordinator_writes_down_that_the_patient_is_elsewhere(nurse: TestClient) -> None:
    add_patient(1)
    assert by_console(nurse, "place", timezone="Pacific/Honolulu", state="HI") == 303
    assert "Pacific/Honolulu, HI" in nurse.get("/console/patients?reference=ref-1").text
    refused = nurse.post("/console/patients/place", data={"csrf": token(nurse), "reference": "ref-1", "timezone": "Mars/Olympus"})
    assert refused.status_code == 422
    assert "timezone" in refused.text
    assert "America/Chicago" in refused.text  # the remedy, on a page
    assert "<h1>" in refused.text


@pytest.mark.parametrize("words", ["STOP", "wrong number"])
def test_a_new_number_brings_back_nobody_who_opted_out(words: str) -> None:
    patient = add_patient(1)
    write(patient, words, 1)
    with transaction() as session:
        person = session.get_one(Patient, patient)
        if words == "wrong number":  # a stranger said so, and the patient phoned
            opt_out(session, person, OptOut(way=Way.PHONE, words="no more"), actor="user:u1", at=NOON)
        assert set_phone(session, person, "+15550109999", actor="user:u1", at=NOON) == "revoked"


@pytest.mark.parametrize("days_before", [0, 3])
def test_who_was_asked_at_a_former_number_is_asked_again_at_the_new_one(days_before: int, clock: ManualClock) -> None:
    """By the dialogue where the check-in is still open, else with the next one; never a question about health."""
    patient = add_patient(1, consent=False)
    dialogue = Echo()

    def days(number: int) -> None:
        for _ in range(number * 2 + 1):
            with transaction() as session:
                tick(session, clock.now())
            runner(dialogue, clock).run(patient)
            clock.advance(timedelta(hours=12))

    days(days_before)
    with transaction() as session:
        set_phone(session, session.get_one(Patient, patient), "+15550109999", actor="user:u1", at=clock.now())
    days(7)
    asked = [row.key for row in rows(Outbound)].count("consent_request") + dialogue.heard.count("<ask_consent>")
    assert asked == 2
    assert not [row.key for row in rows(Outbound) if row.key.startswith("question")]


def test_a_warning_that_waited_for_the_former_number_is_told_to_a_person() -> None:
    patient = add_patient(1)
    write(patient, "crushing chest pain", 1)
    with transaction() as session:
        set_phone(session, session.get_one(Patient, patient), "+15550109999", actor="user:u1", at=NOON)
    assert [row.state for row in rows(Outbound)] == [OutboundState.CANCELLED]
    assert [(row.reason, row.acuity) for row in rows(Escalation)] == [("red_flag", Acuity.EMERGENCY), ("not_sent", Acuity.URGENT)]


def test_a_patient_with_an_open_escalation_is_not_erased() -> None:
    patient_id = add_patient(1)
    write(patient_id, "crushing chest pain", 1)
    with pytest.raises(CommandFailed, match="resolve them in the console first"):
        CliRunner().invoke(app, ["erase", "ref-1", "--yes"], catch_exceptions=False)
    with reading() as session:
        assert find_patient(session, "ref-1").name == "Pat1 Example"
        assert session.scalars(select(Escalation.patient_id)).all() == [patient_id]


def test_a_new_field_key_reads_everything_and_the_old_one_nothing() -> None:
    write(add_patient(1), WORDS, 1)
    old = keys().field
    assert rotation.rotate_field_key(settings()) > 0
    assert keys().field != old
    assert keys().retired == []
    with reading() as session:
        assert session.scalars(select(Inbound.body)).all() == [WORDS]
        sealed = session.execute(text("SELECT body FROM inbound")).scalar_one()
    stored = keys().model_copy(update={"field": old})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("care.storage.crypto.keys", lambda: stored)
        with pytest.raises(FieldUndecryptable):
            decrypt(bytes(sealed), "inbound.body")


def test_a_rotation_that_was_cut_off_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    write(add_patient(1), WORDS, 1)
    with monkeypatch.context() as cut:
        cut.setattr(rotation, "_write_again", lambda _table: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rotation.rotate_field_key(settings())
    assert len(keys().retired) == 1
    with reading() as session:
        assert session.scalars(select(Inbound.body)).all() == [WORDS]
    rotation.rotate_field_key(settings())
    assert json.loads(key_file(settings()).read_text()).get("retired") is None
    key_module.keys.cache_clear()
    with reading() as session:
        assert session.scalars(select(Inbound.body)).all() == [WORDS]
