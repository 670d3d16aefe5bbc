"""Low-rank adapters (Hu et al., LoRA, 2021) on the linear layers of a frozen BERT encoder."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Any

import torch
from torch import nn


class Target(StrEnum):
    """The linear layers of a transformer block that can be adapted."""

    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    ATTENTION_OUTPUT = "attention_output"
    INTERMEDIATE = "intermediate"
    OUTPUT = "output"


_PLACE = {
    Target.QUERY: "attention.self.query",
    Target.KEY: "attention.self.key",
    Target.VALUE: "attention.self.value",
    Target.ATTENTION_OUTPUT: "attention.output.dense",
    Target.INTERMEDIATE: "intermediate.dense",
    Target.OUTPUT: "output.dense",
}


class LowRank(nn.Module):  # type: ignore[misc]
    """A frozen linear layer plus `scale * up(down(x))`; starts as the layer alone."""

    def __init__(self, base: Any, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.empty(rank, base.in_features))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Any) -> Any:
        """The adapted layer's output."""
        return self.base(x) + self.scale * (x @ self.down.T) @ self.up.T

    def merged(self) -> Any:
        """The same layer as one plain linear layer, for inference; the base layer is changed."""
        with torch.no_grad():
            self.base.weight += self.scale * (self.up @ self.down)
        return self.base


def add_adapters(bert: Any, targets: list[Target], rank: int, alpha: float) -> None:
    """Freezes `bert` and wraps the targeted layers of every block in place."""
    bert.requires_grad_(False)
    for block in bert.encoder.layer:
        for target in targets:
            parent, name = _parent(block, _PLACE[target])
            setattr(parent, name, LowRank(getattr(parent, name), rank, alpha))


def merge_adapters(bert: Any) -> None:
    """Folds every adapter into its layer in place."""
    for module in list(bert.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, LowRank):
                setattr(module, name, child.merged())


def _parent(block: Any, path: str) -> tuple[Any, str]:
    *way, name = path.split(".")
    for step in way:
        block = getattr(block, step)
    return block, name
