"""A patient's record is handed over whole and erased whole; the key of what is encrypted can be changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from typer.testing import CliRunner

from aftercare.commands.patient import app
from aftercare.failure import CommandFailed
from care import keys as key_module
from care.audit import verify
from care.keys import ensure_keys, key_file, keys
from care.messages.acceptance import accept
from care.messages.inbox import Incoming
from care.patients.record import find_patient
from care.settings import settings
from care.storage import rotation
from care.storage.crypto import FieldUndecryptable, decrypt
from care.storage.engine import reading, transaction
from care.storage.tables import AuditEntry, Channel, Consent, Escalation, Inbound, Patient
from tests.conftest import NOON, add_patient

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
