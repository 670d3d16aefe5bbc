"""The graph, built once from the reviewed knowledge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache

import networkx as nx

from care.graph.model import Kind, Node, Relation
from care.knowledge import Knowledge, knowledge
from care.knowledge.model import Sign

_Edge = tuple[Node, Relation, Node]
_FAR = {Relation.GIVEN_IN: 3.0, Relation.EXPECTS: 3.0, Relation.WATCHES: 3.0, Relation.COMES_AFTER: 2.0, Relation.FOLLOWED_UP: 2.0}
"""A protocol touches everything: a path through what is clinically closer explains more."""


@cache
def graph() -> nx.DiGraph[Node]:
    """The graph of this installation: nodes are `Node` with a `label`; edges have a `relation` and its `length` on a path."""
    return build(knowledge())


def build(known: Knowledge) -> nx.DiGraph[Node]:
    """The graph of `known`."""
    built: nx.DiGraph[Node] = nx.DiGraph(knowledge=known.version)
    for node, label in _nodes(known):
        built.add_node(node, label=label)
    for source, relation, target in _edges(known):
        built.add_edge(source, target, relation=relation, length=_FAR.get(relation, 1.0))
    return built


def _nodes(known: Knowledge) -> Iterator[tuple[Node, str]]:
    yield from ((Node(Kind.SYMPTOM, each.id), each.name) for each in known.symptoms.values())
    yield from ((Node(Kind.COMPLICATION, each.id), each.name) for each in known.complications.values())
    yield from ((Node(Kind.PROCEDURE, each.id), each.name) for each in known.procedures.values())
    yield from ((Node(Kind.PROTOCOL, each.id), f"follow-up: {each.name}") for each in known.protocols.values())
    yield from ((Node(Kind.MEDICINE, each.id), each.name) for each in known.medicines.values())
    yield from ((Node(Kind.RED_FLAG, each.id), each.reason) for each in known.red_flags.values())
    yield from ((Node(Kind.ADVICE, each.id), each.text) for each in known.advice.values())
    yield from ((Node(Kind.CLARIFIER, each.id), each.text["en"]) for each in known.clarifiers.values())


def _edges(known: Knowledge) -> Iterator[_Edge]:
    for symptom in known.symptoms.values():
        if symptom.broader:
            yield Node(Kind.SYMPTOM, symptom.id), Relation.KIND_OF, Node(Kind.SYMPTOM, symptom.broader)
    yield from _of_complications(known)
    yield from _of_medicines(known)
    for procedure in known.procedures.values():
        yield Node(Kind.PROCEDURE, procedure.id), Relation.FOLLOWED_UP, Node(Kind.PROTOCOL, procedure.protocol)
    for protocol in known.protocols.values():
        node = Node(Kind.PROTOCOL, protocol.id)
        yield from _to(node, Relation.EXPECTS, Kind.SYMPTOM, protocol.expected)
        yield from _to(node, Relation.WATCHES, Kind.RED_FLAG, protocol.red_flags)
        yield from _to(node, Relation.ANSWERED_BY, Kind.ADVICE, protocol.advice)
    for clarifier in known.clarifiers.values():
        yield from _to(Node(Kind.CLARIFIER, clarifier.id), Relation.ASKED_WITH, Kind.SYMPTOM, clarifier.symptoms)
    for flag in known.red_flags.values():
        node = Node(Kind.RED_FLAG, flag.id)
        yield from ((Node(Kind.SYMPTOM, each), Relation.RAISES, node) for each in flag.symptoms)
        yield from _to(node, Relation.ANSWERED_BY, Kind.ADVICE, flag.advice)
    for advice in known.advice.values():
        node = Node(Kind.ADVICE, advice.id)
        yield from ((Node(Kind.SYMPTOM, each), Relation.ANSWERED_BY, node) for each in advice.symptoms)
        for_everyone = known.protocols if not advice.symptoms and not advice.protocols else ()
        yield from ((Node(Kind.PROTOCOL, each), Relation.ANSWERED_BY, node) for each in (*advice.protocols, *for_everyone))


def _of_complications(known: Knowledge) -> Iterator[_Edge]:
    for complication in known.complications.values():
        node = Node(Kind.COMPLICATION, complication.id)
        for symptom, sign in complication.symptoms.items():
            yield Node(Kind.SYMPTOM, symptom), Relation.TYPICAL_SIGN if sign is Sign.TYPICAL else Relation.POSSIBLE_SIGN, node
        yield from _to(node, Relation.COMES_AFTER, Kind.PROTOCOL, complication.protocols)
        yield from _to(node, Relation.COMES_AFTER, Kind.PROCEDURE, complication.procedures)
        yield from ((Node(Kind.MEDICINE, each), Relation.MAY_CAUSE, node) for each in complication.medicines)
        yield from _to(node, Relation.RAISES, Kind.RED_FLAG, complication.red_flags)
        yield from _to(node, Relation.ANSWERED_BY, Kind.ADVICE, complication.advice)


def _of_medicines(known: Knowledge) -> Iterator[_Edge]:
    for medicine in known.medicines.values():
        node = Node(Kind.MEDICINE, medicine.id)
        yield from _to(node, Relation.MAY_CAUSE, Kind.SYMPTOM, medicine.common)
        yield from _to(node, Relation.DANGER_IN, Kind.SYMPTOM, medicine.dangerous)
        yield from _to(node, Relation.GIVEN_IN, Kind.PROTOCOL, medicine.protocols)


def _to(source: Node, relation: Relation, kind: Kind, targets: Iterable[str]) -> Iterator[_Edge]:
    return ((source, relation, Node(kind, each)) for each in targets)
