"""Answers are read leniently and kept typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from care.answers import AnswerOutOfBounds, read_answer
from care.knowledge import knowledge

QUESTIONS = knowledge().questions


@pytest.mark.parametrize(
    ("question", "text", "value"),
    [
        ("pain_score", "about a 7 I guess", 7.0),
        ("pain_score", "seven", 7.0),
        ("pain_score", "5. also I can't breathe", 5.0),
        ("pain_score", "٣", 3.0),
        ("temperature", "no fever, 99.1", 37.3),
        ("temperature", "37,8", 37.8),
        ("temperature", "101.4F", 38.6),
        ("temperature", "one-oh-two", 38.9),
        ("calf", "nope", False),
        ("calf", "👍", True),
        ("blood_thinner", "later", "later"),
        ("blood_thinner", "took it this morning", "yes"),
        ("wound", "a bit red no pus", "red"),
    ],
)
def test_an_answer_is_read(question: str, text: str, value: object) -> None:
    answer = read_answer(QUESTIONS[question], text)
    assert answer is not None
    assert answer.value == value


@pytest.mark.parametrize(("question", "text"), [("pain_score", "11"), ("pain_score", "-3"), ("temperature", "1037"), ("temperature", "12")])
def test_an_impossible_number_is_refused(question: str, text: str) -> None:
    with pytest.raises(AnswerOutOfBounds):
        read_answer(QUESTIONS[question], text)


def test_words_beside_the_answer_are_kept_for_triage() -> None:
    answer = read_answer(QUESTIONS["pain_score"], "5. also I can't breathe")
    assert answer is not None
    assert "breathe" in answer.rest


@given(st.sampled_from(sorted(QUESTIONS)), st.text(max_size=200))
def test_any_text_gives_an_answer_in_bounds_or_none(question: str, text: str) -> None:
    try:
        answer = read_answer(QUESTIONS[question], text)
    except AnswerOutOfBounds:
        return
    if answer is not None and isinstance(answer.value, float):
        asked = QUESTIONS[question]
        assert (asked.minimum or 0) <= answer.value <= (asked.maximum or 10)
