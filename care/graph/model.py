"""The types of the knowledge graph: its nodes, how they relate, and what its queries answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from care.acuity import Acuity


class Kind(StrEnum):
    """What a node is; an id is unique within its kind only."""

    SYMPTOM = "symptom"
    COMPLICATION = "complication"
    PROCEDURE = "procedure"
    PROTOCOL = "protocol"
    MEDICINE = "medicine"
    RED_FLAG = "red_flag"
    ADVICE = "advice"
    CLARIFIER = "clarifier"


class Relation(StrEnum):
    """How one node relates to another, as the verb of a sentence from the one to the other."""

    KIND_OF = "is a kind of"
    TYPICAL_SIGN = "is a typical sign of"
    POSSIBLE_SIGN = "is a possible sign of"
    COMES_AFTER = "may come after"
    FOLLOWED_UP = "is followed up by"
    GIVEN_IN = "is given during"
    MAY_CAUSE = "may cause"
    DANGER_IN = "has as a dangerous side effect"
    EXPECTS = "expects as part of recovery"
    WATCHES = "watches for"
    ASKED_WITH = "is asked with"
    RAISES = "may raise the red flag"
    ANSWERED_BY = "is answered by the advice"


@dataclass(frozen=True, order=True)
class Node:
    """A node of the graph; as text `kind:id`."""

    kind: Kind
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


class UnknownNode(Exception):
    """A node was asked for that the knowledge does not hold."""

    def __init__(self, node: Node | str) -> None:
        super().__init__(f"{node} is no node of the knowledge graph; give kind:id, such as symptom:calf_pain")
        self.node = str(node)


@dataclass(frozen=True)
class FittingComplication:
    """A complication that fits the findings. `score` is its share among all that fit and "nothing new": a rank, not a measured risk."""

    id: str
    name: str
    acuity: Acuity
    score: float
    signs: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class TellingQuestion:
    """The symptom to ask about next, with its clarifier where there is one, and what the answer is expected to tell, in bits."""

    symptom: str
    name: str
    clarifier: str | None
    acuity_gain: float
    complication_gain: float


@dataclass(frozen=True)
class FittingAdvice:
    """A statement that fits the findings, and why."""

    id: str
    score: float
    reason: str


@dataclass(frozen=True)
class Step:
    """One edge of an explaining path, as a sentence."""

    source: Node
    relation: Relation
    target: Node
    text: str
