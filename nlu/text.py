"""A message as the encoder reads it, with the way back to the characters that the patient wrote."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

_DROPPED = {"Cf", "Cs", "Co", "Cn", "Sk"}
"""Invisible formatting (zero-width, direction marks), surrogates, private use, unassigned; skin tones of emoji."""
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)
MAX_PREPARED = 8_000
"""Characters that are prepared, of the original and of what it becomes: 256 tokens of ordinary writing are about 1,200, but an emoji's name is 30."""
_MAX_MARKS = 30
"""Marks on one letter that are read with it; the time to compose more grows with their square."""


@dataclass(frozen=True)
class Prepared:
    """`text` is what the tokeniser gets; `starts[i]` and `ends[i]` say where its character i stood in the original."""

    text: str
    starts: list[int] | range
    ends: list[int] | range

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The original's character range for the prepared range `start:end` (which is not empty)."""
        return self.starts[start], self.ends[end - 1]


def prepare(raw: str) -> Prepared:
    """The first `MAX_PREPARED` characters of `raw` in NFKC, without invisible ones, controls as spaces, emoji and other signs as their names. Never raises."""
    raw = raw[:MAX_PREPARED]
    if raw.isascii() and raw.isprintable():
        return Prepared(raw, range(len(raw)), range(1, len(raw) + 1))
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    while at < len(raw) and len(starts) < MAX_PREPARED:
        end = at + 1
        while end < min(len(raw), at + _MAX_MARKS) and unicodedata.combining(raw[end]):
            end += 1
        shown = _shown(raw[at:end])
        pieces.append(shown)
        starts += [at] * len(shown)
        ends += [end] * len(shown)
        at = end
    return Prepared("".join(pieces), starts, ends)


def without_surrogates(text: str) -> str:
    """`text` with each lone surrogate as U+FFFD, so that it can be written as UTF-8; the length stays."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def _shown(cluster: str) -> str:
    return "".join(_shown_char(char) for char in unicodedata.normalize("NFKC", cluster))


def _shown_char(char: str) -> str:
    if char.isascii():
        return char if char.isprintable() else " "
    category = unicodedata.category(char)
    if category in _DROPPED or ord(char) in _VARIATION_SELECTORS:
        return ""
    if category in {"Cc", "Zl", "Zp", "Zs"}:
        return " "
    if category == "So":
        return f" {unicodedata.name(char, 'symbol').lower()} "
    return char
