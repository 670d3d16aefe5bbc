"""Silence for ten minutes after an unclear dangerous report calls a person, once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from care.acuity import Acuity
from care.escalations.silence import TIME_TO_ANSWER, call_for_silent
from care.messages.acceptance import accept
from care.messages.inbox import Incoming, accept_trigger
from care.storage.engine import transaction
from care.storage.tables import Channel, Escalation, Inbound, Silence
from care.turns.dialogue import AwaitEffect
from care.turns.effects import carry_out
from tests.conftest import NOON, add_patient

pytestmark = pytest.mark.usefixtures("database")
DUE = NOON + TIME_TO_ANSWER
ASKED = AwaitEffect(question="dizzy_faint", acuity=Acuity.URGENT)


@pytest.fixture
def patient() -> str:
    """A patient who was just asked whether they passed out."""
    patient_id = add_patient()
    with transaction() as session:
        accept(session, Incoming(Channel.SMS, "SM1", "I feel a bit dizzy", NOON, patient_id=patient_id))
        inbound = session.scalars(select(Inbound)).one()
        carry_out(session, inbound, [ASKED], NOON)
        carry_out(session, inbound, [ASKED], NOON)
    return patient_id


def called() -> list[tuple[str, Acuity]]:
    with transaction() as session:
        return [(each.reason, each.acuity) for each in session.scalars(select(Escalation))]


def sweep(minutes: float) -> int:
    with transaction() as session:
        return call_for_silent(session, NOON + timedelta(minutes=minutes))


def test_ten_minutes_of_silence_call_a_person_once(patient: str) -> None:
    assert sweep(9.9) == 0
    assert called() == []
    assert sweep(10) == 1
    assert sweep(11) == 0
    assert called() == [("silent_after_question", Acuity.URGENT)]


def test_an_answer_in_time_calls_nobody(patient: str) -> None:
    with transaction() as session:
        accept(session, Incoming(Channel.SMS, "SM2", "no", NOON + timedelta(minutes=4), patient_id=patient))
    assert sweep(10) == 0
    with transaction() as session:
        assert [each.settled_at is not None for each in session.scalars(select(Silence))] == [True]
    assert called() == []


def test_a_message_that_came_before_the_question_is_no_answer_and_one_person_is_called() -> None:
    patient_id, asked_at = add_patient(), NOON + timedelta(seconds=3)
    with transaction() as session:
        accept(session, Incoming(Channel.SMS, "SM1", "I feel a bit dizzy", NOON, patient_id=patient_id))
        accept(session, Incoming(Channel.SMS, "SM2", "since I got up", NOON + timedelta(seconds=1), patient_id=patient_id))
        first, second = session.scalars(select(Inbound).order_by(Inbound.id)).all()
        carry_out(session, first, [ASKED], asked_at)
        carry_out(session, second, [ASKED], asked_at)
    assert sweep(10.1) == 1
    assert called() == [("silent_after_question", Acuity.URGENT)]


def test_our_own_prompt_is_no_answer(patient: str) -> None:
    with transaction() as session:
        assert accept_trigger(session, patient, "remind", None, "T1", NOON + timedelta(minutes=4))
    assert sweep(10) == 1


def test_a_sweep_that_was_late_still_calls(patient: str) -> None:
    assert sweep(24 * 60) == 1
