"""Patients' words find their symptoms: every synonym its own, with filler words between, and fast."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from care.knowledge import knowledge
from care.lexicon import find_symptoms, present_symptoms, synonym_key

LONGEST_S = 5.0  # of CPU time: what grows with the square of the length takes minutes
SYNONYMS = [(symptom.id, synonym) for symptom in knowledge().symptoms.values() for synonym in symptom.synonyms]


def test_no_synonym_stands_under_two_symptoms() -> None:
    owners: dict[str, set[str]] = {}
    for symptom, synonym in SYNONYMS:
        owners.setdefault(synonym_key(synonym), set()).add(symptom)
    assert {key: sorted(ids) for key, ids in owners.items() if len(ids) > 1} == {}
    assert "" not in owners


def test_every_synonym_finds_its_symptom_and_no_other() -> None:
    assert {synonym: found for symptom, synonym in SYNONYMS if (found := [each.id for each in find_symptoms(synonym)]) != [symptom]} == {}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("My left calf is really swollen and hot", ["one_leg_swelling"]),
        ("I cannot breathe at all", ["breathlessness"]),
        ("couldn't lay flat last night, had to sleep in the recliner", ["breathless_lying"]),
        ("chest is so very tight and I'm dizzy", ["chest_pain", "dizziness"]),
        ("me duele mucho la rodilla", ["knee_pain"]),
        ("tengo la pierna hinchada y no puedo respirar", ["leg_swelling", "breathlessness"]),
        ("poop is black and sticky", ["black_stool"]),
        ("my left arm hurts", ["arm_jaw_pain"]),
        ("my arm hurts", ["arm_pain"]),
        ("soaked through a pad in an hour", ["heavy_vaginal_bleeding"]),
        ("what time is my appointment", []),
        ("I walked the dog and slept fine", []),
    ],
)
def test_plain_words_find_their_symptoms(text: str, wanted: list[str]) -> None:
    assert present_symptoms(text) == wanted


@pytest.mark.parametrize(("text", "absent"), [("no fever and no chills", "fever"), ("my mum had chest pain in 2010", "chest_pain"), ("not dizzy", "dizziness")])
def test_what_is_denied_or_of_another_is_found_but_not_present(text: str, absent: str) -> None:
    assert absent in {each.id for each in find_symptoms(text)}
    assert absent not in present_symptoms(text)


MISSPELT = {
    "nausea": ["feeling nausious all day", "so nauseus", "nausiated again"],
    "dizziness": ["this dizzyness wont stop", "dizyness all morning", "I feel dizzie"],
    "diarrhoea": ["diahrea since yesterday", "bad diarhea", "diarreah again"],
    "palpitations": ["heart palpatations", "getting palpitashuns"],
    "tiredness": ["exausted all the time", "so much fatige"],
    "trouble_sleeping": ["insomina for 3 nights", "insomnea again"],
    "hiccups": ["hickups that wont stop", "hiccoughs and hicups"],
    "constipation": ["constapated for 4 days", "constipasion"],
    "vomiting": ["been vommiting since 4", "vomitting a lot"],
    "headache": ["awful hedache", "headach since noon"],
    "bruising": ["brusing on my leg", "bruisin everywhere"],
    "mouth_sores": ["ulsers in my mouth", "mouth sorres"],
    "numbness": ["nummness in my foot", "numbnes in my foot"],
    "yellow_skin": ["jaundise", "jaundiced and jaundis"],
    "poor_appetite": ["lost my apetite", "no appitite"],
    "itching": ["itchyness on my arms", "so itchey"],
    "heartburn": ["hartburn after meals", "heartbrun again"],
    "swallowing_trouble": ["trouble swalowing", "difficulty swollowing"],
    "cough": ["coffing a lot at night", "I keep coughin"],
    "wheeze": ["weezing and tight", "wheezy and wheesing"],
}
FOUND_AT_LEAST = 0.75


def test_misspelt_symptoms_are_found() -> None:
    missed = [text for symptom, texts in MISSPELT.items() for text in texts if symptom not in present_symptoms(text)]
    assert len(missed) <= (1 - FOUND_AT_LEAST) * sum(map(len, MISSPELT.values())), missed


@pytest.mark.parametrize(
    "text", ["I shouldnt be here", "the wifi is down", "see you tues", "theyre fine", "my wifes car", "Kenny and Rachel came", "lisinopril and metoprolol"]
)
def test_a_word_that_is_none_of_ours_is_not_bent_into_a_symptom(text: str) -> None:
    assert present_symptoms(text) == []


def test_an_affirmed_mention_goes_before_a_denied_one() -> None:
    assert present_symptoms("no fever yesterday. fever of 39 today") == ["fever"]


@pytest.mark.parametrize(
    "unit", ["my knee is so very swollen and the calf is really sore no fever ", "is my the a so ", "pain ", "no ", "x", "cant ", "my left right "]
)
def test_ten_thousand_characters_are_read_at_once(unit: str) -> None:
    text = (unit * 10_000)[:10_000]
    find_symptoms(text[:100])
    began = time.process_time()
    find_symptoms(text)
    assert time.process_time() - began < LONGEST_S


@settings(deadline=None)
@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(["left", "right", "my", "mucho", "side", "arm", "numb", "is", "weak", "swollen", "leg", "pain", "in"])).map(" ".join)
)
def test_any_text_is_read(text: str) -> None:
    assert all(each.id in knowledge().symptoms for each in find_symptoms(text))
