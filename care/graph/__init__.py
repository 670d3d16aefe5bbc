"""The knowledge graph: symptoms, complications, procedures, medicines, red flags and advice, and what follows from how they relate.

Every query is deterministic and bounded by the size of the knowledge; symptom ids that the knowledge does not hold are passed over.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from functools import cache
from itertools import pairwise

import networkx as nx

from care.acuity import Acuity
from care.graph.build import build, graph
from care.graph.model import FittingAdvice, FittingComplication, Kind, Node, Relation, Step, TellingQuestion, UnknownNode
from care.graph.scoring import Scorer
from care.knowledge import knowledge
from care.knowledge.model import Advice, Complication
from care.lexicon import present_symptoms

__all__ = [
    "FittingAdvice",
    "FittingComplication",
    "Kind",
    "Node",
    "Relation",
    "Step",
    "TellingQuestion",
    "UnknownNode",
    "advice_for_findings",
    "best_question",
    "build",
    "complications_for",
    "explain",
    "graph",
    "questions_for",
]

_NOTHING_NEW = 1.0
"""The weight of "no complication", which those of the complications are relative to."""
_LEADING = 8
_LEAST_SCORE = 0.02
"""A complication below this does not lead: it prompts no question."""
_LEAST_GAIN = 0.005
"""Bits; a question that tells less is not worth asking."""
_OWN_PROTOCOL = 0.25
_MAX_STEPS = 12


def complications_for(
    findings: Collection[str], protocol: str | None = None, day: int | None = None, denied: Collection[str] = (), limit: int = 5
) -> list[FittingComplication]:
    """The complications that fit the findings (symptom ids), best first and of equal ones the most serious, at most `limit`; empty
    where none has a sign among them.

    score(c) = w(c) / (1 + sum of w over all that fit), with w(c) = prior(c, protocol, day) * product over signs of P(sign | c) / P(sign | nothing new);
    see `care.graph.scoring`. A common symptom, or one that the protocol expects on that day, so counts for little, and a rare one for much.
    """
    scorer = _scorer()
    told = scorer.told_apart(findings)
    fits = [(each, fit) for each in knowledge().complications.values() if (fit := scorer.fit(each, told, denied, protocol, day)).explained]
    total = _NOTHING_NEW + sum(fit.weight for _, fit in fits)
    fits.sort(key=lambda pair: (-round(pair[1].weight, 9), -pair[0].acuity.rank, pair[0].id))
    return [
        FittingComplication(
            id=each.id,
            name=each.name,
            acuity=each.acuity,
            score=fit.weight / total,
            signs=tuple(fit.explained),
            reason=f"{each.name}: " + ", ".join(f"{knowledge().symptoms[finding].name.lower()} ({sign or 'vague'})" for finding, sign in fit.explained.items()),
        )
        for each, fit in fits[:limit]
    ]


def best_question(
    findings: Collection[str], protocol: str | None = None, day: int | None = None, denied: Collection[str] = (), *, clarifiers_only: bool = False
) -> TellingQuestion | None:
    """The question of `questions_for` that tells most; None where none tells anything."""
    return next(iter(questions_for(findings, protocol, day, denied, clarifiers_only=clarifiers_only)), None)


def questions_for(
    findings: Collection[str],
    protocol: str | None = None,
    day: int | None = None,
    denied: Collection[str] = (),
    limit: int = 3,
    *,
    clarifiers_only: bool = False,
) -> list[TellingQuestion]:
    """The symptoms, not yet said or denied, whose asking is expected to tell most about the acuity, and then about the complication.

    With X the acuity (or the complication) over the leading hypotheses and "nothing new", and the answer a in {yes, no}, the expected gain is the
    mutual information I(X; a) = H(X) - sum over a of P(a) H(X | a), where P(yes | c) is the chance of the symptom under c and H is Shannon's entropy
    in bits (Shannon, A mathematical theory of communication, 1948). Questions are ordered by I(acuity; a), equal ones by I(complication; a).
    """
    scorer = _scorer()
    leading = [each for each in complications_for(findings, protocol, day, denied, _LEADING) if each.score >= _LEAST_SCORE]
    if not leading:
        return []
    told = scorer.told_apart(findings)
    calm = Acuity.SELF_CARE if all(scorer.expected(each, protocol, day) for each in told) else Acuity.ROUTINE
    known = knowledge().complications
    hypotheses: list[tuple[Complication | None, Acuity, float]] = [(known[each.id], each.acuity, each.score) for each in leading]
    hypotheses.append((None, calm, max(0.0, 1 - sum(each.score for each in leading))))
    clarifiers = _clarifiers(told)
    settled = {each for finding in told for each in scorer.broader(finding)}
    ruled_out = frozenset(denied)
    candidates = sorted({sign for each in leading for sign in known[each.id].symptoms} - settled)
    questions = []
    for symptom in candidates:
        if ruled_out.intersection(scorer.broader(symptom)) or (clarifiers_only and symptom not in clarifiers):
            continue
        chances = [scorer.chance(each, symptom, protocol, day) for each, _, _ in hypotheses]
        acuity_gain = _gain([(acuity.value, share, chance) for (_, acuity, share), chance in zip(hypotheses, chances, strict=True)])
        complication_gain = _gain([(each.id if each else "", share, chance) for (each, _, share), chance in zip(hypotheses, chances, strict=True)])
        if max(acuity_gain, complication_gain) >= _LEAST_GAIN:
            name = knowledge().symptoms[symptom].name
            questions.append(TellingQuestion(symptom, name, clarifiers.get(symptom), acuity_gain, complication_gain))
    questions.sort(key=lambda each: (-round(each.acuity_gain, 6), -round(each.complication_gain, 6), each.symptom))
    return questions[:limit]


def advice_for_findings(
    findings: Collection[str],
    protocol: str | None = None,
    day: int | None = None,
    acuity: Acuity | None = None,
    denied: Collection[str] = (),
    limit: int = 5,
) -> list[FittingAdvice]:
    """The statements linked to the findings or to the complications that fit them, best first, at most `limit`.

    A link from a finding counts 1, from the symptom it is a kind of a half, and so on; one from a complication counts its score; those of the
    protocol go before equal ones. What is `not_for` a finding, for another protocol, or (where `acuity` is given) not for that acuity is left out.
    """
    scorer = _scorer()
    told = scorer.told_apart(findings)
    leading = complications_for(findings, protocol, day, denied, _LEADING)
    plan = knowledge().protocols.get(protocol or "")
    fitting = []
    for advice in knowledge().advice.values():
        if not _allowed(advice, told, protocol, acuity):
            continue
        links = [(0.5**far, name) for finding in told for far, name in enumerate(scorer.broader(finding)) if name in advice.symptoms]
        links += [(each.score, each.id) for each in leading if advice.id in knowledge().complications[each.id].advice]
        if links:
            score = sum(weight for weight, _ in links) + (_OWN_PROTOCOL if plan is not None and advice.id in plan.advice else 0.0)
            fitting.append(FittingAdvice(advice.id, score, ", ".join(dict.fromkeys(name for _, name in sorted(links, reverse=True)))))
    fitting.sort(key=lambda each: (-each.score, each.id))
    return fitting[:limit]


def explain(source: Node | str, target: Node | str) -> list[Step]:
    """The shortest path between two nodes (`Node` or `kind:id`) as sentences; empty where they are one or too far apart. Raises `UnknownNode`."""
    start, end = _node(source), _node(target)
    try:
        path = nx.dijkstra_path(_undirected(), start, end, weight="length")
    except nx.NetworkXNoPath:
        return []
    return [] if len(path) > _MAX_STEPS else [_step(one, other) for one, other in pairwise(path)]


def _step(one: Node, other: Node) -> Step:
    source, target = (one, other) if graph().has_edge(one, other) else (other, one)
    relation: Relation = graph().edges[source, target]["relation"]
    return Step(source, relation, target, f"{graph().nodes[source]['label']} {relation} {graph().nodes[target]['label']}".rstrip(".") + ".")


def _node(named: Node | str) -> Node:
    if isinstance(named, str):
        kind, _, identifier = named.partition(":")
        if kind not in set(Kind):
            raise UnknownNode(named)
        named = Node(Kind(kind), identifier)
    if named not in graph():
        raise UnknownNode(named)
    return named


def _allowed(advice: Advice, findings: list[str], protocol: str | None, acuity: Acuity | None) -> bool:
    elsewhere = bool(advice.protocols) and protocol is not None and protocol not in advice.protocols
    return not elsewhere and not set(findings).intersection(advice.not_for) and (acuity is None or acuity in advice.acuities)


def _gain(hypotheses: list[tuple[str, float, float]]) -> float:
    """I(X; answer) for hypotheses given as (value of X, probability, P(yes))."""
    yes = sum(share * chance for _, share, chance in hypotheses)
    if not 0 < yes < 1:
        return 0.0
    if_yes = _entropy((value, share * chance / yes) for value, share, chance in hypotheses)
    if_no = _entropy((value, share * (1 - chance) / (1 - yes)) for value, share, chance in hypotheses)
    return max(0.0, _entropy((value, share) for value, share, _ in hypotheses) - yes * if_yes - (1 - yes) * if_no)


def _entropy(shares: Iterable[tuple[str, float]]) -> float:
    summed: dict[str, float] = {}
    for value, share in shares:
        summed[value] = summed.get(value, 0.0) + share
    return -sum(share * math.log2(share) for share in summed.values() if share > 0)


def _clarifiers(told: list[str]) -> dict[str, str]:
    """The clarifiers that fit the findings, by the symptoms that a yes to them brings."""
    broad = {each for finding in told for each in _scorer().broader(finding)}
    fitting = (each for each in knowledge().clarifiers.values() if broad.intersection(each.symptoms))
    return {symptom: each.id for each in fitting for symptom in _brought(each.finding)}


@cache
def _brought(finding: str) -> tuple[str, ...]:
    return tuple(present_symptoms(finding))


@cache
def _scorer() -> Scorer:
    return Scorer(knowledge())


@cache
def _undirected() -> nx.Graph[Node]:
    return graph().to_undirected(as_view=False)
