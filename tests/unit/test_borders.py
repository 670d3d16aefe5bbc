from __future__ import annotations

import pytest

from nlu.borders import settled
from nlu.corpus import read_markup


@pytest.mark.parametrize(
    ("marked", "expected"),
    [
        ("[my left knee](site) hurts", [("site", "left knee")]),
        ("it is [so very sore](symptom).", [("severity", "so very"), ("symptom", "sore")]),
        ("a bit [dizzy](symptom)", [("severity", "a bit"), ("symptom", "dizzy")]),
        ("[swollen,](symptom) still", [("symptom", "swollen")]),
        ("[in 2010](time)", [("time", "2010")]),
        ("since [last night](time)", [("onset", "since last night")]),
        ("[for about 3 days](duration)", [("duration", "3 days")]),
        ("[a bit](severity) [sore](symptom)", [("severity", "a bit"), ("symptom", "sore")]),
        ("[the](site)", [("site", "the")]),
    ],
)
def test_borders_follow_one_rule(marked: str, expected: list[tuple[str, str]]) -> None:
    text, spans = read_markup(marked)
    assert [(span.label, text[span.start : span.end]) for span in settled(text, spans)] == expected


def test_a_settled_text_stays_as_it_is_and_keeps_each_status() -> None:
    text, spans = read_markup("[no](negation) [really bad pain](symptom:denied) since [yesterday](time)")
    once = settled(text, spans)
    assert settled(text, once) == once
    assert [span.status for span in once if span.status] == ["denied"]
