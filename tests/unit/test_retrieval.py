"""Advice is found by words and by symptom, and only what is approved and fits."""

from __future__ import annotations

import pytest

from care.knowledge import knowledge
from care.retrieval import advice_for
from care.triage.model import PatientContext

KNEE = PatientContext(protocol="knee_replacement", day=3)


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [("can i shower yet", "shower"), ("when can I be driving my truck again", "driving"), ("is a beer ok with alcohol pills", "alcohol")],
)
def test_a_question_finds_its_statement_first(asked: str, wanted: str) -> None:
    assert next(each.id for each in advice_for(asked, [], KNEE)) == wanted


def test_a_symptom_finds_its_advice_without_a_shared_word() -> None:
    offered = [each.id for each in advice_for("no se", ["constipation"], KNEE)]
    assert offered[0] == "constipation_fluids"


@pytest.mark.parametrize("text", ["", "   ", "thanks", "what is the weather", "😀" * 400, "\x00\x01", "胸痛"])
def test_nothing_is_offered_where_nothing_fits(text: str) -> None:
    assert advice_for(text, [], KNEE) == []


@pytest.mark.parametrize("language", ["en", "es", "zh"])
def test_every_offer_is_an_approved_text_in_the_patients_language_and_the_limit_holds(language: str) -> None:
    patient = KNEE.model_copy(update={"language": language})
    offered = advice_for("pain swelling walking sleep shower driving food wound " * 300, ["pain", "swelling", "no_such_symptom"], patient, limit=3)
    assert len(offered) == 3
    assert all(each.text == knowledge().advice[each.id].said(language) for each in offered)
    assert len({each.text for each in offered} & {each.text for each in knowledge().advice.values()}) == (3 if language == "en" else 0)


def test_advice_that_is_not_for_the_history_is_left_out() -> None:
    with_all = {each.id for each in advice_for("swollen knee", ["swelling"], KNEE)}
    barred = next(iter(knowledge().advice[next(iter(with_all))].not_for))
    left = advice_for("swollen knee", ["swelling"], KNEE.model_copy(update={"history": [barred]}))
    assert all(barred not in knowledge().advice[each.id].not_for for each in left)
