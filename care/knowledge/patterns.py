"""What red-flag patterns are made of, and how they are found in the words of a clause. `care.knowledge.language` reads them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

GAP, NEAR = 8, 9
_COMPARE: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
LEAST_STEM = 2
_Entry = TypeVar("_Entry")


class PatternInvalid(ValueError):
    """A pattern is not written in the language; the message says what is wrong and how to put it right."""

    source = ""
    """The pattern, or the entry of a class that it names, in which it stands."""


@dataclass(frozen=True)
class Reading:
    """A value read from words `start` to `end`, in the unit of its kind."""

    kind: str
    value: float
    start: int
    end: int


@dataclass(eq=False)
class Clause:
    """The words of a clause, the keys that each answers to, the values read in it, the places before which a comma stood, and those no gap may leap over."""

    words: tuple[str, ...]
    keys: tuple[frozenset[str], ...]
    values: tuple[Reading, ...] = ()
    commas: frozenset[int] = frozenset()
    barriers: frozenset[int] = frozenset()
    all_keys: Set[str] = frozenset()
    memo: dict[tuple[int, int], frozenset[int]] = field(default_factory=dict, repr=False)
    """Where a part that begins at a place ends; holds while the barriers do."""
    possible: dict[int, tuple[Phrase, ...]] = field(default_factory=dict, repr=False)
    """The phrases of an `Either` that the words allow."""

    def __post_init__(self) -> None:
        self.all_keys = frozenset().union(*self.keys, {f"<{value.kind}>" for value in self.values})


def keys_of(word: str) -> frozenset[str]:
    """What a word answers to: itself, each of its beginnings, `#` for a number, `YEAR` for one of 1900 to 2099."""
    if word[0].isdigit():
        return frozenset({word, "#", "YEAR"} if len(word) == 4 and word.isdigit() and word[:2] in {"19", "20"} else {word, "#"})
    return frozenset({word, *(f"{word[:length]}*" for length in range(LEAST_STEM, len(word) + 1))})


@dataclass(frozen=True, eq=False)
class Word:
    """One word, stem or number."""

    key: str


@dataclass(frozen=True, eq=False)
class Value:
    """A value read in the clause that compares as asked."""

    kind: str
    sign: str
    bound: float


@dataclass(frozen=True, eq=False)
class Either:
    """One of several phrases: single words, phrases by the keys of which they need one, and those that need none."""

    phrases: tuple[Phrase, ...]
    starts: frozenset[str] | None
    single: frozenset[str]
    longer: Mapping[str, tuple[Phrase, ...]]
    other: tuple[Phrase, ...]

    def possible(self, clause: Clause) -> tuple[Phrase, ...]:
        """The longer phrases that the clause's words allow, wherever they stand."""
        known = clause.possible.get(id(self))
        if known is None:
            keys = clause.all_keys
            wanted = dict.fromkeys(phrase for key in self.longer.keys() & keys for phrase in self.longer[key])
            known = tuple(phrase for phrase in (*wanted, *self.other) if phrase.possible(clause))
            clause.possible[id(self)] = known
        return known


@dataclass(frozen=True, eq=False)
class Maybe:
    """A part that may be left out, or where `many` stand several times."""

    part: Part
    many: bool = False


Part: TypeAlias = "Word | Value | Either | Maybe"


@dataclass(frozen=True, eq=False)
class Phrase:
    """Parts in order, each with the number of words that may stand before it."""

    parts: tuple[tuple[int, Part], ...]
    needs: tuple[frozenset[str], ...]
    """Of each of these sets, the clause must hold one."""
    starts: frozenset[str] | None
    """The word that it begins at answers to one of these; None where nothing can be said."""

    def possible(self, clause: Clause) -> bool:
        """Whether the clause holds the words for each part, in whatever order."""
        for need in self.needs:
            if need.isdisjoint(clause.all_keys):
                return False
        return all(not part.single.isdisjoint(clause.all_keys) or part.possible(clause) for _, part in self.parts if isinstance(part, Either))

    def find(self, clause: Clause) -> Iterator[tuple[int, int]]:
        """Every place, from word to word, where the phrase stands."""
        if not self.possible(clause):
            return
        for start, keys in enumerate(clause.keys):
            if self.starts is not None and self.starts.isdisjoint(keys):
                continue
            for end in _ends(self, clause, start):
                if end > start:
                    yield start, end


_NOWHERE: frozenset[int] = frozenset()


def _ends(node: Part | Phrase, clause: Clause, at: int) -> frozenset[int]:
    if isinstance(node, Word):
        return frozenset((at + 1,)) if at < len(clause.keys) and node.key in clause.keys[at] else _NOWHERE
    if isinstance(node, Value):
        return frozenset(each.end for each in clause.values if each.kind == node.kind and each.start == at and _COMPARE[node.sign](each.value, node.bound))
    if isinstance(node, Maybe):
        once = _ends(node.part, clause, at)
        return once.union({at}, *(_ends(node, clause, end) for end in once if node.many))
    if at >= len(clause.keys) or (node.starts is not None and node.starts.isdisjoint(clause.keys[at])):
        return _NOWHERE
    known = clause.memo.get((id(node), at))
    if known is None:
        known = _any(node, clause, at) if isinstance(node, Either) else _sequence(node, clause, at)
        clause.memo[id(node), at] = known
    return known


def _any(either: Either, clause: Clause, at: int) -> frozenset[int]:
    ends = _NOWHERE if either.single.isdisjoint(clause.keys[at]) else frozenset((at + 1,))
    for phrase in either.possible(clause):
        ends |= _ends(phrase, clause, at)
    return ends


def _sequence(phrase: Phrase, clause: Clause, at: int) -> frozenset[int]:
    places = {at}
    for gap, part in phrase.parts:
        reached: set[int] = set()
        for place in places:
            if not gap:
                reached |= _ends(part, clause, place)
                continue
            for begin in range(place, min(place + gap, len(clause.keys)) + 1):
                if begin > place and begin - 1 in clause.barriers:
                    break
                reached |= _ends(part, clause, begin)
        if not reached:
            return frozenset()
        places = reached
    return frozenset(places)


@dataclass(frozen=True, eq=False)
class Pattern:
    """What a message must hold: each of `anywhere` in some clause, all phrases of one together; for `protocols` alone, where any is named, on their days from
    `first` to `last`."""

    anywhere: tuple[tuple[Phrase, ...], ...]
    protocols: frozenset[str]
    source: str
    first: int | None = None
    last: int | None = None

    def is_for(self, protocol: str | None, day: int | None) -> bool:
        """Whether it is looked for in a message of this protocol and day. On a day that is not known it is: no danger is overlooked for want of a date."""
        if self.protocols and protocol not in self.protocols:
            return False
        return day is None or ((self.first is None or self.first <= day) and (self.last is None or day <= self.last))


class Index(Generic[_Entry]):
    """Entries by the words that they cannot be found without, so that of hundreds only those are tried that a text makes possible."""

    def __init__(self, entries: Iterable[tuple[Iterable[Phrase], _Entry]]) -> None:
        """Each entry with the phrases that all must be there for it."""
        self._entries: list[tuple[tuple[frozenset[str], ...], _Entry]] = []
        self._places: dict[str, list[int]] = {}
        for place, (phrases, entry) in enumerate(entries):
            needs = sorted((need for phrase in phrases for need in phrase.needs), key=commonness)
            self._entries.append((tuple(needs[1:]), entry))
            for key in needs[0]:
                self._places.setdefault(key, []).append(place)

    def possible(self, keys: Set[str]) -> list[_Entry]:
        """In their order, the entries that a text with these keys may hold."""
        places: set[int] = set()
        for key in self._places.keys() & keys:
            places.update(self._places[key])
        found = []
        for place in sorted(places):
            needs, entry = self._entries[place]
            for need in needs:
                if need.isdisjoint(keys):
                    break
            else:
                found.append(entry)
        return found


class Phrases:
    """Phrases by name that are looked for together."""

    def __init__(self, phrases: Iterable[tuple[str, Phrase]]) -> None:
        self._index = Index(([phrase], (name, phrase)) for name, phrase in phrases)

    def find(self, clause: Clause) -> Iterator[tuple[str, tuple[int, int]]]:
        """Every place, from word to word, where one of them stands, with its name."""
        for name, phrase in self._index.possible(clause.all_keys):
            for place in phrase.find(clause):
                yield name, place


_EVERYDAY = frozenset({
    "a", "about", "all", "am", "an", "and", "are", "as", "at", "back", "be", "been", "but", "can", "day", "did", "do", "feel*", "for", "from", "get", "go",
    "going", "good", "got", "had", "has", "have", "he", "her", "his", "how", "i", "if", "im", "in", "is", "it", "its", "ive", "just", "like", "me", "more",
    "morning", "my", "no", "not", "now", "of", "off", "on", "one", "or", "out", "over", "she", "since", "so", "still", "that", "the", "then", "they",
    "this", "to", "today", "two", "up", "was", "well", "went", "what", "when", "will", "with", "you", "your", "#",
})  # fmt: skip
"""Words that stand in most messages: to look for them saves nothing."""
_AN_EVERYDAY_WORD = 50


def commonness(need: frozenset[str]) -> int:
    """How likely a message is to hold one of these: about by how many they are."""
    return len(need) + _AN_EVERYDAY_WORD * len(need & _EVERYDAY)
