"""START of who never agreed, and how long an opt-out may be confirmed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from care.campaigns.schedule import tick
from care.clock import ManualClock
from care.messages.sending import Sender
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Escalation, Inbound, Outbound
from tests.conftest import NOON, add_patient
from tests.integration.parties import Echo, Phone, rows, runner, text_in
from tests.integration.shared_phones import texts

pytestmark = pytest.mark.usefixtures("database")


def test_who_was_never_asked_and_writes_start_is_asked_and_has_agreed_to_nothing(clock: ManualClock) -> None:
    patient, dialogue = add_patient(consent=False), Echo()
    text_in(patient, "START", 1)
    text_in(patient, "START", 2)
    assert texts() == ["consent_request"], "asked once, though it was not sent yet"
    Sender(Phone(), clock).run(patient)
    text_in(patient, "yes", 3)
    runner(dialogue, clock).run(patient)
    assert dialogue.heard == ["<ask_consent>", "yes"]
    assert [row.trigger for row in rows(Inbound) if row.trigger] == ["ask_consent"]


def test_start_answers_a_request_that_was_sent_and_brings_back_who_stopped(clock: ManualClock) -> None:
    patient = add_patient(consent=False)
    with transaction() as session:
        tick(session, NOON)
    Sender(Phone(), clock).run(patient)
    text_in(patient, "START", 1)
    assert texts() == ["consent_request", "start_confirmed"]
    text_in(patient, "STOP", 2)
    text_in(patient, "START", 3)
    assert texts()[2:] == ["stop_confirmed", "start_confirmed"]


@pytest.mark.parametrize(("words", "key"), [("STOP", "stop_confirmed"), ("wrong number", "wrong_number")])
@pytest.mark.parametrize(("minutes", "sent"), [(4, 1), (6, 0)])
def test_an_opt_out_is_confirmed_within_five_minutes_or_not_at_all(words: str, key: str, minutes: int, sent: int, clock: ManualClock) -> None:
    patient, twilio = add_patient(), Phone()
    text_in(patient, words)
    clock.advance(timedelta(minutes=minutes))
    assert Sender(twilio, clock).run(patient) == sent
    assert texts() == [key]
    assert [row for row in rows(Escalation) if row.reason == "not_sent"] == []


def test_the_five_minutes_of_a_confirmation_are_real_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFTERCARE_CLOCK_SPEED", "400")
    settings.cache_clear()
    text_in(add_patient(), "STOP")
    assert rows(Outbound)[0].not_after == NOON + timedelta(minutes=5) * 400
