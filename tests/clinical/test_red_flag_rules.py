"""Every red-flag rule keeps to the texts written beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from care.acuity import Acuity
from care.knowledge import knowledge
from care.knowledge.model import InProtocol, RedFlag
from care.redflags import check
from care.triage.model import PatientContext

FLAGS = list(knowledge().red_flags.values())


def fired(text: str | InProtocol) -> list[str]:
    """The rules that fire on a text of a rule."""
    hits = check(text) if isinstance(text, str) else check(text.text, PatientContext(protocol=text.protocol, day=5))
    return [hit.rule for hit in hits]


def test_there_are_as_many_rules_as_promised() -> None:
    assert len(FLAGS) >= 91


def test_first_words_of_an_emergency_are_said_in_every_language() -> None:
    known = knowledge()
    said = {advice for flag in known.red_flags.values() if flag.acuity is Acuity.EMERGENCY for advice in flag.advice}
    assert {each for each in said if not {"es", "zh"} <= set(known.advice[each].translations)} == set()


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.id)
def test_a_rule_fires_on_what_it_must(flag: RedFlag) -> None:
    assert [text for text in flag.must_fire if flag.id not in fired(text)] == []


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.id)
def test_a_rule_is_silent_where_it_must_be(flag: RedFlag) -> None:
    assert [text for text in flag.must_not_fire if flag.id in fired(text)] == []


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.id)
def test_every_rule_has_first_words_that_may_be_said_at_its_acuity(flag: RedFlag) -> None:
    assert [each for each in flag.advice if flag.acuity not in knowledge().advice[each].acuities] == []


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


def test_what_is_easing_sets_aside_no_emergency() -> None:
    assert fired("crushing chest pain, a bit better after I sat down")


def test_who_hits_the_patient_is_not_taken_for_the_patient() -> None:
    assert "violence_now" in fired("my neighbour is at the door with a knife and he is hitting me now")


@pytest.mark.parametrize(
    "text", ["Chest pain? No.", "chest pain: no, fever: no", "no to all: chest pain, fainting and bleeding", "do people faint on these pills"]
)
def test_what_is_answered_with_no_or_only_asked_is_left_alone(text: str) -> None:
    assert fired(text) == []


@given(st.text(max_size=400))
def test_no_text_breaks_the_rules(text: str) -> None:
    assert check(text) == check(text)


@pytest.mark.parametrize("text", ["hex 596f7520617265", "1e5f 3d4c5b", "my code is 12ab34cd56"])
def test_digits_and_letters_run_together_are_no_number_and_no_fault(text: str) -> None:
    assert check(text) == []


def test_the_longest_text_is_answered() -> None:
    assert [hit.rule for hit in check("word " * 20_000 + " crushing chest pain")] == ["chest_pain"]
