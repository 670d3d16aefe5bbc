"""The knowledge graph is whole, ranks as a clinician would, asks what tells most, and explains itself."""

from __future__ import annotations

import time
from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from care.acuity import Acuity
from care.graph import (
    Kind,
    Node,
    Relation,
    UnknownNode,
    advice_for_findings,
    best_question,
    complications_for,
    explain,
    graph,
    questions_for,
)
from care.knowledge import knowledge
from care.lexicon import present_symptoms

LONGEST_S = 1.0
SYMPTOMS = sorted(knowledge().symptoms)
PROTOCOLS = sorted(knowledge().protocols)


def test_the_graph_is_as_large_as_promised() -> None:
    assert len(knowledge().symptoms) + len(knowledge().complications) >= 250
    assert len(knowledge().medicines) >= 60
    assert set(knowledge().protocols) == {each.protocol for each in knowledge().procedures.values()} | {
        "anticoagulant",
        "diabetes",
        "hospital_stay",
        "hypertension",
        "pneumonia",
    }


def test_no_node_stands_alone() -> None:
    assert [str(node) for node in graph() if graph().degree(node) == 0] == []
    assert nx.is_weakly_connected(graph())


def test_no_symptom_is_a_kind_of_itself() -> None:
    kinds = [(source, target) for source, target, relation in graph().edges(data="relation") if relation is Relation.KIND_OF]
    assert nx.is_directed_acyclic_graph(nx.DiGraph(kinds))


def test_every_complication_has_a_typical_sign_and_comes_after_something() -> None:
    for each in knowledge().complications.values():
        relations = {relation for _, _, relation in graph().in_edges(Node(Kind.COMPLICATION, each.id), data="relation")}
        assert Relation.TYPICAL_SIGN in relations, each.id
        assert each.protocols, each.id
        assert all(0 <= first <= last for first, last in each.protocols.values()), each.id


def test_every_symptom_leads_to_a_complication_red_flag_or_advice() -> None:
    ends = {Kind.COMPLICATION, Kind.RED_FLAG, Kind.ADVICE}
    for symptom in SYMPTOMS:
        assert any(node.kind in ends for node in nx.descendants(graph(), Node(Kind.SYMPTOM, symptom))), symptom


OF_NO_COMPLICATION = {"newborn_unwell": "the baby is ill, not the mother whose complications these are"}


def test_every_red_flag_is_raised_by_a_complication() -> None:
    raised = {flag for each in knowledge().complications.values() for flag in each.red_flags}
    assert set(knowledge().red_flags) - raised == set(OF_NO_COMPLICATION)


def test_a_protocol_watches_every_red_flag_that_speaks_of_it() -> None:
    rules = knowledge().rules.rules
    named = {(protocol, rule.flag.id) for rule in rules for pattern in rule.when for protocol in pattern.protocols}
    assert [(protocol, flag) for protocol, flag in sorted(named) if flag not in knowledge().protocols[protocol].red_flags] == []


def test_every_clarifier_brings_a_symptom() -> None:
    assert [each.id for each in knowledge().clarifiers.values() if not present_symptoms(each.finding)] == []


CASES = [
    ("calf_pain one_leg_swelling", "knee_replacement", 5, "deep_vein_thrombosis"),
    ("calf_pain leg_swelling", "knee_replacement", 5, "deep_vein_thrombosis"),
    ("breathlessness painful_breathing", "hip_replacement", 12, "pulmonary_embolism"),
    ("leg_shorter hip_pain cant_bear_weight", "hip_replacement", 20, "hip_dislocation"),
    ("hot_joint joint_swelling fever", "knee_replacement", 30, "prosthetic_joint_infection"),
    ("constipation bloating", "knee_replacement", 4, "opioid_constipation"),
    ("wound_redness wound_pus fever", "abdominal_surgery", 8, "surgical_site_infection"),
    ("no_gas vomiting belly_pain bloating", "abdominal_surgery", 6, "bowel_obstruction"),
    ("yellow_skin right_rib_pain", "abdominal_surgery", 6, "bile_leak"),
    ("chest_pain sweating arm_jaw_pain", "cardiac_surgery", 20, "heart_attack"),
    ("breastbone_clicking chest_wound_pain", "cardiac_surgery", 14, "sternal_instability"),
    ("irregular_heartbeat", "cardiac_surgery", 6, "atrial_fibrillation"),
    ("weight_gain leg_swelling breathless_lying", "heart_failure", 10, "heart_failure_decompensation"),
    ("breathless_rest pink_froth", "heart_failure", 10, "pulmonary_oedema"),
    ("headache flashing_lights", "caesarean_birth", 5, "preeclampsia"),
    ("headache flashing_lights", "vaginal_birth", 3, "preeclampsia"),
    ("heavy_vaginal_bleeding passing_clots dizziness", "vaginal_birth", 8, "late_postpartum_bleeding"),
    ("breast_redness breast_pain fever", "vaginal_birth", 14, "mastitis"),
    ("fever vaginal_discharge lower_belly_pain", "caesarean_birth", 6, "womb_infection"),
    ("hallucinations harm_baby_thoughts", "vaginal_birth", 10, "postpartum_psychosis"),
    ("low_mood no_interest bonding_trouble", "caesarean_birth", 40, "postnatal_depression"),
    ("postural_headache neck_pain", "caesarean_birth", 3, "spinal_headache"),
    ("coloured_sputum breathlessness wheeze", "copd", 15, "copd_exacerbation"),
    ("drowsiness blue_lips confusion", "copd", 15, "respiratory_failure"),
    ("wheeze night_cough", "child_asthma", 10, "asthma_attack"),
    ("ribs_sucking_in inhaler_not_helping", "child_asthma", 3, "severe_asthma_attack"),
    ("low_sugar shaking sweating", "diabetes", 20, "hypoglycaemia"),
    ("vomiting high_sugar fruity_breath", "diabetes", 20, "diabetic_ketoacidosis"),
    ("foot_sore wound_smell", "diabetes", 30, "diabetic_foot"),
    ("cough", "hypertension", 30, "ace_cough"),
    ("face_swelling", "hypertension", 15, "angioedema"),
    ("fever chills", "chemotherapy", 10, "neutropenic_sepsis"),
    ("mouth_sores", "chemotherapy", 9, "mucositis"),
    ("saddle_numbness leg_weakness", "chemotherapy", 30, "spinal_cord_compression"),
    ("face_droop speech_trouble", "stroke", 20, "ischaemic_stroke"),
    ("choking cough fever", "stroke", 20, "aspiration"),
    ("fever cough coloured_sputum", "pneumonia", 12, "pneumonia"),
    ("black_stool dizziness", "anticoagulant", 30, "stomach_bleed"),
    ("head_injury headache drowsiness", "anticoagulant", 40, "bleeding_in_the_head"),
    ("nosebleed gum_bleeding", "anticoagulant", 20, "minor_bleeding"),
]


@pytest.mark.parametrize(("findings", "protocol", "day", "wanted"), CASES)
def test_findings_lead_to_the_complication_that_a_clinician_would_think_of_first(findings: str, protocol: str, day: int, wanted: str) -> None:
    ranked = complications_for(findings.split(), protocol, day)
    assert ranked[0].id == wanted
    assert set(ranked[0].signs) <= set(findings.split())


def test_normal_recovery_does_not_look_like_a_complication() -> None:
    ranked = complications_for(["knee_pain", "swelling", "bruising", "tiredness"], "knee_replacement", 4)
    assert sum(each.score for each in ranked) < 0.5


def test_a_denied_sign_and_the_wrong_time_lower_a_complication() -> None:
    def score(findings: list[str], protocol: str, day: int, denied: list[str] | None = None) -> float:
        ranked = complications_for(findings, protocol, day, denied or [], limit=200)
        return next(each.score for each in ranked if each.id == "deep_vein_thrombosis")

    said = score(["calf_pain"], "knee_replacement", 5)
    assert score(["calf_pain"], "knee_replacement", 5, ["leg_swelling"]) < said
    assert score(["calf_pain"], "knee_replacement", 200) < said
    assert score(["calf_pain"], "child_asthma", 5) < said


@pytest.mark.parametrize(
    ("findings", "protocol", "day", "telling"),
    [
        ("headache flashing_lights", "caesarean_birth", 5, {"high_blood_pressure", "right_rib_pain"}),
        ("burning_urine frequent_urination", "caesarean_birth", 9, {"flank_pain", "fever"}),
        ("calf_pain", "knee_replacement", 5, {"one_leg_swelling", "leg_swelling", "painful_breathing"}),
        ("head_injury headache", "anticoagulant", 40, {"worst_headache", "confusion", "vomiting", "drowsiness"}),
        ("mouth_sores", "chemotherapy", 9, {"fever", "chills"}),
    ],
)
def test_the_best_question_is_one_that_changes_what_is_done(findings: str, protocol: str, day: int, telling: set[str]) -> None:
    question = best_question(findings.split(), protocol, day)
    assert question is not None
    assert question.symptom in telling
    assert question.acuity_gain > 0


def test_nothing_is_asked_twice_or_where_there_is_nothing_to_tell_apart() -> None:
    denied = ["fever", "high_blood_pressure"]
    asked = {each.symptom for each in questions_for(["headache", "flashing_lights"], "vaginal_birth", 4, denied, limit=99)}
    assert asked
    assert not asked & {"headache", "flashing_lights", *denied}
    assert best_question([], "vaginal_birth", 4) is None


def test_a_clarifier_is_named_where_there_is_one() -> None:
    question = best_question(["calf_pain"], "knee_replacement", 5, clarifiers_only=True)
    assert question is not None
    assert question.clarifier == "leg_one_sided"


def test_advice_fits_the_findings_the_protocol_and_the_acuity() -> None:
    offered = advice_for_findings(["constipation"], "knee_replacement", 4, Acuity.SELF_CARE)
    assert {"constipation_fluids", "opioid_bowels"} <= {each.id for each in offered}
    for each in offered:
        advice = knowledge().advice[each.id]
        assert Acuity.SELF_CARE in advice.acuities
        assert not advice.protocols or "knee_replacement" in advice.protocols


def test_advice_that_is_not_for_a_finding_is_never_offered() -> None:
    barred = [(advice, finding) for advice in knowledge().advice.values() for finding in advice.not_for if finding in knowledge().symptoms and advice.symptoms]
    assert barred
    for advice, finding in barred:
        assert advice.id not in {each.id for each in advice_for_findings([*advice.symptoms, finding], limit=500)}


def test_a_path_explains_in_sentences() -> None:
    steps = explain("symptom:calf_pain", "red_flag:suspected_clot_leg")
    assert steps
    assert steps[-1].target == Node(Kind.RED_FLAG, "suspected_clot_leg")
    assert steps[0].text.startswith("Calf pain is a typical sign of") or steps[0].relation is Relation.RAISES
    assert [each.text for each in explain(Node(Kind.MEDICINE, "lisinopril"), "symptom:face_swelling")] == [
        "Lisinopril has as a dangerous side effect Swelling of face or mouth."
    ]
    assert explain("symptom:fever", "symptom:fever") == []


@pytest.mark.parametrize("unknown", ["calf_pain", "symptom:nonsense", "", "medicine:"])
def test_an_unknown_node_says_so(unknown: str) -> None:
    with pytest.raises(UnknownNode, match="no node"):
        explain(unknown, "symptom:fever")


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([*SYMPTOMS, "no_such_symptom"]), max_size=40),
    st.lists(st.sampled_from(SYMPTOMS), max_size=10),
    st.sampled_from([None, "no_such_protocol", *PROTOCOLS]),
    st.none() | st.integers(-5, 4_000),
)
def test_any_findings_get_an_answer_in_time_and_always_the_same(findings: list[str], denied: list[str], protocol: str | None, day: int | None) -> None:
    began = time.process_time()
    ranked = complications_for(findings, protocol, day, denied)
    asked = questions_for(findings, protocol, day, denied)
    offered = advice_for_findings(findings, protocol, day, denied=denied)
    assert time.process_time() - began < LONGEST_S
    assert all(0 < each.score <= 1 for each in ranked)
    assert sum(each.score for each in ranked) <= 1 + 1e-9
    assert all(first.score >= second.score - 1e-12 for first, second in pairwise(ranked))
    again = list(reversed(findings))
    assert (ranked, asked, offered) == (
        complications_for(again, protocol, day, denied),
        questions_for(again, protocol, day, denied),
        advice_for_findings(again, protocol, day, denied=denied),
    )
