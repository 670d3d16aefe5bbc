"""What a text costs, and where it is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from care.messages.keywords import Keyword, keyword
from care.messages.sms_text import fold, segments, split
from tests.conftest import EVAL


@pytest.mark.skipif(not (EVAL / "sms-segments-vectors.jsonl").exists(), reason="the evaluation folder is not here")
def test_segments_are_counted_as_twilio_counts_them() -> None:
    rows = [json.loads(line) for line in (EVAL / "sms-segments-vectors.jsonl").read_text().splitlines()]
    wrong = [row["id"] for row in rows if (segments(row["text"]).encoding, segments(row["text"]).segments) != (row["label"], row["segments"])]
    assert not wrong


def test_smart_punctuation_stays_in_gsm_7() -> None:
    assert segments(fold("It\u2019s \u201cfine\u201d \u2014 really\u2026")).encoding == "GSM-7"


@given(st.text(max_size=1500), st.integers(1, 3))
def test_cutting_loses_nothing_but_space(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert all(segments(part).segments <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_a_long_reply_is_cut_after_a_sentence() -> None:
    assert all(part.endswith(".") for part in split("This is a sentence of some length. " * 30, 2))


@pytest.mark.parametrize("text", ["stop", "STOP.", " Stop ", "STOPALL", "Stop!!", "ARRET", "please stop texting me", "CANCEL", "opt-out", "st\u200bop"])
def test_a_wish_to_stop_is_obeyed(text: str) -> None:
    hit = keyword(text)
    assert hit is not None
    assert hit.keyword is Keyword.STOP


@pytest.mark.parametrize("text", ["should I stop taking my pills?", "yes", "the bleeding did not stop", "I can't stop coughing"])
def test_an_ordinary_sentence_is_no_keyword(text: str) -> None:
    assert keyword(text) is None


def test_stop_with_a_complaint_is_both() -> None:
    hit = keyword("STOP my chest hurts")
    assert hit is not None
    assert hit.rest == "my chest hurts"
