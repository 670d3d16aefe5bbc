"""The labels of messages as tensors, and the loss of a network's outputs against them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from care.acuity import Acuity
from care.understanding import Intent, SpanLabel, SymptomStatus
from nlu.calibrate import level_probabilities
from nlu.corpus import Example, Task
from nlu.labels import tag_of
from nlu.model import Logits
from nlu.recipe import Recipe
from nlu.tokens import Tokenised

INTENTS, ACUITIES, SPANS, STATUSES = list(Intent), list(Acuity), list(SpanLabel), list(SymptomStatus)
IGNORED = -100


@dataclass(frozen=True)
class Targets:
    """What the heads should say for a batch: `(texts, intents)`, `(texts,)`, `(texts, tokens)` twice.

    Only the first token of a word has a tag, and only in a symptom a status; the others are ignored. `intents_known` and
    `acuity_known` are 1 where the text's label is.
    """

    intents: Any
    acuity: Any
    intents_known: Any
    acuity_known: Any
    tags: Any
    statuses: Any


def targets_of(examples: list[Example], tokenised: list[Tokenised]) -> Targets:
    """The labels of the examples as tensors."""
    longest = max(len(tokens.ids) for tokens in tokenised)
    intents = torch.zeros(len(examples), len(INTENTS))
    tags = torch.full((len(examples), longest), IGNORED)
    statuses = torch.full((len(examples), longest), IGNORED)
    for row, (example, tokens) in enumerate(zip(examples, tokenised, strict=True)):
        for intent in example.intents:
            intents[row, INTENTS.index(intent)] = 1
        if Task.SPANS not in example.known:
            continue
        begun: set[int] = set()
        for column, (place, first) in enumerate(zip(tokens.places, tokens.first, strict=True)):
            if place is None or not first:
                continue
            inside = next((number for number, span in enumerate(example.spans) if span.start < place[1] and place[0] < span.end), None)
            if inside is None:
                tags[row, column] = 0
                continue
            span = example.spans[inside]
            tags[row, column] = tag_of(SPANS.index(span.label), begins=inside not in begun)
            begun.add(inside)
            if span.status is not None:
                statuses[row, column] = STATUSES.index(span.status)
    acuity = torch.tensor([ACUITIES.index(example.acuity) for example in examples])
    intents_known, acuity_known = (torch.tensor([float(task in example.known) for example in examples]) for task in (Task.INTENTS, Task.ACUITY))
    return Targets(intents, acuity, intents_known, acuity_known, tags, statuses)


class Loss:
    """The weighted sum of the four tasks' losses, rare classes weighing more as the recipe says."""

    def __init__(self, recipe: Recipe, examples: list[Example]) -> None:
        self._weights = recipe.loss
        rare = recipe.class_weights
        intents = Counter(intent for example in examples for intent in example.intents)
        shares = [max(1, intents[intent]) / len(examples) for intent in INTENTS]
        self._positive = torch.tensor([((1 - share) / share) ** rare.intents for share in shares])
        levels = Counter(example.acuity for example in examples)
        balance = torch.tensor([(max(1, levels[level]) / len(examples)) ** -rare.acuity for level in ACUITIES])
        shared = torch.tensor([levels[level] / len(examples) for level in ACUITIES])
        self._balance = balance / (balance * shared).sum()
        self._tags = torch.tensor([1.0] + [rare.inside_spans] * (2 * len(SPANS)))

    def __call__(self, logits: Logits, targets: Targets) -> Any:
        """The loss of a batch."""
        weights = self._weights
        known = targets.acuity_known * self._balance[targets.acuity]
        above = (targets.acuity[:, None] > torch.arange(len(ACUITIES) - 1)).float()
        ordinal = nn.functional.binary_cross_entropy_with_logits(logits.acuity, above, reduction="none").sum(1)
        levels = nn.functional.nll_loss(level_probabilities(logits.acuity).clamp(min=1e-6).log(), targets.acuity, reduction="none")
        intents = nn.functional.binary_cross_entropy_with_logits(logits.intents, targets.intents, pos_weight=self._positive, reduction="none").mean(1)
        total = weights.intents * (intents * targets.intents_known).sum() / targets.intents_known.sum().clamp(min=1)
        total = total + weights.acuity * ((ordinal + levels) / 2 * known).sum() / known.sum().clamp(min=1)
        if (targets.tags != IGNORED).any():
            total = total + weights.spans * nn.functional.cross_entropy(logits.tags.flatten(0, 1), targets.tags.flatten(), self._tags, ignore_index=IGNORED)
        if (targets.statuses != IGNORED).any():
            total = total + weights.statuses * nn.functional.cross_entropy(logits.statuses.flatten(0, 1), targets.statuses.flatten(), ignore_index=IGNORED)
        return total


def disagreement(one: Logits, other: Logits) -> Any:
    """How far two outputs for the same messages are apart (R-Drop): symmetric divergence of intents and tags, distance of acuity."""
    tags = [torch.log_softmax(logits.tags, dim=-1) for logits in (one, other)]
    spans = sum(nn.functional.kl_div(a, b, reduction="batchmean", log_target=True) / a.shape[1] for a, b in (tags, tags[::-1]))
    probabilities = [torch.sigmoid(logits.intents) for logits in (one, other)]
    logits = [one.intents, other.intents]
    intents = ((probabilities[0] - probabilities[1]) * (logits[0] - logits[1])).mean()
    return spans + intents + nn.functional.mse_loss(torch.sigmoid(one.acuity), torch.sigmoid(other.acuity))
