"""STOP, START and HELP, and clear wishes in few words, are obeyed by rule; what only sounds like them is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from care.messages.keywords import Keyword, keyword

STOPS = [
    "stop", "STOP.", " Stop ", "STOPALL", "Stop!!", "ARRET", "CANCEL", "quit", "please stop texting me", "remove me from this list", "leave me alone",
    "quit sending me messages", "take my number off your list please", "dont text me again", "no more texts", "I want to opt out", "no me escriban mas", "停止", "退订",
]  # fmt: skip
OTHERS = [
    "should I stop taking my pills?", "stop taking my pills?", "should I stop texting and driving lol", "can you take me off the waiting list", "the bleeding will not stop",
    "I want this pain to end", "help me understand the pills", "stop sending the blue pills", "start of the week is fine", "yes", "the infection is gone",
    "when do I stop the drops", "it hurts when I quit moving",
]  # fmt: skip


@pytest.mark.parametrize("text", STOPS)
def test_a_wish_to_stop_is_obeyed(text: str) -> None:
    hit = keyword(text)
    assert hit is not None
    assert hit.keyword is Keyword.STOP


@pytest.mark.parametrize("text", OTHERS)
def test_other_words_are_left_to_the_dialogue(text: str) -> None:
    assert keyword(text) is None


def test_what_stands_beside_stop_is_not_lost() -> None:
    hit = keyword("STOP my chest hurts")
    assert hit is not None
    assert (hit.keyword, hit.rest) == (Keyword.STOP, "my chest hurts")


def test_yes_brings_back_only_who_opted_out() -> None:
    assert keyword("YES") is None
    hit = keyword("YES", opted_out=True)
    assert hit is not None
    assert hit.keyword is Keyword.START


@given(st.text(max_size=300))
def test_no_text_breaks_the_keywords(text: str) -> None:
    assert keyword(text) == keyword(text)
