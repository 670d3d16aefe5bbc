"""What a word is known as before the network reads it: a symptom's or medicine's lay name, a site, a number, a unit, a word of time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from care.knowledge import knowledge
from nlu.tokens import words_in

GAZETTEER_FILE = "gazetteer.json"
WORDS = Path(__file__).parent / "corpora" / "words.yaml"
_LONGEST = 6
_PHRASES = ("symptom", "medicine", "site")
"""These are marked at their first word and inside; the other kinds word by word."""


class Gazetteer:
    """Names and words by kind, as `gazetteer.json` beside the weights holds them: a model reads with those it was trained with."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names
        kinds = sorted(names)
        self._column: dict[tuple[str, bool], int] = {}
        for kind in kinds:
            for begins in (True, False) if kind in _PHRASES else (True,):
                self._column[kind, begins] = len(self._column)
        self._number = len(self._column)
        self.width = self._number + 1
        self._by_words: dict[tuple[str, ...], list[str]] = {}
        for kind in kinds:
            for name in names[kind]:
                self._by_words.setdefault(tuple(word for word, _, _ in words_in(name)), []).append(kind)
        self._by_words.pop((), None)

    @property
    def digest(self) -> str:
        """SHA-256 of the names."""
        return hashlib.sha256(self.dump().encode()).hexdigest()

    def dump(self) -> str:
        """The file's contents."""
        return json.dumps(self.names, ensure_ascii=False, indent=0, sort_keys=True) + "\n"

    def marks(self, words: list[str]) -> list[list[int]]:
        """For each word the columns of what it is known as; the longest name of a kind that begins at a word wins."""
        found: list[list[int]] = [[self._number] if any(char.isdigit() for char in word) else [] for word in words]
        until = dict.fromkeys(_PHRASES, 0)
        for at in range(len(words)):
            for length in range(min(_LONGEST, len(words) - at), 0, -1):
                for kind in self._by_words.get(tuple(words[at : at + length]), ()):
                    if kind in until and at < until[kind]:
                        continue
                    if kind in until:
                        until[kind] = at + length
                    for inside in range(length):
                        column = self._column[kind, inside == 0 or kind not in _PHRASES]
                        if column not in found[at + inside]:
                            found[at + inside].append(column)
        return found


def build() -> Gazetteer:
    """The names of today's knowledge and `corpora/words.yaml`."""
    known = knowledge()
    names: dict[str, Iterable[str]] = dict(yaml.safe_load(WORDS.read_text(encoding="utf-8")))
    names["symptom"] = [word for symptom in known.symptoms.values() for word in (symptom.name, *symptom.synonyms)]
    medicines = [word for medicine in known.medicines.values() for word in (medicine.name, *medicine.brands, *medicine.synonyms)]
    names["medicine"] = [*names.get("medicine", ()), *medicines]
    return Gazetteer({kind: sorted({str(word).casefold() for word in words}) for kind, words in names.items()})


def read_gazetteer(folder: Path) -> Gazetteer:
    """The gazetteer of a model's folder. Raises `OSError` or `ValueError` where it is missing or no JSON."""
    names: Any = json.loads((folder / GAZETTEER_FILE).read_text(encoding="utf-8"))
    return Gazetteer(names)
