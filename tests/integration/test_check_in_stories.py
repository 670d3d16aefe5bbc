"""What patients are told in consent and check-in, by the running dialogue: what is an answer, what comes between, and who is asked nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from care.knowledge import knowledge
from tests.integration.talk import Talk


def test_consent_given_begins_the_check_in(talk: Callable[..., Talk]) -> None:
    patient = talk("pain_score", "calf", consent=False)
    assert patient.hears("ask_consent") == ["consent_request"]
    assert patient.says("YES") == ["consent_thanks", "check_in_intro", "question_pain_score"]
    assert patient.consent is True
    assert patient.says("3") == ["question_calf"]


def test_consent_refused_ends_it(talk: Callable[..., Talk]) -> None:
    patient = talk("pain_score", consent=False)
    patient.hears("ask_consent")
    assert patient.says("no thank you") == ["consent_declined"]
    assert patient.consent is False


@pytest.mark.parametrize("unclear", ["maybe", "I don't know", "not sure"])
def test_an_unclear_answer_to_the_consent_question_is_neither(talk: Callable[..., Talk], unclear: str) -> None:
    patient = talk(consent=False)
    patient.hears("ask_consent")
    assert patient.says(unclear) == ["consent_needed"]
    assert patient.consent is None
    assert patient.says("ok") == ["consent_thanks"]


def test_a_reminder_before_consent_asks_for_it_in_short(talk: Callable[..., Talk]) -> None:
    patient = talk("pain_score", consent=False)
    patient.hears("ask_consent")
    assert patient.hears("ask_consent") == ["consent_needed"]
    assert patient.says("ok") == ["consent_thanks", "check_in_intro", "question_pain_score"]


def test_a_yes_is_no_consent_before_it_was_asked_for(talk: Callable[..., Talk]) -> None:
    patient = talk(consent=False)
    assert patient.says("yes") == ["consent_needed"]
    assert patient.consent is None
    assert patient.says("yes") == ["consent_thanks"]


def test_a_whole_check_in_is_read_leniently(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("pain_score", "temperature", "wound", "calf", "blood_thinner")
    said = ["about a 7 I guess", "no fever, 99.1", "clean and dry", "nope", "took it"]
    answered = [patient.says(text) for text in said]
    assert answered == [["question_temperature"], ["question_wound"], ["question_calf"], ["question_blood_thinner"], ["check_in_done"]]
    assert patient.answers == {"pain_score": 7, "temperature": 37.3, "wound": "clean", "calf": False, "blood_thinner": "yes"}
    assert patient.done


def test_a_check_in_runs_in_spanish(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("pain_score", "calf", "blood_thinner", language="es")
    assert [patient.says(text)[-1] for text in ("como un 4", "no", "si la tome")] == ["question_calf", "question_blood_thinner", "check_in_done"]
    assert patient.answers == {"pain_score": 4, "calf": False, "blood_thinner": "yes"}
    assert patient.texts == [knowledge().text("check_in_done", "es")]


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        ("when can I shower?", "advice_shower"),
        ("can I take two of the pain pills at once?", "medicine_passed_on"),
        ("when is my appointment?", "appointment_passed_on"),
        ("can I speak to a nurse please", "person_coming"),
        ("do you speak Spanish?", "change_language"),
        ("I took my medicine", "medicine_taken"),
        ("thank you", "thanks"),
        ("are you a robot?", "bot_challenge"),
        ("HELP", "help"),
    ],
)
def test_what_is_no_answer_is_handled_and_the_check_in_goes_on(checked_in: Callable[..., Talk], words: str, reply: str) -> None:
    patient = checked_in("pain_score", "calf")
    assert patient.says(words) == [reply, "check_in_resume", "question_pain_score"]
    assert "pain_score" not in patient.answers
    assert patient.says("4") == ["question_calf"]


def test_a_report_in_the_middle_is_clarified_before_the_check_in_goes_on(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("pain_score", "calf")
    report, clarifier = patient.says("I feel a bit dizzy")
    assert report.startswith("report_")
    assert clarifier == "clarify_dizzy_faint"
    assert patient.says("no")[-2:] == ["check_in_resume", "question_pain_score"]
    assert patient.answers == {}
    assert patient.says("4") == ["question_calf"]
    assert patient.says("no") == ["check_in_done"]
    assert patient.answers == {"pain_score": 4, "calf": False}


def test_an_answer_with_a_report_beside_it_is_both(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("pain_score")
    report, clarifier = patient.says("3 but I feel a bit dizzy")
    assert report.startswith("report_")
    assert clarifier == "clarify_dizzy_faint"
    assert patient.answers == {"pain_score": 3}
    assert patient.says("no")[-1] == "check_in_done"


def test_an_emergency_in_the_middle_asks_nothing_else_in_the_same_breath(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("pain_score", "calf")
    assert patient.says("I can't breathe") == ["report_emergency"]
    assert patient.escalations == ["triage_emergency"]
    assert patient.says("yes") == ["check_in_resume", "question_pain_score"]
    assert patient.answers == {}


def test_who_was_told_to_call_for_help_is_asked_nothing_of_routine_until_a_person_has_seen_to_it(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("pain_score", "calf")
    assert patient.says("I can't breathe") == ["report_emergency"]
    patient.emergency = True
    assert patient.says("yes they are coming") == ["emergency_told"]
    assert patient.says("4") == ["emergency_told"]
    assert patient.says("I can't breathe, it is worse") == ["report_emergency"]
    assert patient.says("thank you") == ["thanks"]
    assert patient.answers == {}
    assert patient.hears("resume") == ["check_in_resume", "question_pain_score"]
    assert patient.says("4") == ["question_calf"]


def test_help_that_was_called_without_a_check_in_is_not_answered_with_how_are_you(talk: Callable[..., Talk]) -> None:
    patient = talk()
    assert patient.says("I can't breathe") == ["report_emergency"]
    patient.emergency = True
    for words in ("yes", "ok", "can you repeat that?", "tell me a joke about penguins"):
        assert patient.says(words) == ["emergency_told"]
    patient.emergency = False
    assert patient.says("yes") == ["repeat_nothing"]


@pytest.mark.parametrize("words", ["ok", "okay then"])
def test_ok_is_no_yes_to_a_question_that_could_show_danger(checked_in: Callable[..., Talk], words: str) -> None:
    patient = checked_in("pain_score")
    assert patient.says("3 but I feel a bit dizzy")[1] == "clarify_dizzy_faint"
    assert "report_emergency" not in patient.says(words)
    assert "triage_emergency" not in patient.escalations


def test_an_answer_over_a_threshold_calls_a_person(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("calf", "breathing")
    assert patient.says("yes") == ["urgent_reply", "question_breathing"]
    assert patient.says("yes") == ["emergency_warning"]
    assert patient.escalations == ["answer_threshold", "answer_threshold"]
    assert patient.done


def test_a_question_is_skipped_on_request(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("temperature", "calf")
    assert patient.says("skip") == ["question_calf"]
    assert patient.answers == {}


def test_a_check_in_runs_in_chinese(talk: Callable[..., Talk]) -> None:
    patient = talk("pain_score", "calf", "blood_thinner", "wound", consent=False, language="zh")
    patient.hears("ask_consent")
    assert patient.says("好的") == ["consent_thanks", "check_in_intro", "question_pain_score"]
    assert patient.says("3分") == ["question_calf"]
    assert patient.says("没有") == ["question_blood_thinner"]
    assert patient.says("吃了") == ["question_wound"]
    assert patient.says("干净，没有流脓") == ["check_in_done"]


def test_an_impossible_number_is_asked_again_and_never_kept(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("pain_score", "calf")
    assert patient.says("15") == ["out_of_bounds", "question_pain_score"]
    assert patient.says("15") == ["answer_skipped", "question_calf"]
    assert patient.answers == {}
    assert patient.escalations == ["unreadable_answer"]


def test_an_unreadable_answer_is_asked_again_and_then_left_to_a_person(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("calf", "pain_score")
    assert patient.says("7") == ["ask_again", "question_calf"]
    assert patient.says("7") == ["answer_skipped", "question_pain_score"]
    assert patient.escalations == ["unreadable_answer"]


def test_a_reminder_and_a_return_put_the_open_question_again(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("pain_score", "calf")
    patient.says("4")
    assert patient.hears("remind") == ["reminder", "question_calf"]
    assert patient.hears("resume") == ["check_in_resume", "question_calf"]
    assert patient.says("no") == ["check_in_done"]


def test_a_new_check_in_takes_the_place_of_an_unfinished_one(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("pain_score", "calf")
    patient.says("4")
    assert patient.hears("start_check_in") == ["check_in_intro", "question_pain_score"]


def test_a_cancelled_check_in_is_offered_again_by_the_reminder(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("pain_score")
    assert patient.says("never mind") == ["cancelled"]
    assert not patient.done
    assert patient.hears("remind") == ["reminder", "question_pain_score"]


@pytest.mark.parametrize("words", ["you have the wrong number", "STOP"])
def test_a_check_in_ends_with_who_leaves(checked_in: Callable[..., Talk], words: str) -> None:
    patient = checked_in("calf")
    patient.says(words)
    assert patient.consent is False
    assert (patient.done, patient.answers) == (False, {})


def test_words_in_another_language_in_the_middle_go_to_a_person_and_the_question_is_asked_again(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("calf", "pain_score", language="es")
    assert patient.says("ayer vino mi hermana de visita y trajo a los niños") == ["read_by_person", "question_calf"]
    assert patient.escalations == ["not_understood"]
    assert patient.says("no") == ["question_pain_score"]


def test_a_report_beside_an_answer_over_a_threshold_is_answered_no_milder(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("temperature", "calf")
    assert patient.says("it is 38.6 and I am a bit tired today")[0] in ("report_urgent", "report_emergency")
    assert patient.escalations[0] == "answer_threshold"
