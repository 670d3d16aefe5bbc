"""The decision: never below the rules, a person where there is doubt, approved words only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from rasa_sdk import Tracker
from rasa_sdk.executor import CollectingDispatcher

from bot.actions import report
from bot.actions.report import Clarifying
from bot.actions.turn import Turn
from care.acuity import Acuity
from care.knowledge import knowledge
from care.messages.sms_text import segments
from care.redflags import check
from care.texts import scripted
from care.triage.model import DraftUnavailable, Layer, PatientContext, RedFlagHit, Report, Triage, TriageDraft, TriageRequest
from care.triage.service import ENCODER_DEADLINE_S, MODEL_DEADLINE_S, TriageService
from care.turns.dialogue import DialogueContext
from care.understanding import Intent, IntentScore, Understanding, UnderstandingUnavailable

ICE = "Thank you for telling us. Please put a cold compress wrapped in a cloth on the joint for 15 to 20 minutes a few times a day. Keep ice off bare skin."
KNEE = PatientContext(protocol="knee_replacement", day=3)
SURE = {level: {each: 0.94 if each is level else 0.02 for each in Acuity} for level in Acuity}


@dataclass
class Encoder:
    """Answers with one distribution; None: it is away."""

    acuity: dict[Acuity, float] | None
    intents: tuple[Intent, ...] = ()
    language: str = "en"

    def understand(self, text: str, deadline_s: float) -> Understanding:
        if self.acuity is None:
            raise UnderstandingUnavailable
        intents = [IntentScore(name=each, confidence=0.9) for each in self.intents]
        return Understanding(text=text, intents=intents, spans=[], acuity=self.acuity, language=self.language, version="encoder-1")


@dataclass
class Model:
    """Answers with one draft; None: it is away."""

    answer: TriageDraft | None
    version: str = "model-1"
    prompt_version: str = "1"
    decides: bool = True
    given_s: float = -1.0

    def draft(self, request: TriageRequest, deadline_s: float, suspected: Acuity = Acuity.SELF_CARE) -> TriageDraft:
        self.given_s = deadline_s
        if self.answer is None:
            raise DraftUnavailable("no answer in time")
        return self.answer


def drafted(acuity: Acuity, *advice: str, unsure: bool = False, reply: str = "") -> Model:
    draft = TriageDraft(
        acuity=acuity, unsure=unsure, red_flags=[], findings=[], denied=[], questions=[], advice=list(advice), reply=reply, rationale=""
    )  # fmt: skip
    return Model(draft)


def assess(text: str, encoder: Encoder, model: Model | None, deadline_s: float = 8.0) -> Triage:
    return TriageService(encoder, model, knowledge()).assess(Report(text=text, context=KNEE, understanding=None), deadline_s)


@settings(deadline=None)
@given(
    st.sampled_from(sorted(text for flag in knowledge().red_flags.values() for text in flag.must_fire[:1] if isinstance(text, str))),
    st.sampled_from(Acuity),
    st.sampled_from(Acuity),
)
def test_no_layer_lowers_what_a_rule_sets(text: str, encoder: Acuity, model: Acuity) -> None:
    triage = assess(text, Encoder(SURE[encoder]), drafted(model))
    assert all(triage.acuity.rank >= hit.acuity.rank for hit in check(text, KNEE))
    assert triage.acuity.rank >= encoder.rank
    ranks = [vote.acuity.rank for vote in triage.votes if vote.layer is not Layer.RULES or triage.red_flags]
    assert triage.acuity.rank == max(ranks) or max(ranks) - min(ranks) < 2


def test_one_step_apart_takes_the_higher_where_the_encoder_half_agrees() -> None:
    leaning = {Acuity.SELF_CARE: 0.6, Acuity.ROUTINE: 0.4, Acuity.URGENT: 0.0, Acuity.EMERGENCY: 0.0}
    triage = assess("my knee is a bit stiff", Encoder(leaning), drafted(Acuity.ROUTINE))
    assert (triage.acuity, triage.needs_person) == (Acuity.ROUTINE, False)


def test_the_model_alone_does_not_raise_by_one_step_against_a_sure_encoder() -> None:
    triage = assess("my knee is a bit stiff", Encoder(SURE[Acuity.SELF_CARE]), drafted(Acuity.ROUTINE))
    assert (triage.acuity, triage.needs_person) == (Acuity.SELF_CARE, False)


def test_the_model_alone_raises_where_the_encoder_is_away() -> None:
    assert assess("my knee is a bit stiff", Encoder(None), drafted(Acuity.ROUTINE)).acuity is Acuity.ROUTINE


def test_a_model_that_does_not_decide_raises_no_acuity_and_calls_a_person_today() -> None:
    model = drafted(Acuity.EMERGENCY)
    model.decides = False
    triage = assess("slept well", Encoder(SURE[Acuity.SELF_CARE]), model)
    assert (triage.acuity, triage.needs_person, triage.person_acuity) == (Acuity.SELF_CARE, True, Acuity.URGENT)
    assert assess("slept well", Encoder(None), model).acuity is Acuity.EMERGENCY


def test_nothing_reassuring_is_said_where_a_person_is_to_look_today() -> None:
    model = drafted(Acuity.EMERGENCY, "ice_knee", reply=ICE)
    model.decides = False
    triage = assess("my knee is swollen", Encoder(SURE[Acuity.SELF_CARE]), model)
    assert (triage.advice, triage.drafted) == ([], False)
    assert triage.reply == scripted("person_coming")


@pytest.mark.parametrize(("level", "soon"), [(Acuity.SELF_CARE, Acuity.ROUTINE), (Acuity.ROUTINE, Acuity.ROUTINE), (Acuity.URGENT, Acuity.URGENT)])
def test_an_unsure_model_calls_a_person_at_the_higher_acuity(level: Acuity, soon: Acuity) -> None:
    triage = assess("my knee is stiff", Encoder(SURE[Acuity.ROUTINE]), drafted(level, unsure=True))
    assert (triage.acuity, triage.needs_person, triage.person_acuity) == (Acuity.ROUTINE, True, soon)


def test_two_steps_apart_go_to_a_person_at_the_higher() -> None:
    triage = assess("slept well", Encoder(SURE[Acuity.SELF_CARE]), drafted(Acuity.EMERGENCY))
    assert (triage.acuity, triage.needs_person, triage.person_acuity) == (Acuity.EMERGENCY, True, Acuity.EMERGENCY)
    assert "disagree" in triage.person_reason


@pytest.mark.parametrize(("encoder", "model"), [(Encoder(None), drafted(Acuity.SELF_CARE)), (Encoder(SURE[Acuity.SELF_CARE]), Model(None))])
def test_a_layer_away_is_noted_and_goes_to_a_person(encoder: Encoder, model: Model) -> None:
    triage = assess("slept well", encoder, model)
    assert triage.needs_person
    assert any("away" in vote.note for vote in triage.votes)
    assert [vote.layer for vote in triage.votes] == [Layer.RULES, Layer.ENCODER, Layer.MODEL]


def test_a_report_in_a_language_that_the_encoder_does_not_know_goes_to_a_person() -> None:
    triage = assess("me duele un poco la rodilla", Encoder(SURE[Acuity.SELF_CARE], language="es"), drafted(Acuity.SELF_CARE))
    assert (triage.needs_person, triage.person_reason) == (True, "the encoder does not know the language of the report")


def test_danger_is_seen_with_encoder_and_model_away() -> None:
    triage = assess("crushing chest pain", Encoder(None), None)
    assert triage.acuity is Acuity.EMERGENCY
    assert triage.reply.startswith(knowledge().texts["emergency_warning"]["en"].split("{")[0])
    assert triage.advice == ["flag_sit_still"]


def test_the_encoder_leans_to_the_serious_side() -> None:
    split = {Acuity.SELF_CARE: 0.45, Acuity.ROUTINE: 0.1, Acuity.URGENT: 0.05, Acuity.EMERGENCY: 0.4}
    assert assess("it feels odd", Encoder(split), drafted(Acuity.URGENT)).acuity is Acuity.EMERGENCY


@pytest.mark.parametrize(
    ("emergency", "intents", "model", "decided"),
    [
        (0.4, (), drafted(Acuity.URGENT), Acuity.URGENT),
        (0.4, (), Model(None), Acuity.URGENT),
        (0.6, (), drafted(Acuity.URGENT), Acuity.EMERGENCY),
        (0.4, (), drafted(Acuity.EMERGENCY), Acuity.EMERGENCY),
        (0.4, (Intent.CRISIS,), drafted(Acuity.URGENT), Acuity.EMERGENCY),
    ],
)
def test_above_an_urgent_rule_the_encoder_alone_must_do_more_than_lean(
    emergency: float, intents: tuple[Intent, ...], model: Model, decided: Acuity
) -> None:  # fmt: skip
    text = "my calf is swollen, hot and sore"
    assert [hit.acuity for hit in check(text, KNEE)] == [Acuity.URGENT]
    split = {Acuity.SELF_CARE: 0.0, Acuity.ROUTINE: 0.0, Acuity.URGENT: 1 - emergency, Acuity.EMERGENCY: emergency}
    assert assess(text, Encoder(split, intents), model).acuity is decided


@pytest.mark.parametrize(("emergency", "decided"), [(0.25, Acuity.ROUTINE), (0.35, Acuity.EMERGENCY)])
def test_an_emergency_that_is_unlikely_and_that_no_rule_sees_calls_a_person_at_once_and_nobody_is_told_to_call_for_help(
    emergency: float, decided: Acuity
) -> None:  # fmt: skip
    split = {Acuity.SELF_CARE: 0.2, Acuity.ROUTINE: 0.8 - emergency, Acuity.URGENT: 0.0, Acuity.EMERGENCY: emergency}
    triage = assess("it feels odd", Encoder(split), Model(None))
    assert triage.acuity is decided
    assert (triage.needs_person, triage.person_acuity) == (True, Acuity.EMERGENCY)
    assert ("This may be an emergency" in triage.reply) is (decided is Acuity.EMERGENCY)
    assert ("I have asked a person from our team to contact you" in triage.reply) is (decided is Acuity.ROUTINE)


def test_thoughts_of_self_harm_get_the_crisis_words() -> None:
    triage = assess("what is the point of me", Encoder(SURE[Acuity.ROUTINE], (Intent.CRISIS,)), drafted(Acuity.URGENT))
    assert triage.acuity is Acuity.EMERGENCY
    assert "988" in triage.reply


def test_the_reply_holds_approved_texts_only_and_two_statements_at_most() -> None:
    model = drafted(Acuity.SELF_CARE, "ice_knee", "driving", "no_such_advice")
    triage = assess("my knee is swollen and stiff and sore", Encoder(SURE[Acuity.SELF_CARE]), model)
    assert 1 <= len(triage.advice) <= 2
    assert triage.advice[0] == "ice_knee"
    assert "no_such_advice" not in triage.advice
    for each in triage.advice:
        assert knowledge().advice[each].text in triage.reply
        assert triage.acuity in knowledge().advice[each].acuities


def test_words_of_the_model_that_the_advice_covers_are_sent() -> None:
    triage = assess("my knee is swollen", Encoder(SURE[Acuity.SELF_CARE]), drafted(Acuity.SELF_CARE, "ice_knee", reply=ICE))
    assert (triage.drafted, triage.rejected) == (True, [])
    assert triage.reply.endswith(ICE)


def test_words_of_the_model_that_nothing_covers_give_way_to_the_approved_statements() -> None:
    before = REGISTRY.get_sample_value("aftercare_guard_rejections_total", {"reason": "reassurance"}) or 0
    triage = assess("my knee is swollen", Encoder(SURE[Acuity.SELF_CARE]), drafted(Acuity.SELF_CARE, "ice_knee", reply="You are fine."))
    assert not triage.drafted
    assert "reassurance" in triage.rejected
    assert knowledge().advice["ice_knee"].text in triage.reply
    assert REGISTRY.get_sample_value("aftercare_guard_rejections_total", {"reason": "reassurance"}) == before + 1


def test_two_sms_segments_hold_the_whole_text_and_the_web_has_room() -> None:
    reply = f"We are sorry to hear that. {ICE}"
    assert segments(reply).segments == 2
    service = TriageService(Encoder(SURE[Acuity.ROUTINE]), drafted(Acuity.ROUTINE, "ice_knee", reply=reply), knowledge())
    told = Report(text="my knee is swollen", context=KNEE, understanding=None)
    assert service.assess(told, 8).rejected == ["too_long"]
    assert service.assess(told.model_copy(update={"channel": "web"}), 8).drafted


def test_the_evidence_shows_how_the_graph_leads_to_flag_and_advice() -> None:
    triage = assess("crushing chest pain", Encoder(SURE[Acuity.EMERGENCY]), drafted(Acuity.EMERGENCY))
    assert any("may raise the red flag" in sentence for sentence in triage.path)
    triage = assess("my knee is swollen", Encoder(SURE[Acuity.SELF_CARE]), drafted(Acuity.SELF_CARE, "ice_knee"))
    assert any("is answered by the advice" in sentence for sentence in triage.path)


def test_questions_are_those_whose_yes_would_raise_the_acuity() -> None:
    triage = assess("I feel dizzy", Encoder(SURE[Acuity.ROUTINE]), drafted(Acuity.ROUTINE))
    assert triage.questions
    assert all(knowledge().clarifiers[each].raises_to.rank > triage.acuity.rank for each in triage.questions)
    assert assess("crushing chest pain", Encoder(SURE[Acuity.EMERGENCY]), drafted(Acuity.EMERGENCY)).questions == []


def test_a_denied_symptom_is_no_symptom() -> None:
    assert "fever" not in assess("no fever today", Encoder(SURE[Acuity.SELF_CARE]), drafted(Acuity.SELF_CARE)).symptoms


def test_the_model_gets_five_seconds_or_what_is_left() -> None:
    model = drafted(Acuity.SELF_CARE)
    assess("slept well", Encoder(SURE[Acuity.SELF_CARE]), model, deadline_s=60)
    assert model.given_s == MODEL_DEADLINE_S
    assess("slept well", Encoder(SURE[Acuity.SELF_CARE]), model, deadline_s=2)
    assert model.given_s <= 2


def test_each_layer_gets_what_those_before_it_have_left_of_the_turn() -> None:
    now, given, model = [100.0], [], drafted(Acuity.SELF_CARE)

    class Hanging:
        def understand(self, text: str, deadline_s: float) -> Understanding:
            given.append(deadline_s)
            now[0] += max(0.0, deadline_s)
            raise UnderstandingUnavailable

        def alike(self, text: str, deadline_s: float) -> dict[str, float]:
            self.understand(text, deadline_s)
            return {}

    service = TriageService(Hanging(), model, knowledge(), lambda: now[0], likeness=Hanging())
    service.assess(Report(text="slept well", context=KNEE, understanding=None), 7)
    assert given == [ENCODER_DEADLINE_S, 0]
    assert model.given_s == 7 - ENCODER_DEADLINE_S


def test_neither_what_is_worked_out_here_nor_the_model_takes_of_the_encoders_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now, given, model = [100.0], [], drafted(Acuity.SELF_CARE)

    class Timed(Encoder):
        def understand(self, text: str, deadline_s: float) -> Understanding:
            given.append(deadline_s)
            now[0] += 0.5
            return super().understand(text, deadline_s)

        def alike(self, text: str, deadline_s: float) -> dict[str, float]:
            given.append(deadline_s)
            return {}

    def slow(text: str, context: PatientContext) -> list[RedFlagHit]:
        now[0] += 4.0
        return []

    monkeypatch.setattr("care.triage.service.check", slow)
    encoder = Timed(SURE[Acuity.ROUTINE])
    triage = TriageService(encoder, model, knowledge(), lambda: now[0], likeness=encoder).assess(Report(text="stiff", context=KNEE, understanding=None), 8)
    assert given == [ENCODER_DEADLINE_S, ENCODER_DEADLINE_S - 0.5]
    assert model.given_s == 8 - 4.5
    assert triage.acuity is Acuity.ROUTINE


@pytest.mark.parametrize("text", ["", "   ", "\u200f", "胸が痛い", "صدري يؤلمني"])
def test_what_the_rules_cannot_read_goes_to_a_person(text: str) -> None:
    triage = assess(text, Encoder(SURE[Acuity.SELF_CARE]), drafted(Acuity.SELF_CARE))
    assert triage.needs_person
    assert triage.acuity.rank >= Acuity.ROUTINE.rank


@settings(deadline=None)
@given(st.text(max_size=400))
def test_every_text_gets_a_decision_with_its_evidence(text: str) -> None:
    triage = assess(text, Encoder(SURE[Acuity.SELF_CARE]), drafted(Acuity.SELF_CARE))
    assert triage.reply
    assert set(triage.versions) == {"knowledge", "encoder", "model", "prompt"}


def turn(text: str, clarifying: Clarifying) -> Turn:
    context = DialogueContext(
        patient="p", first_name="Ana", clinic="Clinic", clinic_phone="555", channel="sms", consent="granted", clinical=KNEE, today=clarifying.day
    )  # fmt: skip
    message = {"text": text, "intent": {"name": "affirm"}, "metadata": {"context": context.model_dump(mode="json")}}
    return Turn(CollectingDispatcher(), Tracker("s", {"clarifying": clarifying.model_dump(mode="json")}, message, [], False, None, {}, "action_listen"))


def effects(of: Turn) -> list[dict[str, Any]]:
    return [message["custom"]["effect"] for message in of.dispatcher.messages if "effect" in message["custom"]]


def open_question(*questions: str) -> Clarifying:
    return Clarifying(report="I have a cough", acuity=Acuity.SELF_CARE, questions=list(questions), day=date(2026, 3, 2))


def of_level(level: Acuity) -> str:
    """A question whose yes means `level`, with a finding on which no rule fires."""
    return next(each.id for each in knowledge().clarifiers.values() if each.raises_to is level)


@pytest.mark.parametrize("level", [Acuity.URGENT, Acuity.EMERGENCY])
def test_a_yes_is_no_milder_than_what_its_question_raises_to(level: Acuity, monkeypatch: pytest.MonkeyPatch) -> None:
    blind = TriageService(Encoder(None), None, knowledge())
    monkeypatch.setattr(report, "triage_service", lambda: blind)
    monkeypatch.setattr("care.triage.service.check", lambda text, context: [])
    now = turn("yes", open_question(of_level(level)))
    slots = report.answer_clarifier(now)
    told, called = effects(now)
    assert told["triage"]["acuity"] == level
    assert (called["reason"], called["acuity"]) == (f"triage_{level}", level)
    assert "did not answer" in called["summary"]
    assert slots == {"clarifying": None, "paused": level is Acuity.EMERGENCY}


def test_after_a_yes_a_question_that_could_raise_further_is_still_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "triage_service", lambda: TriageService(Encoder(SURE[Acuity.ROUTINE]), None, knowledge()))
    monkeypatch.setattr("care.triage.service.check", lambda text, context: [])
    urgent, emergency = of_level(Acuity.URGENT), of_level(Acuity.EMERGENCY)
    slots = report.answer_clarifier(turn("yes", open_question(urgent, emergency)))
    assert slots is not None
    assert (slots["clarifying"]["questions"], slots["clarifying"]["acuity"]) == ([emergency], "urgent")


@pytest.mark.parametrize("level", [Acuity.URGENT, Acuity.EMERGENCY])
def test_not_knowing_calls_a_person_as_soon_as_silence_would(level: Acuity) -> None:
    now = turn("I don't know", open_question(of_level(level)))
    report.answer_clarifier(now)
    assert [each["acuity"] for each in effects(now)] == ["urgent" if level is Acuity.EMERGENCY else "routine"]
