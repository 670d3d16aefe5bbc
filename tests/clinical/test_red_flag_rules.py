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
EMERGENCIES_THOUGH_EXPECTED = {
    "bruising": ("a purple leg of which no bruise is told may lack blood", {"leg is purple"}),
    "wound_fluid": ("what soaks a dressing may be blood", {"dressing is soaked", "bandage is soaked"}),
    "urine_leak": (
        "a bladder that is out of control may be a pressed nerve, after an epidural above all; a leak alone sets nothing",
        {"no control of my bladder", "cant control my bladder", "cant control my pee", "lost control of my bladder"},
    ),
    "chest_wound_pain": (
        "after heart surgery words alone do not tell a sore breastbone from a heart that lacks blood; one that is easing, or sore on turning, sets nothing",
        {
            "breastbone hurts", "breastbone sore", "sore breastbone", "sternum hurts", "sternum sore", "sternum pain", "chest incision hurts",
            "chest scar hurts", "chest wound hurts", "sore chest from surgery", "sore where they cut my chest", "hurts where they opened my chest",
        },
    ),
    "memory_trouble": ("it is how people tell of a new confusion", {"cant think straight"}),
    "breathless_exertion": ("no effort is told of", {"puffed out", "huffing and puffing"}),
    "painful_breathing": (
        "a clot in the lung and the pleurisy of pneumonia are told in the same words",
        {
            "hurts to breathe", "hurts when i breathe", "pain when i breathe", "pain when breathing", "painful to breathe", "pain on breathing",
            "sharp pain when i breathe", "sharp pain when i take a deep breath", "hurts to take a deep breath", "stabbing when i breathe",
            "stitch when i breathe", "pain when i take a breath", "catches when i breathe", "me duele al respirar", "duele al respirar", "duele respirar",
        },
    ),
    "arm_weakness": (
        "it may be a second stroke; what is the same as at discharge sets nothing",
        {
            "arm went weak", "cant lift my arm", "cant move my arm", "arm wont move", "hand wont work", "arm went limp", "no puedo mover el brazo",
            "no puedo levantar el brazo",
        },
    ),
    "leg_weakness": ("it may be a second stroke, a limb without blood or a faint", {"cant move my leg", "leg went weak", "legs gave out", "no puedo mover la pierna"}),
    "speech_trouble": (
        "it may be a second stroke; what is the same as at discharge sets nothing",
        {
            "slurred", "slurring", "slurs", "slurred speech", "cant talk", "cant speak", "cant get my words out", "cant get the words out",
            "cant find the words", "cant find my words", "words come out wrong", "talking funny", "speech is funny", "speech is garbled", "sounds drunk",
            "no puedo hablar", "habla raro", "arrastra las palabras",
        },
    ),
    "balance_trouble": ("it may be a second stroke", {"walking like a drunk", "cant walk straight"}),
}  # fmt: skip
"""Ways to tell of a symptom that a protocol expects which set an emergency all the same, and why they are right to."""


def fired(text: str | InProtocol) -> list[str]:
    """The rules that fire on a text of a rule."""
    hits = check(text) if isinstance(text, str) else check(text.text, PatientContext(protocol=text.protocol, day=text.day))
    return [hit.rule for hit in hits]


@pytest.mark.parametrize("day", [-400, -1, 0, 1, 4000, None])
def test_a_rule_that_names_no_day_fires_on_every_day_also_before_the_discharge(day: int | None) -> None:
    for protocol in (None, "knee_replacement"):
        assert "chest_pain" in [hit.rule for hit in check("crushing chest pain", PatientContext(protocol=protocol, day=day))]


def test_there_are_as_many_rules_as_promised() -> None:
    assert len(FLAGS) >= 94


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


def test_what_a_protocol_expects_is_no_emergency_in_any_lay_words() -> None:
    known = knowledge()
    fired_on: dict[str, set[str]] = {}
    for protocol in known.protocols.values():
        for symptom, days in protocol.expected.items():
            for synonym in known.symptoms[symptom].synonyms:
                hits = [hit for day in days for hit in check(synonym, PatientContext(protocol=protocol.id, day=day))]
                if any(hit.acuity is Acuity.EMERGENCY for hit in hits):
                    fired_on.setdefault(symptom, set()).add(synonym)
    assert fired_on == {symptom: synonyms for symptom, (_, synonyms) in EMERGENCIES_THOUGH_EXPECTED.items()}


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
