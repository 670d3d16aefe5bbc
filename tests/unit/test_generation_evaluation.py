"""`aftercare eval generation`: each layer counts as it voted, left out it has no say, and the figures are the shares they say."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from aftercare.bench.generation import CONCURRENCIES, through_client
from aftercare.evaluation import decisions as evaluation
from aftercare.evaluation import generation
from aftercare.evaluation.ablation import WAYS, Said, by_graph, decide, decisions, leaning_encoder
from aftercare.evaluation.cases import Case, CasesInvalid
from care.acuity import Acuity
from care.knowledge import knowledge
from care.triage.model import DraftUnavailable, PatientContext, Report, TriageDraft
from care.triage.request import request_for
from care.triage.service import TriageService
from care.understanding import Understanding, UnderstandingUnavailable
from generation import REFERENCE_MODEL
from generation.client import Timeouts, VllmDrafter
from tests.integration.drafts import drafter, serving

BARE = PatientContext()


def heard(encoder: Acuity, model: Acuity | None, graphless: Acuity | None = None) -> Said:
    def draft(acuity: Acuity) -> TriageDraft:
        advice, reply = (["ice_knee"], "") if acuity is Acuity.ROUTINE else ([], "")
        return TriageDraft(
            acuity=acuity, unsure=False, red_flags=[], findings=[], denied=[], questions=[], advice=advice, reply=reply, rationale=""
        )  # fmt: skip

    understanding = Understanding(text="", intents=[], spans=[], acuity={encoder: 1.0}, called=encoder, version="e1")
    return Said(understanding, draft(model) if model else None, draft(graphless or model) if model else None, 0.1, "" if model else "not in the schema (x)")


def test_each_layer_counts_as_it_voted_and_has_no_say_where_it_is_left_out() -> None:
    said = heard(Acuity.SELF_CARE, Acuity.URGENT, Acuity.SELF_CARE)
    made = decisions("crushing chest pain", BARE, said, ("m1", "2"))
    assert tuple(made) == WAYS
    assert made["rules alone"] is made["all layers"] is made["without model"] is Acuity.EMERGENCY
    assert made["without rules"] is made["model alone"] is Acuity.URGENT
    calm = decisions("I slept well", BARE, said, ("m1", "2"))
    assert (calm["all layers"], calm["without model"], calm["without graph"]) == (Acuity.URGENT, Acuity.SELF_CARE, Acuity.SELF_CARE)
    assert calm["rules alone"] is calm["encoder alone"] is Acuity.SELF_CARE


def test_a_model_that_does_not_decide_decides_nothing_without_the_rules_either() -> None:
    said = heard(Acuity.SELF_CARE, Acuity.URGENT)
    assert decisions("crushing chest pain", BARE, said, (f"{REFERENCE_MODEL}@1a2b3c4d", "2"))["without rules"] is Acuity.SELF_CARE


def test_the_encoder_leans_as_far_as_it_must_to_find_as_many_emergencies() -> None:
    def leaning(share: float) -> Said:
        understanding = Understanding(text="", intents=[], spans=[], acuity={Acuity.EMERGENCY: share}, called=Acuity.SELF_CARE, version="e1")
        return Said(understanding, None, None, 0.0)

    said = [leaning(share) for share in (0.3, 0.2, 0.1, 0.15, 0.05)]
    votes, emergencies = [Acuity.EMERGENCY, *[Acuity.ROUTINE] * 4], [True, True, True, False, False]
    called = [[each is Acuity.EMERGENCY for each in leaning_encoder(said, votes, emergencies, found)] for found in (0, 1, 2, 3)]
    assert called == [[True, *[False] * 4], [True, *[False] * 4], [True, True, *[False] * 3], [True, True, True, True, False]]


def test_advice_is_found_by_likeness_as_in_the_service() -> None:
    said, text = heard(Acuity.ROUTINE, None), "may I splash about"
    alike = {each: 0.9 if each == "wound_no_soak" else 0.0 for each in knowledge().advice}
    assert "wound_no_soak" not in decide(text, BARE, said, ("m1", "2")).advice
    assert "wound_no_soak" in decide(text, BARE, replace(said, alike=alike), ("m1", "2")).advice


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        ({"finish_reason": "length", "text": '{"acuity":"rou'}, True),
        ({"finish_reason": "stop", "text": "I am well"}, True),
        ({"finish_reason": "stop", "text": "x" * 200_000}, True),
        (None, False),
    ],
)
def test_an_answer_that_was_cut_off_is_one_out_of_the_schema(answer: dict[str, str] | None, counts: bool) -> None:
    told = {"model": "m", "choices": [answer], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    client = drafter(lambda _: httpx.Response(200, json=told) if answer else httpx.Response(503))
    with pytest.raises(DraftUnavailable) as failed:
        client.draft(request_for(Report(text="my knee hurts", context=BARE, understanding=None)), 5.0)
    client.close()
    assert generation.is_answer(failed.value.reason) is counts


def test_the_bench_has_as_many_under_way_through_the_client_as_bare() -> None:
    most = max(CONCURRENCIES)
    all_there = threading.Barrier(most)
    draft = heard(Acuity.ROUTINE, Acuity.ROUTINE).draft
    assert draft is not None
    answer = {"model": "m", "choices": [{"finish_reason": "stop", "text": draft.model_dump_json()}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}

    def answered(_: httpx.Request) -> httpx.Response:
        all_there.wait(20)
        return httpx.Response(200, json=answer)

    client = VllmDrafter(serving(answered), timeouts=Timeouts(answer_s=60))
    request = request_for(Report(text="my knee hurts", context=BARE, understanding=None))
    with ThreadPoolExecutor(most) as pool:
        made = list(pool.map(lambda call: call(), through_client(client, [request] * most)))
    client.close()
    assert len(made) == most


def test_the_graph_alone_says_what_its_complications_do() -> None:
    assert by_graph("all good today", BARE) is Acuity.SELF_CARE
    assert by_graph("my calf is swollen and sore", PatientContext(protocol="knee_replacement", day=5)).rank >= Acuity.ROUTINE.rank


def test_the_report_counts_answers_advice_and_every_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def case(name: str, text: str, *right: Acuity) -> Case:
        return Case(name, text, frozenset(right), right[0].value if right else "", frozenset(), BARE)

    cases = [case("1", "crushing chest pain", Acuity.EMERGENCY), case("2", "I slept well", Acuity.SELF_CARE), case("3", "a bit sore", Acuity.ROUTINE)]
    answers = [heard(Acuity.EMERGENCY, Acuity.EMERGENCY), heard(Acuity.SELF_CARE, None), *[heard(Acuity.ROUTINE, Acuity.ROUTINE)] * 2]
    monkeypatch.setattr(generation, "ask_all", lambda asked: (answers[: len(asked)], ("m1", "2")))
    report = generation.report_on(cases, "three", [(case("a", "my knee is swollen"), frozenset({"ice_knee"}))])
    assert report.schema_valid == pytest.approx(2 / 3)
    assert report.unanswered == {"not in the schema (x)": 1}
    assert report.ways["all layers"].accuracy == 1.0
    assert report.ways["model alone"].sensitivity == 1.0
    assert report.advice["drafted"].precision == report.advice["drafted"].recall == 1.0
    page = generation.page(report)
    assert all(way in page for way in WAYS)
    assert "answers in the schema" in page


def test_decisions_made_without_a_layer_are_counted_and_give_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Away:
        def understand(self, text: str, deadline_s: float) -> Understanding:
            order.append("asked")
            raise UnderstandingUnavailable

    monkeypatch.setattr(evaluation, "make_ready", lambda: order.append("ready"))
    monkeypatch.setattr(evaluation, "build_triage", lambda _: TriageService(Away(), None, knowledge()))
    with pytest.raises(evaluation.LayerAway, match="encoder away: UnderstandingUnavailable, 2 times"):
        evaluation.decide_all([Case(name, "slept well", frozenset(), "", frozenset(), BARE) for name in "ab"])
    assert order == ["ready", "asked", "asked"]


def test_a_broken_line_of_labelled_advice_is_said(tmp_path: Path) -> None:
    file = tmp_path / "advice.jsonl"
    file.write_text(json.dumps({"id": "a", "text": "can I swim", "advice": ["shower"]}) + "\n" + json.dumps({"id": "b", "text": "x"}))
    with pytest.raises(CasesInvalid, match="line 2: 'advice'"):
        generation.read_advice(file)
