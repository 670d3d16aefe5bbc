"""What a triage shows of its way: how the graph leads from what the patient has to what was decided and said."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from care.graph import Kind, Node, UnknownNode, explain

_MOST_SENTENCES = 8
_MOST_STEPS = 3
"""A longer way explains nothing."""


def path(symptoms: Sequence[str], red_flags: Sequence[str], advice: Sequence[str]) -> list[str]:
    """The shortest ways from a symptom to each red flag and each statement, as sentences, each once; at most eight."""
    targets = [*(Node(Kind.RED_FLAG, each) for each in red_flags), *(Node(Kind.ADVICE, each) for each in advice)]
    ways = (min((way for symptom in symptoms if (way := _way(Node(Kind.SYMPTOM, symptom), target))), key=len, default=()) for target in targets)
    return list(dict.fromkeys(sentence for way in ways for sentence in way))[:_MOST_SENTENCES]


@lru_cache(4096)
def _way(source: Node, target: Node) -> tuple[str, ...]:
    try:
        steps = explain(source, target)
    except UnknownNode:
        return ()
    return tuple(step.text for step in steps) if len(steps) <= _MOST_STEPS else ()
