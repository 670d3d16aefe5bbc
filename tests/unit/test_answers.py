"""Answers are read leniently and kept typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from care.acuity import Acuity
from care.answers import AnswerOutOfBounds, is_skip, read_answer
from care.knowledge import knowledge
from care.knowledge.model import Earlier, Question, QuestionKind

QUESTIONS = knowledge().questions


def acuity_of(question: str, text: str, earlier: list[Earlier] | None = None) -> Acuity | None:
    answer = read_answer(QUESTIONS[question], text, earlier or [])
    assert answer is not None
    crossed = QUESTIONS[question].crossed(answer.value, earlier or [])
    return crossed.acuity if crossed else None


@pytest.mark.parametrize(
    ("question", "text", "value"),
    [
        ("pain_score", "about a 7 I guess", 7.0),
        ("pain_score", "seven", 7.0),
        ("pain_score", "5. also I can't breathe", 5.0),
        ("pain_score", "٣", 3.0),
        ("pain_score", "7/10", 7.0),
        ("pain_score", "7 out of 10", 7.0),
        ("pain_score", "6-7", 7.0),
        ("pain_score", "no pain", 0.0),
        ("pain_score", "took 2 pills, pain is 5", 5.0),
        ("pain_score", "it was 3 at 8 am", 3.0),
        ("pain_score", "9 yesterday, 7 today", 7.0),
        ("calf", "nope", False),
        ("calf", "👍", True),
        ("calf", "a little", True),
        ("drinking", "a little", False),
        ("exercises", "I did not", False),
        ("blood_thinner", "later", "later"),
        ("blood_thinner", "took it this morning", "yes"),
        ("blood_thinner", "I forgot", "no"),
        ("blood_thinner", "did not take it", "no"),
        ("wound", "a bit red no pus", "red"),
        ("wound", "no pus or drainage, looks clean", "clean"),
        ("walking", "no problem walking alone", "alone"),
        ("walking", "no", "cannot"),
        ("bleeding", "no, blood in urine", "heavy"),
        ("bleeding", "no blood in urine or stool", "none"),
        ("heart_breath", "not at rest, only on stairs", "active"),
        ("grade_nausea", "3", "severe"),
        ("grade_nausea", "very severe", "very_severe"),
        ("vomits", "twice", 2.0),
        ("vomits", "nope", 0.0),
        ("pads", "less than one", 0.0),
        ("pads", "2 pads", 2.0),
        ("inhaler_puffs", "4 puffs", 4.0),
        ("oxygen", "o2 93, pulse 88", 93.0),
        ("oxygen", "pulse 72 and 96%", 96.0),
        ("heart_rate", "pulse is 132", 132.0),
        ("peak_flow", "65%", 65.0),
        ("peak_flow", "yellow zone, gave 4 puffs", "yellow"),
    ],
)
def test_an_answer_is_read(question: str, text: str, value: object) -> None:
    answer = read_answer(QUESTIONS[question], text)
    assert answer is not None
    assert answer.value == value


@pytest.mark.parametrize(
    ("text", "celsius"),
    [
        ("37", 37.0),
        ("98.6", 37.0),
        ("no fever, 99.1", 37.3),
        ("37,8", 37.8),
        ("101.4F", 38.6),
        ("39 c", 39.0),
        ("102", 38.9),
        ("one-oh-two", 38.9),
        ("one oh one point five", 38.6),
        ("a hundred and one", 38.3),
        ("ninety eight point six", 37.0),
        ("ninety-eight six", 37.0),
        ("treinta y ocho coma cinco", 38.5),
        ("101 at 8am, 99 at 2pm", 38.3),
        ("temp99.1", 37.3),
    ],
)
def test_a_temperature_is_told_by_its_size_or_unit(text: str, celsius: float) -> None:
    answer = read_answer(QUESTIONS["temperature"], text)
    assert answer is not None
    assert (answer.value, answer.unit) == (celsius, "Cel")


@pytest.mark.parametrize(
    ("text", "mg_dl"),
    [
        ("5.5", 99.0),
        ("12", 216.0),
        ("120", 120.0),
        ("5.6 mmol/l", 101.0),
        ("110 mg/dL", 110.0),
        ("fasting 98 at 7am", 98.0),
        ("one ten", 110.0),
        ("22.4", 404.0),
    ],
)
def test_blood_sugar_is_told_by_its_size_or_unit(text: str, mg_dl: float) -> None:
    answer = read_answer(QUESTIONS["glucose"], text)
    assert answer is not None
    assert (answer.value, answer.unit) == (mg_dl, "mg/dL")


@pytest.mark.parametrize(
    ("text", "acuity"),
    [("HI", Acuity.EMERGENCY), ("it says HI", Acuity.EMERGENCY), ("LO", Acuity.EMERGENCY), ("25", Acuity.EMERGENCY), ("3.5", Acuity.URGENT), ("110", None)],
)
def test_a_dangerous_blood_sugar_calls_a_person(text: str, acuity: Acuity | None) -> None:
    assert acuity_of("glucose", text) is acuity


def test_a_greeting_is_no_meter_reading() -> None:
    assert read_answer(QUESTIONS["glucose"], "Hi there") is None
    answer = read_answer(QUESTIONS["glucose"], "Hi, its 140")
    assert answer is not None
    assert answer.value == 140.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("150/95", "150/95"),
        ("150 over 95", "150/95"),
        ("one fifty over ninety five", "150/95"),
        ("ciento cincuenta sobre noventa", "150/90"),
        ("150 95", "150/95"),
        ("bp 128/76 pulse 80", "128/76"),
        ("systolic 150 diastolic 95", "150/95"),
        ("160/100 then 140/90", "160/100"),
    ],
)
def test_a_blood_pressure_has_two_numbers(text: str, value: str) -> None:
    answer = read_answer(QUESTIONS["blood_pressure"], text)
    assert answer is not None
    assert (answer.value, answer.unit) == (value, "mm[Hg]")


@pytest.mark.parametrize(
    ("question", "text", "acuity"),
    [
        ("blood_pressure", "128/76", None),
        ("blood_pressure", "185/90", Acuity.URGENT),
        ("blood_pressure", "150/121", Acuity.URGENT),
        ("blood_pressure", "190", Acuity.URGENT),
        ("blood_pressure", "85/50", Acuity.URGENT),
        ("blood_pressure_birth", "150/95", Acuity.URGENT),
        ("blood_pressure_birth", "138/111", Acuity.EMERGENCY),
    ],
)
def test_either_number_of_a_blood_pressure_can_call_a_person(question: str, text: str, acuity: Acuity | None) -> None:
    assert acuity_of(question, text) is acuity


@pytest.mark.parametrize(
    ("text", "kg"), [("182 lb", 82.55), ("182", 82.55), ("one eighty two", 82.55), ("82.4kg", 82.4), ("80 kilos", 80.0), ("82", 82.0), ("180 libras", 81.65)]
)
def test_a_weight_is_kept_in_kilograms(text: str, kg: float) -> None:
    answer = read_answer(QUESTIONS["weight"], text)
    assert answer is not None
    assert (answer.value, answer.unit) == (kg, "kg")


def test_an_earlier_weight_tells_the_unit_of_a_bare_number() -> None:
    heavy = read_answer(QUESTIONS["weight"], "121", [Earlier(value=120.0, days_ago=1)])
    light = read_answer(QUESTIONS["weight"], "97", [Earlier(value=44.0, days_ago=1)])
    assert heavy is not None
    assert light is not None
    assert (heavy.value, light.value) == (121.0, 44.0)


@pytest.mark.parametrize(
    ("earlier", "text", "acuity"),
    [
        ([], "184 lb", None),
        ([("182 lb", 1)], "183 lb", None),
        ([("182 lb", 1)], "184 lb", Acuity.URGENT),
        ([("182 lb", 1.3)], "184 lb", Acuity.URGENT),
        ([("182 lb", 2)], "184 lb", None),
        ([("182 lb", 7), ("184 lb", 2)], "187 lb", Acuity.URGENT),
        ([("182 lb", 9), ("184 lb", 7)], "187 lb", None),
        ([("182 lb", 28), ("190 lb", 8)], "192 lb", Acuity.URGENT),
        ([("182 lb", 1)], "181 lb", None),
    ],
)
def test_a_gain_of_two_pounds_in_a_day_or_five_in_a_week_calls_a_person(earlier: list[tuple[str, float]], text: str, acuity: Acuity | None) -> None:
    known = []
    for weighed, days_ago in earlier:
        answer = read_answer(QUESTIONS["weight"], weighed)
        assert answer is not None
        known.append(Earlier(value=answer.value, days_ago=days_ago))
    assert acuity_of("weight", text, known) is acuity


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("pain_score", "11"),
        ("pain_score", "-3"),
        ("temperature", "1037"),
        ("temperature", "12"),
        ("temperature", "102 c"),
        ("blood_pressure", "BP 400/20"),
        ("blood_pressure", "95/150"),
        ("oxygen", "0.95"),
        ("peak_flow", "320"),
        ("weight", "9 kg"),
        ("glucose", "99999999999"),
    ],
)
def test_an_impossible_number_is_refused(question: str, text: str) -> None:
    with pytest.raises(AnswerOutOfBounds):
        read_answer(QUESTIONS[question], text)


def test_half_a_blood_pressure_is_no_answer() -> None:
    assert read_answer(QUESTIONS["blood_pressure"], "120") is None
    assert read_answer(QUESTIONS["blood_pressure"], "my pulse is 80") is None


def test_words_beside_the_answer_are_kept_for_triage() -> None:
    answer = read_answer(QUESTIONS["pain_score"], "5. also I can't breathe")
    assert answer is not None
    assert "breathe" in answer.rest


@pytest.mark.parametrize("text", ["skip", "SKIP", "Saltar", "no thermometer", "not sure"])
def test_a_question_can_be_left_out(text: str) -> None:
    assert is_skip(text)


@pytest.mark.parametrize("text", ["I have a question", "some of it", "a little worried about this", "done with you"])
def test_consent_needs_a_clear_yes(text: str) -> None:
    consent = Question(id="consent", kind=QuestionKind.YES_NO, text={"en": ""}, sources=["-"])
    assert read_answer(consent, text) is None


@pytest.mark.parametrize("text", ["ok", "Okay!", "ok thanks", "好的"])
def test_ok_agrees_to_messages_but_does_not_say_that_a_medicine_was_taken(text: str) -> None:
    consent = Question(id="consent", kind=QuestionKind.YES_NO, text={"en": ""}, sources=["-"])
    agreed = read_answer(consent, text)
    assert agreed is not None
    assert agreed.value is True
    assert read_answer(QUESTIONS["blood_thinner"], text) is None
    assert read_answer(QUESTIONS["calf"], text) is None


LIKELY = st.text("0123456789.,/-%:  abcdefghilmnoprstuvwyzáéíóúñ°½٣", max_size=60) | st.lists(
    st.sampled_from("one oh two hundred ninety point five over y coma treinta no yes lb kg mmol % HI out of ten today yesterday pads 7 98.6 150/95".split()),  # noqa: SIM905
    max_size=12,
).map(" ".join)


@pytest.mark.parametrize("kind", list(QuestionKind))
@given(data=st.data(), text=st.text(max_size=200) | LIKELY)
def test_any_text_gives_an_answer_in_bounds_or_none(kind: QuestionKind, data: st.DataObject, text: str) -> None:
    asked: Question = data.draw(st.sampled_from([each for each in QUESTIONS.values() if each.kind is kind]))
    earlier = data.draw(st.sampled_from([[], [Earlier(value=80.0, days_ago=1)], [Earlier(value="HI", days_ago=0), Earlier(value=True, days_ago=3)]]))
    try:
        answer = read_answer(asked, text, earlier)
    except AnswerOutOfBounds:
        return
    if answer is None:
        return
    asked.crossed(answer.value, earlier)
    match answer.value:
        case bool():
            assert kind is QuestionKind.YES_NO
        case float():
            assert asked.minimum is not None
            assert asked.maximum is not None
            assert asked.minimum <= answer.value <= asked.maximum
        case str():
            assert answer.value in {"yes", "no", "later", *(choice.value for choice in asked.choices)} or kind is QuestionKind.BLOOD_PRESSURE
