"""What patients are told, capability by capability, by the running dialogue: Rasa, its actions, the encoder and the model."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from care.knowledge import knowledge
from care.texts import scripted
from tests.conftest import Service
from tests.integration.talk import Talk

BOT = Path(__file__).parents[2] / "bot"


def test_the_policy_predicts_every_story(service: Service, tmp_path: Path) -> None:
    rasa = [str(service.home / "envs/rasa/bin/python"), "-m", "rasa", "test", "core", "--fail-on-prediction-errors", "--no-plot"]
    given = ["--model", str(service.home / "models/rasa/dialogue.tar.gz"), "--stories", "tests", "--out", str(tmp_path)]
    environment = os.environ | {"RASA_TELEMETRY_ENABLED": "false"}
    done = subprocess.run([*rasa, *given], cwd=BOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_a_report_is_clarified_with_three_questions_at_most(talk: Callable[..., Talk]) -> None:
    patient = talk()
    replies = [patient.says("I have a headache, I feel a bit dizzy and I have a cough and a sore back")[-1]]
    replies += [patient.says("no")[-1] for _ in range(3)]
    assert [key.startswith("clarify_") for key in replies] == [True, True, True, False]
    assert len(set(replies)) == 4
    assert patient.says("no") == ["repeat_nothing"]


def test_a_yes_to_a_clarifying_question_raises_the_acuity(talk: Callable[..., Talk]) -> None:
    patient = talk()
    patient.says("I feel a bit dizzy")
    assert patient.says("yes") == ["report_emergency"]
    assert patient.escalations[-1] == "triage_emergency"
    assert "911" in patient.texts[0]


def test_not_knowing_is_not_a_no(talk: Callable[..., Talk]) -> None:
    patient = talk()
    first = patient.says("I have a cough")
    assert first[-1] == "clarify_cough_breath"
    patient.says("not sure")
    assert {"triage_unsure", "triage_urgent"} & set(patient.escalations)


def test_what_is_told_beside_a_no_is_not_lost(talk: Callable[..., Talk]) -> None:
    patient = talk()
    patient.says("I feel a bit dizzy")
    assert patient.says("no, but my wound is leaking pus")[0] in ("report_urgent", "report_emergency")
    assert "leaking pus" in patient.reports[-1]


def test_the_open_clarifying_question_is_repeated(talk: Callable[..., Talk]) -> None:
    patient = talk()
    patient.says("I feel a bit dizzy")
    assert patient.says("can you repeat that") == ["clarify_dizzy_faint"]


@pytest.mark.parametrize("words", ["thanks, but now I am coughing up blood", "yes, I am coughing up blood", "I took my pills but I cough up blood"])
def test_a_red_flag_comes_before_whatever_else_is_said(talk: Callable[..., Talk], words: str) -> None:
    patient = talk()
    assert patient.says(words)[0] == "report_emergency"


def test_a_patient_who_is_well_is_told_so(talk: Callable[..., Talk]) -> None:
    assert talk().says("doing well, no problems") == ["report_well"]


def test_advice_is_given_from_what_is_approved(talk: Callable[..., Talk]) -> None:
    patient = talk()
    assert patient.says("when can I shower?") == ["advice_shower"]
    assert patient.texts == [knowledge().advice["shower"].text]
    assert patient.escalations == []


@pytest.mark.parametrize(
    ("words", "reply", "kept", "escalations"),
    [
        ("I took my medicine", "medicine_taken", "yes", []),
        ("I forgot to take my pill", "medicine_missed", "no", ["medicine_question"]),
        ("I'll take it later", "medicine_later", "later", []),
    ],
)
def test_a_medicine_is_noted(talk: Callable[..., Talk], words: str, reply: str, kept: str, escalations: list[str]) -> None:
    patient = talk()
    assert patient.says(words) == [reply]
    assert (patient.answers, patient.escalations) == ({"medicine": kept}, escalations)


@pytest.mark.parametrize(
    ("words", "reply", "escalation"),
    [
        ("is it ok to take ibuprofen?", "medicine_passed_on", "medicine_question"),
        ("can I reschedule my appointment?", "appointment_passed_on", "appointment"),
        ("can I speak to a nurse please", "person_coming", "handoff_request"),
        ("PERSON", "person_coming", "handoff_request"),
        ("do you speak Spanish?", "change_language", "language"),
        ("wrong number", "wrong_number", "wrong_number"),
        ("I don't want these messages any more", "opt_out_confirm", "opt_out_wish"),
        ("I don't want to live anymore", "crisis_reply", "crisis"),
    ],
)
def test_what_only_a_person_can_settle_goes_to_one(talk: Callable[..., Talk], words: str, reply: str, escalation: str) -> None:
    patient = talk()
    assert patient.says(words) == [reply]
    assert patient.escalations == [escalation]
    assert patient.consent is (escalation not in ("wrong_number", "opt_out_wish"))


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        ("hello", "greet"),
        ("thank you", "thanks"),
        ("goodbye", "goodbye"),
        ("are you a robot?", "bot_challenge"),
        ("HELP", "help"),
        ("can you repeat that?", "repeat_nothing"),
        ("never mind", "cancelled"),
    ],
)
def test_small_talk_is_answered(talk: Callable[..., Talk], words: str, reply: str) -> None:
    patient = talk()
    assert patient.says(words) == [reply]
    assert patient.escalations == []


def test_insults_are_answered_calmly_and_the_second_time_a_person_looks(talk: Callable[..., Talk]) -> None:
    patient = talk()
    assert patient.says("you stupid bot, shut up") == ["abuse"]
    assert patient.escalations == []
    assert patient.says("you stupid bot, shut up") == ["abuse"]
    assert patient.escalations == ["abuse"]


@pytest.mark.parametrize("words", ["what is the weather like in Paris?", "7"])
def test_what_is_not_understood_twice_in_a_row_goes_to_a_person(talk: Callable[..., Talk], words: str) -> None:
    patient = talk()
    assert patient.says(words) == ["not_understood_first"]
    assert patient.says("thank you") == ["thanks"]
    assert patient.says(words) == ["not_understood_first"]
    assert patient.says(words) == ["not_understood_person"]
    assert patient.escalations == ["not_understood"]


@pytest.mark.parametrize(
    ("language", "words", "answers"),
    [
        ("en", "ayer vino mi hermana de visita y trajo a los niños", ["en", "es"]),
        ("es", "ayer vino mi hermana de visita y trajo a los niños", ["es"]),
        ("zh", "昨天我妹妹带孩子来看我了", ["zh"]),
        ("en", "wczoraj przyjechała do mnie siostra z dziećmi", ["en"]),
    ],
)
def test_words_in_a_language_that_the_models_do_not_know_go_to_a_person_at_once(
    talk: Callable[..., Talk], language: str, words: str, answers: list[str]
) -> None:
    patient = talk(language=language)
    assert patient.says(words) == ["read_by_person"]
    assert patient.escalations == ["not_understood"]
    assert patient.texts == [" ".join(scripted("read_by_person", each) for each in answers)]


@pytest.mark.parametrize(("language", "words", "reply"), [("es", "¡Muchas gracias!", "thanks"), ("zh", "谢谢您", "thanks"), ("es", "Buenos días", "greet")])
def test_thanks_and_greetings_in_every_language_call_nobody(talk: Callable[..., Talk], language: str, words: str, reply: str) -> None:
    patient = talk(language=language)
    assert patient.says(words) == [reply]
    assert patient.escalations == []


def test_a_text_that_says_nothing_gets_an_answer(talk: Callable[..., Talk]) -> None:
    for text in ("?", "...", "\U0001f937", "/restart", "asdfgh"):
        assert talk().says(text)
