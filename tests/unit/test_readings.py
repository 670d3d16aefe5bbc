"""Which number of a message is a reading of what."""

from __future__ import annotations

import pytest

from care.redflags.normalise import normalise
from care.redflags.values import readings


def read(text: str) -> set[tuple[str, float]]:
    return {(reading.kind, reading.value) for clause in normalise(text).split("\n") for reading in readings(tuple(clause.split()))}


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("3.2 blood ketones", "ketones", 3.2),
        ("had 4.5 ketones 20 minutes ago", "ketones", 4.5),
        ("3.4 mmol/L ketones", "ketones", 3.4),
        ("sugar 9.4, ketones 0.2", "ketones", 0.2),
        ("sugar 9.4, ketones 0.2", "sugar", 169),
        ("24 with ketones 1.2", "sugar", 432),
        ("bp normal, 84 sats, 120 pulse", "oxygen", 84),
        ("bp ok, 84 oxygen for 2 hours", "oxygen", 84),
        ("weight up, 82 oxygen at 6", "oxygen", 82),
        ("SpO2 85 HR 130", "oxygen", 85),
        ("SpO2 85 HR 130", "pulse", 130),
        ("my HR is 38", "pulse", 38),
        ("pulse has gone right down to 42", "pulse", 42),
        ("oxygen has dropped all the way down to 84", "oxygen", 84),
        ("for the last hour 155 bpm, sats 97", "pulse", 155),
        ("temp 101.5 HR 130", "temperature", 38.61),
        ("trouble breathing, rate 155", "pulse", 155),
        ("my blood sugar is 45 mg/dL", "sugar", 45),
        ("glucose 612mg/dl", "sugar", 612),
        ("sugar 54.5", "sugar", 54.5),
        ("39.1 and sick, sugars 15", "temperature", 39.1),
        ("it is at 430", "big_number", 430),
        ("pulse 40 times a minute", "pulse", 40),
        ("fever for 36 hours", "hours", 36),
        ("weight 180 on Monday and 186 today", "weight_gain", 6),
        ("spo2 went from 94 to 84", "oxygen", 84),
        ("sats 95 then 92 and now 85", "oxygen", 85),
        ("temp 100.4, then 103", "temperature", 39.44),
        ("sugar 180 and now 420", "sugar", 420),
        ("la saturacion bajo de 94 a 84", "oxygen", 84),
    ],
)
def test_a_reading_is_found(text: str, kind: str, value: float) -> None:
    assert (kind, value) in read(text)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("resp rate 20", "pulse"),
        ("the scar is 41.5 cm long", "temperature"),
        ("the meter man wants 250 dollars", "sugar"),
        ("vomiting every 2 hours", "hours"),
        ("in the last hour 62 steps", "pulse"),
        ("weight 84 oxygen 98", "weight_gain"),
        ("weight 84 oxygen 98", "temperature"),
        ("type 1 since school, sugar is steady", "sugar"),
        ("sugar diary since 2012", "sugar"),
        ("pulse 66 regular on the monitor", "sugar"),
        ("the meter in the cab said 44.50", "sugar"),
        ("the meter in the cab said 38.50", "temperature"),
        ("checks his pulse 30 times a day", "pulse"),
        ("pain ten days", "pain"),
        ("took it with toast at 0630", "big_number"),
        ("had my snack at 430", "big_number"),
        ("aspirin, calf aches after 300 metres", "big_number"),
    ],
)
def test_what_is_no_reading_is_none(text: str, kind: str) -> None:
    assert kind not in {found for found, _ in read(text)}


@pytest.mark.parametrize(
    ("text", "oxygen"),
    [
        ("pulse 66, sats 97", 97),
        ("weight 84 oxygen 98", 98),
        ("HR 72 O2 98", 98),
        ("aged 84, sats 85", 85),
        ("oximeter says 97 and 66", 97),
        ("sats 97 then 66 steps", 97),
    ],
)
def test_a_word_that_leads_to_a_number_speaks_of_that_one(text: str, oxygen: float) -> None:
    assert {value for kind, value in read(text) if kind == "oxygen"} == {oxygen}
