"""Every red-flag rule keeps to the texts written beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from care.knowledge import knowledge
from care.redflags import check

FLAGS = list(knowledge().red_flags.values())


@pytest.mark.parametrize(("rule", "text"), [(flag.id, text) for flag in FLAGS for text in flag.must_fire])
def test_a_rule_fires_on_what_it_must(rule: str, text: str) -> None:
    assert rule in [hit.rule for hit in check(text)]


@pytest.mark.parametrize(("rule", "text"), [(flag.id, text) for flag in FLAGS for text in flag.must_not_fire])
def test_a_rule_is_silent_where_it_must_be(rule: str, text: str) -> None:
    assert rule not in [hit.rule for hit in check(text)]


@pytest.mark.parametrize(
    "text",
    [
        "ch\u200best pa\u200bin",
        "\u0441hest pain",
        "ｃｈｅｓｔ ｐａｉｎ",
        "CHEST PAIN",
        "chst pn",
        "ch3st p4in",
        "chest\x00 pain",
        "\ud800 chest pain",
        "thanks, bye\nalso my chest hurts",
    ],
)
def test_disguised_chest_pain_is_seen(text: str) -> None:
    assert "chest_pain" in [hit.rule for hit in check(text)]


def test_a_relative_who_speaks_for_the_patient_is_heard() -> None:
    assert "breathing_trouble" in [hit.rule for hit in check("my husband here, he cant breathe")]


@given(st.text(max_size=400))
def test_no_text_breaks_the_rules(text: str) -> None:
    assert check(text) == check(text)


def test_the_longest_text_is_answered() -> None:
    assert [hit.rule for hit in check("word " * 1900 + " crushing chest pain")] == ["chest_pain"]
