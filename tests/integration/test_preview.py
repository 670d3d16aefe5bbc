"""What a preview shows before it is real."""

from __future__ import annotations

import pytest

from care.campaigns.preview import PreviewedContact, preview, preview_new
from care.campaigns.schedule import tick
from care.campaigns.service import campaign_named, create_campaign, enroll
from care.clock import ManualClock
from care.knowledge import knowledge
from care.patients.consent import record_consent
from care.storage.engine import transaction
from care.storage.tables import Contact, Inbound, Patient
from tests.conftest import NOON, add_patient
from tests.integration.parties import new_patient, planned, rows

pytestmark = pytest.mark.usefixtures("database")


def test_the_preview_says_what_is_then_sent(clock: ManualClock) -> None:
    add_patient(consent=False)
    with transaction() as session:
        told = list(preview(session, campaign_named(session, "Knees")))
    assert [each.step for each in told] == [row.step for row in planned()]
    assert "reply YES to agree" in told[0].texts[0]
    assert told[0].segments >= 2
    assert all(each.price == pytest.approx(each.segments * 0.0113) for each in told)
    assert all("09:" <= each.local[-5:] < "20:" for each in told)
    assert not any(each.problem for each in told)
    education = next(each for each in told if each.step == "education-2")
    assert education.texts == [knowledge().advice["elevate_leg"].text]


def test_the_preview_names_a_question_that_a_new_version_took_out(monkeypatch: pytest.MonkeyPatch) -> None:
    add_patient()
    monkeypatch.delitem(knowledge().questions, "calf")
    with transaction() as session:
        told = list(preview(session, campaign_named(session, "Knees")))
    bad = [each for each in told if each.problem]
    assert bad
    assert all("'calf'" in each.problem and each.texts == [] and each.segments == 0 for each in bad)
    assert any(each.texts for each in told)


def test_a_preview_of_who_is_not_enrolled_stores_nothing() -> None:
    with transaction() as session:
        campaign = create_campaign(session, "Knees", "knee_replacement", NOON, send_hour=11, spread_minutes=0)
        told = preview_new(campaign, new_patient(7, timezone="America/Chicago", language="es"), NOON)
    assert rows(Patient) == []
    assert {each.local[-5:] for each in told} == {"11:00", "09:00"}
    assert "SI para aceptar" in told[0].texts[0]


def _told_of(number: int, **given: object) -> list[PreviewedContact]:
    """What this patient would get of a second campaign."""
    with transaction() as session:
        campaign = create_campaign(session, "Hips", "knee_replacement", NOON)
    return preview_new(campaign, new_patient(number, **given), NOON)


def test_what_is_previewed_comes_at_the_minute_that_was_told() -> None:
    told = _told_of(7)
    with transaction() as session:
        enroll(session, campaign_named(session, "Hips"), new_patient(7), NOON)
    assert [(each.step, each.at) for each in told] == [(row.step, row.due_at) for row in planned()]
    assert len({each.local[-2:] for each in told}) > 2


def test_a_known_patient_is_previewed_as_they_are_known_and_not_asked_again() -> None:
    add_patient(1)
    told = _told_of(1, timezone="Asia/Tokyo", language="es")
    with transaction() as session:
        enroll(session, campaign_named(session, "Hips"), new_patient(1, timezone="Asia/Tokyo"), NOON)
        expected = [(each.step, each.local, each.texts) for each in preview(session, campaign_named(session, "Hips"))]
    assert [(each.step, each.local, each.texts) for each in told] == expected
    assert not any("YES to agree" in each.texts[0] for each in told)


@pytest.mark.parametrize("problem", ["opted out", "the number takes no SMS"])
def test_a_known_patient_who_cannot_be_written_to_is_a_problem_and_costs_nothing(problem: str) -> None:
    patient_id = add_patient(1)
    with transaction() as session:
        if problem == "opted out":
            record_consent(session, patient_id, granted=False, channel="sms", words="STOP", source="test", at=NOON)
        else:
            session.get_one(Patient, patient_id).number_problem = 30006
    told = _told_of(1)
    with transaction() as session:
        told += preview(session, campaign_named(session, "Knees"))
    assert {(each.problem, each.segments, each.price) for each in told} == {(problem, 0, 0.0)}


def test_advice_before_the_request_for_consent_is_a_problem(clock: ManualClock) -> None:
    told = _told_of(7, anchor="2026-02-28")
    assert [each.step for each in told if each.problem] == ["education-2"]
    assert next("YES to agree" in each.texts[0] for each in told if not each.problem)
    with transaction() as session:
        enroll(session, campaign_named(session, "Hips"), new_patient(7, anchor="2026-02-28"), NOON)
    with transaction() as session:
        tick(session, NOON)
    assert {row.step: row.skipped_because for row in rows(Contact) if row.skipped_because} == {"education-2": "no_consent"}


def test_who_was_asked_for_consent_and_has_not_answered_gets_nothing_more() -> None:
    add_patient(1, consent=False)
    with transaction() as session:
        tick(session, NOON)
    assert [row.trigger for row in rows(Inbound)] == ["ask_consent"]
    assert {(each.problem, each.price) for each in _told_of(1)} == {("has not agreed to messages", 0.0)}
