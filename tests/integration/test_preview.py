"""What a preview shows before it is real."""

from __future__ import annotations

import pytest

from care.campaigns.preview import preview, preview_new
from care.campaigns.service import campaign_named, create_campaign
from care.clock import ManualClock
from care.knowledge import knowledge
from care.storage.engine import transaction
from care.storage.tables import (
    Patient,
)
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
