"""From a score a tag and word to spans: the best sequence in which no span continues that did not begin."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from care.understanding import SpanLabel
from nlu.labels import tag_of
from nlu.tokens import Tokenised

_NEVER = -1e9


@cache
def _allowed(tags: int) -> Any:
    """`(from, to)`: 0 where a tag may follow another, else a forbidding score. Odd tags begin a span, the even ones after them continue it."""
    scores = np.zeros((tags, tags))
    for inside in range(2, tags, 2):
        scores[:, inside] = _NEVER
        scores[[inside - 1, inside], inside] = 0.0
    return scores


def transitions_of(sequences: Iterable[list[int]], tags: int) -> Any:
    """`(from, to)`: how much more often than by chance a tag follows another in `sequences`, as a logarithm; rare pairs count as rare, not as none."""
    pairs, alone = np.full((tags, tags), 0.5), np.ones(tags)
    for sequence in sequences:
        for before, after in pairwise([0, *sequence]):
            pairs[before, after] += 1
            alone[after] += 1
    return np.log(pairs / pairs.sum(axis=1, keepdims=True)) - np.log(alone / alone.sum())


def best_tags(scores: Any, transitions: Any) -> list[int]:
    """The best allowed tag sequence for `(words, tags)` log probabilities (Viterbi), pairs weighed by `transitions`."""
    steps, tags = scores.shape
    allowed = _allowed(tags) + transitions
    best = scores[0].astype(float) + allowed[0]
    back = np.zeros((steps, tags), dtype=int)
    for step in range(1, steps):
        reached = best[:, None] + allowed
        back[step] = reached.argmax(0)
        best = reached.max(0) + scores[step]
    path = [int(best.argmax())]
    for step in range(steps - 1, 0, -1):
        path.append(int(back[step, path[-1]]))
    return path[::-1]


def spans_of(tokens: Tokenised, words: list[int], tags: list[int], labels: list[SpanLabel]) -> list[tuple[SpanLabel, int, int, list[int]]]:
    """Spans as (label, start, end, numbers of their words); `words` are the tokens that begin one, `tags` theirs."""
    ends = {}
    for number, begin in enumerate(words):
        until = words[number + 1] if number + 1 < len(words) else len(tokens.places)
        ends[number] = max(place[1] for place in tokens.places[begin:until] if place is not None)
    found: list[tuple[SpanLabel, int, int, list[int]]] = []
    for number, tag in enumerate(tags):
        place = tokens.places[words[number]]
        if not tag or place is None:
            continue
        index = (tag - 1) // 2
        if tag == tag_of(index, begins=True):
            found.append((labels[index], place[0], ends[number], [number]))
        else:
            label, start, _, inside = found[-1]
            found[-1] = (label, start, ends[number], [*inside, number])
    return found
