"""What patients are told, capability by capability, by the running dialogue: Rasa, its actions, the encoder and the model."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path
from uuid import uuid4

import pytest

from care.keys import read_keys
from care.knowledge import knowledge
from care.texts import scripted
from care.triage.model import PatientContext
from care.turns.dialogue import AnswerEffect, ConsentEffect, ContactDoneEffect, DialogueContext, DialogueRequest, EscalationEffect, ReportEffect, Trigger
from care.turns.rasa_client import RasaDialogue
from tests.conftest import Service

BOT = Path(__file__).parents[2] / "bot"


class Talk:
    """A conversation with a patient of the knee protocol. `says` and `hears` answer the keys of the replies; the rest is what the turns have done."""

    def __init__(self, service: Service, questions: list[str], consent: bool, language: str) -> None:
        self._rasa = RasaDialogue(service.url("RASA"), read_keys(service.home / "data/keys.json").rasa_token.get_secret_value())
        self._sender, self._version = f"story-{uuid4().hex}", 0
        self._questions, self._language = questions, language
        self.consent: bool | None = consent or None
        self.emergency = False
        self.answers: dict[str, float | bool | str] = {}
        self.escalations: list[str] = []
        self.reports: list[str] = []
        self.done = False
        self.texts: list[str] = []

    def says(self, text: str) -> list[str]:
        """The patient writes."""
        return self._turn(text, None)

    def hears(self, trigger: Trigger) -> list[str]:
        """Our side speaks first."""
        return self._turn("", trigger)

    def _turn(self, text: str, trigger: Trigger | None) -> list[str]:
        context = DialogueContext(
            patient=self._sender,
            first_name="Ana",
            clinic="Riverside",
            clinic_phone="555-010-0199",
            channel="web",
            consent="granted" if self.consent else "unknown",
            clinical=PatientContext(protocol="knee_replacement", day=3, age=61, sex="female", language=self._language),
            contact="contact-1" if self._questions else None,
            questions=self._questions,
            today=date.today(),
            emergency=self.emergency,
        )
        request = DialogueRequest(message_id=uuid4().hex, sender=self._sender, text=text, trigger=trigger, context=context, state_version=self._version)
        response = self._rasa.turn(request, None, deadline_s=20)
        self._version = response.state_version
        for effect in response.effects:
            match effect:
                case AnswerEffect():
                    self.answers[effect.question] = effect.value
                case EscalationEffect():
                    self.escalations.append(effect.reason)
                case ReportEffect():
                    self.reports.append(effect.words)
                case ConsentEffect():
                    self.consent = effect.granted
                case ContactDoneEffect():
                    self.done = True
        self.texts = [reply.text for reply in response.replies]
        return [reply.key for reply in response.replies]


@pytest.fixture
def talk(service: Service) -> Callable[..., Talk]:
    """A new conversation; `questions` are those of the open check-in."""

    def begin(*questions: str, consent: bool = True, language: str = "en") -> Talk:
        return Talk(service, list(questions), consent, language)

    return begin


@pytest.fixture
def checked_in(talk: Callable[..., Talk]) -> Callable[..., Talk]:
    """A conversation in which the first question has just been asked."""

    def begin(*questions: str, language: str = "en") -> Talk:
        started = talk(*questions, language=language)
        assert started.hears("start_check_in") == ["check_in_intro", f"question_{questions[0]}"]
        return started

    return begin


def test_the_policy_predicts_every_story(service: Service, tmp_path: Path) -> None:
    rasa = [str(service.home / "envs/rasa/bin/python"), "-m", "rasa", "test", "core", "--fail-on-prediction-errors", "--no-plot"]
    given = ["--model", str(service.home / "models/rasa/dialogue.tar.gz"), "--stories", "tests", "--out", str(tmp_path)]
    environment = os.environ | {"RASA_TELEMETRY_ENABLED": "false"}
    done = subprocess.run([*rasa, *given], cwd=BOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


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


def test_words_in_another_language_in_the_middle_go_to_a_person_and_the_question_is_asked_again(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("calf", "pain_score", language="es")
    assert patient.says("ayer vino mi hermana de visita y trajo a los niños") == ["read_by_person", "question_calf"]
    assert patient.escalations == ["not_understood"]
    assert patient.says("no") == ["question_pain_score"]


@pytest.mark.parametrize(("language", "words", "reply"), [("es", "¡Muchas gracias!", "thanks"), ("zh", "谢谢您", "thanks"), ("es", "Buenos días", "greet")])
def test_thanks_and_greetings_in_every_language_call_nobody(talk: Callable[..., Talk], language: str, words: str, reply: str) -> None:
    patient = talk(language=language)
    assert patient.says(words) == [reply]
    assert patient.escalations == []


def test_a_text_that_says_nothing_gets_an_answer(talk: Callable[..., Talk]) -> None:
    for text in ("?", "...", "\U0001f937", "/restart", "asdfgh"):
        assert talk().says(text)


def test_a_report_beside_an_answer_over_a_threshold_is_answered_no_milder(checked_in: Callable[..., Talk]) -> None:
    patient = checked_in("temperature", "calf")
    assert patient.says("it is 38.6 and I am a bit tired today")[0] in ("report_urgent", "report_emergency")
    assert patient.escalations[0] == "answer_threshold"
