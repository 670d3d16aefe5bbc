"""What no webhook brought is found in Twilio's list, however long we were away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from sqlalchemy import update

from care.clock import ManualClock
from care.messages.gateway import SmsUnanswered
from care.messages.poller import poll
from care.messages.sending import Sender
from care.messages.twilio_gateway import TwilioGateway
from care.patients.consent import consent_status
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Escalation, Heartbeat, Inbound, InboundState, Outbound, Stranger
from tests.conftest import add_patient
from tests.integration.parties import Echo, Phone, rows, runner

pytestmark = pytest.mark.usefixtures("database")
OURS = "+15550100000"


@dataclass
class Listed:
    """A message as Twilio's list has it."""

    sid: str
    from_: str
    body: str
    date_created: datetime
    to: str = OURS
    num_media: str = "0"


@dataclass
class TwilioList:
    """Twilio's list of what came in, the newest first."""

    messages: list[Listed] = field(default_factory=list)
    away: bool = False

    def received(self, since: datetime) -> Iterator[Any]:
        if self.away:
            raise SmsUnanswered
        yield from sorted((each for each in self.messages if each.date_created >= since), key=lambda each: each.date_created, reverse=True)

    def polled(self, clock: ManualClock) -> list[str]:
        return poll(cast(TwilioGateway, self), clock)


def ago(**much: float) -> datetime:
    return datetime.now(UTC) - timedelta(**much)


def phone_of(number: int) -> str:
    return f"+1555010{number:04d}"


def were_away_since(moment: datetime) -> None:
    with transaction() as session:
        session.execute(update(Heartbeat).where(Heartbeat.name == "sms.polled").values(at=moment))


def test_what_came_while_we_were_away_for_two_days_is_found(clock: ManualClock) -> None:
    patient, twilio = add_patient(0), TwilioList()
    twilio.polled(clock)
    were_away_since(ago(days=2))
    twilio.messages = [Listed("SM1", phone_of(0), "crushing chest pain", ago(hours=40)), Listed("SM2", phone_of(0), "are you there?", ago(hours=39))]
    assert twilio.polled(clock) == [patient]
    assert [(row.body, row.state) for row in rows(Inbound)] == [
        ("crushing chest pain", InboundState.ACCEPTED),
        ("are you there?", InboundState.ACCEPTED),
    ]
    assert [row.reason for row in rows(Escalation)] == ["red_flag"]


@pytest.mark.parametrize("away", [timedelta(minutes=30), timedelta(hours=6)])
def test_after_half_an_hour_and_after_six_one_look_brings_in_all_and_every_red_flag(clock: ManualClock, away: timedelta) -> None:
    """R-14, for longer than a test can wait: a hundred messages of fifty patients came meanwhile, ten of them red flags."""
    patients, twilio = [add_patient(number) for number in range(50)], TwilioList()
    twilio.polled(clock)
    were_away_since(datetime.now(UTC) - away)
    for number in range(100):
        words = "crushing chest pain" if number % 10 == 0 else f"message {number}"
        twilio.messages.append(Listed(f"SM{number}", phone_of(number % 50), words, datetime.now(UTC) - away * (1 - number / 100)))
    assert set(twilio.polled(clock)) == set(patients)
    assert [row.external_id for row in rows(Inbound)] == [f"SM{number}" for number in range(100)]
    assert {row.state for row in rows(Inbound)} == {InboundState.ACCEPTED}
    assert sum("crushing" in row.body for row in rows(Inbound)) == 10
    flagged = {row.patient_id for row in rows(Inbound) if row.flagged}
    assert flagged == {patients[number] for number in range(0, 50, 10)} == {row.patient_id for row in rows(Escalation) if row.reason == "red_flag"}


@pytest.mark.parametrize(("minutes", "confirmed"), [(4, ["stop_confirmed"]), (6, [])])
@pytest.mark.parametrize("speed", ["1", "400"])
def test_a_stop_that_is_found_late_is_obeyed_and_no_longer_confirmed(
    minutes: int, confirmed: list[str], speed: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFTERCARE_CLOCK_SPEED", speed)
    settings.cache_clear()
    patient, twilio = add_patient(0), TwilioList([Listed("SM1", phone_of(0), "STOP", ago(minutes=minutes))])
    twilio.polled(clock)
    with transaction() as session:
        assert consent_status(session, patient) == "revoked"
    assert [row.key for row in rows(Outbound)] == confirmed
    assert all(timedelta(0) < row.not_after - clock.now() <= timedelta(minutes=1) * float(speed) for row in rows(Outbound))
    assert rows(Inbound)[0].received_at == clock.now()


def test_what_a_dialogue_answers_to_a_message_that_was_found_late_still_leaves(clock: ManualClock) -> None:
    patient, twilio = add_patient(0), TwilioList([Listed("SM1", phone_of(0), "hello", ago(hours=1))])
    twilio.polled(clock)
    runner(Echo(), clock).run(patient)
    assert Sender(Phone(), clock).run(patient) == 1


def test_while_the_list_is_away_nothing_is_passed_over(clock: ManualClock) -> None:
    add_patient(0)
    twilio = TwilioList()
    twilio.polled(clock)
    were_away_since(ago(hours=10))
    twilio.messages, twilio.away = [Listed("SM1", phone_of(0), "hello", ago(hours=9))], True
    with pytest.raises(SmsUnanswered):
        twilio.polled(clock)
    twilio.away = False
    assert len(twilio.polled(clock)) == 1


def test_a_message_is_taken_in_once_and_a_strangers_not_counted_anew(clock: ManualClock) -> None:
    add_patient(0)
    twilio = TwilioList([Listed("SM1", phone_of(0), "hello", ago(minutes=5)), Listed("SM2", "+15559990000", "who is this", ago(minutes=4))])
    assert len(twilio.polled(clock)) == 1
    assert twilio.polled(clock) == []
    assert len(rows(Inbound)) == 1
    assert rows(Stranger) == []


def test_more_than_twilio_shows_on_a_page_are_all_found(clock: ManualClock) -> None:
    patients = [add_patient(number) for number in range(3)]
    twilio = TwilioList([Listed(f"SM{each}", phone_of(each % 3), f"message {each}", ago(minutes=90) + timedelta(seconds=each)) for each in range(1300)])
    assert sorted(twilio.polled(clock)) == sorted(patients)
    bodies = [row.body for row in rows(Inbound)]
    assert bodies == [f"message {each}" for each in range(1300)]
