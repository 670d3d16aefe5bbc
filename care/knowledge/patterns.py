"""The small language that red-flag rules are written in, and its matcher over the words of a clause.

`word` is that word, `stem*` any word that begins so (two letters or more), `x?` a word with or without its last letter, `{class}` one of the phrases of
`words.yaml`, `(a|b c)` either, `(a|b)?` there or not, `(a|b)*` any number of these, `...` up to eight words between, `~` both parts in either order with up to
nine between, `#` a number, `YEAR` a year, `temperature>=38` a value read in the clause. ` & ` joins what one clause must hold, ` + ` what the message must hold
anywhere, and `@protocol` in front keeps a pattern, or an excuse, to patients of that protocol (any of several). Chinese is read character by character.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

GAP, NEAR = 8, 9
_TOKEN = re.compile(r"\{\w+\}|\w+(?:>=|<=|>|<)[\d.]+|\.\.\.|\d+\.\d+|[()|?*~#]|[\u3400-\u9fff]|[^\W\u3400-\u9fff]+[*?]?")
_PROTOCOL = re.compile(r"@(\w+)")
_VALUE = re.compile(r"(\w+?)(>=|<=|>|<)([\d.]+)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_LEAST_STEM, _WORDS_KEPT = 2, 50_000
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


def _keys(word: str) -> frozenset[str]:
    """What a word answers to: itself, each of its beginnings, `#` for a number, `YEAR` for one of 1900 to 2099."""
    if word[0].isdigit():
        return frozenset({word, "#", "YEAR"} if len(word) == 4 and word.isdigit() and word[:2] in {"19", "20"} else {word, "#"})
    return frozenset({word, *(f"{word[:length]}*" for length in range(_LEAST_STEM, len(word) + 1))})


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
    """What a message must hold: each of `anywhere` in some clause, all phrases of one together; for `protocols` alone, where any is named."""

    anywhere: tuple[tuple[Phrase, ...], ...]
    protocols: frozenset[str]
    source: str


class Index(Generic[_Entry]):
    """Entries by the words that they cannot be found without, so that of hundreds only those are tried that a text makes possible."""

    def __init__(self, entries: Iterable[tuple[Iterable[Phrase], _Entry]]) -> None:
        """Each entry with the phrases that all must be there for it."""
        self._entries: list[tuple[tuple[frozenset[str], ...], _Entry]] = []
        self._places: dict[str, list[int]] = {}
        for place, (phrases, entry) in enumerate(entries):
            needs = sorted((need for phrase in phrases for need in phrase.needs), key=_commonness)
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


class Language:
    """The classes of words, and the patterns written with them."""

    def __init__(self, classes: Mapping[str, Iterable[str]]) -> None:
        """Raises `PatternInvalid` where an entry is not in the language or names a class that stands nowhere."""
        self._written = {name: tuple(entries) for name, entries in classes.items()}
        self._classes: dict[str, Either] = {}
        self._keys: set[str] = {"#", "YEAR"}
        self._keys_of: dict[str, frozenset[str]] = {}
        for name in self._written:
            self._class(name, ())

    def clause(self, words: tuple[str, ...], values: tuple[Reading, ...] = (), commas: frozenset[int] = frozenset()) -> Clause:
        """A clause of these words; each with those keys that some pattern read so far asks for."""
        return Clause(words, tuple(map(self._answers, words)), values, commas)

    def _answers(self, word: str) -> frozenset[str]:
        known = self._keys_of.get(word)
        if known is None:
            known = _keys(word) & self._keys
            if len(self._keys_of) < _WORDS_KEPT:
                self._keys_of[word] = known
        return known

    def pattern(self, source: str) -> Pattern:
        """The pattern that `source` writes. Raises `PatternInvalid`."""
        body = _PROTOCOL.sub("", source).strip()
        anywhere = tuple(tuple(self.phrase(each) for each in part.split(" & ")) for part in body.split(" + "))
        return Pattern(anywhere, protocols_in(source), source)

    def phrase(self, source: str) -> Phrase:
        """The phrase that `source` writes. Raises `PatternInvalid`."""
        return self._phrase(source, ())

    def words(self) -> frozenset[str]:
        """Every word and stem of the classes."""
        return frozenset(word for entries in self._written.values() for entry in entries for word in plain_words(entry))

    def _class(self, name: str, inside: tuple[str, ...]) -> Either:
        if name not in self._written:
            raise PatternInvalid(f"{{{name}}} is no class of words.yaml; correct its spelling, or add it there")
        if name in inside:
            raise PatternInvalid(f"the class {name!r} holds itself; take it out of {inside[-1]!r}")
        if name not in self._classes:
            self._classes[name] = _either([self._phrase(entry, (*inside, name)) for entry in self._written[name]])
        return self._classes[name]

    def _phrase(self, source: str, inside: tuple[str, ...]) -> Phrase:
        try:
            return self._read(source, inside)
        except PatternInvalid as error:
            error.source = error.source or source
            raise

    def _read(self, source: str, inside: tuple[str, ...]) -> Phrase:
        tokens = _TOKEN.findall(source)
        if "".join(tokens) != re.sub(r"\s+", "", source):
            raise PatternInvalid(f"{source!r} holds a sign that is not of the language; see care/knowledge/patterns.py")
        phrases: list[Phrase] = []
        rest = ["|"]
        while rest and rest[0] == "|":
            phrase, rest = self._near(tokens if not phrases else rest[1:], inside, source)
            phrases.append(phrase)
        if rest:
            raise PatternInvalid(f"{source!r} closes a bracket that was not opened; take out the ')'")
        phrase = phrases[0] if len(phrases) == 1 else _phrase_of([(0, _either(phrases))])
        if not phrase.needs:
            raise PatternInvalid(f"{source!r} may be found in nothing at all; take out a '?' or '*'")
        return phrase

    def _near(self, tokens: list[str], inside: tuple[str, ...], source: str) -> tuple[Phrase, list[str]]:
        left, rest = self._sequence(tokens, inside, source)
        while rest and rest[0] == "~":
            right, rest = self._sequence(rest[1:], inside, source)
            first, second = _either([left]), _either([right])
            left = _phrase_of([(0, _either([_phrase_of([(0, first), (NEAR, second)]), _phrase_of([(0, second), (NEAR, first)])]))])
        return left, rest

    def _sequence(self, tokens: list[str], inside: tuple[str, ...], source: str) -> tuple[Phrase, list[str]]:
        parts: list[tuple[int, Part]] = []
        gap = 0
        while tokens and tokens[0] not in {")", "|", "~"}:
            sign, *tokens = tokens
            if sign == "...":
                gap = GAP
                continue
            if sign == "(":
                part, tokens = self._either(tokens, inside, source)
            else:
                part = self._part(sign, inside, source)
            if tokens and tokens[0] in {"?", "*"}:
                part, tokens = Maybe(part, many=tokens[0] == "*"), tokens[1:]
            parts.append((gap, part))
            gap = 0
        if not parts or gap:
            raise PatternInvalid(f"{source!r} lacks a word at one of its borders; write one there")
        return _phrase_of(parts), tokens

    def _either(self, tokens: list[str], inside: tuple[str, ...], source: str) -> tuple[Part, list[str]]:
        phrases = []
        while True:
            phrase, tokens = self._near(tokens, inside, source)
            phrases.append(phrase)
            if not tokens:
                raise PatternInvalid(f"{source!r} opens a bracket that is not closed; add the ')'")
            sign, *tokens = tokens
            if sign == ")":
                return _either(phrases), tokens

    def _part(self, token: str, inside: tuple[str, ...], source: str) -> Part:
        if token.startswith("{"):
            return self._class(token[1:-1], inside)
        if token in {"?", "*"}:
            raise PatternInvalid(f"{source!r} has a {token!r} after nothing; write it after a word or a bracket")
        if value := _VALUE.fullmatch(token):
            return Value(value[1], value[2], float(value[3]))
        if token.endswith("?"):
            return _either([_phrase_of([(0, self._word(token[:-2]))]), _phrase_of([(0, self._word(token[:-1]))])])
        if token.endswith("*") and len(token) <= _LEAST_STEM:
            raise PatternInvalid(f"{source!r}: the stem {token!r} is too short; give it {_LEAST_STEM} letters or more")
        return self._word(token)

    def _word(self, key: str) -> Word:
        self._keys.add(key)
        self._keys_of.clear()
        return Word(key)


def protocols_in(source: str) -> frozenset[str]:
    """The protocols that a pattern is kept to; none where it is for all."""
    return frozenset(_PROTOCOL.findall(source))


def plain_words(source: str) -> list[str]:
    """The words and stems of a pattern, without its signs, classes and protocols."""
    return re.findall(r"[a-z]+\*?(?![a-z]*(?:>=|<=|<|>))", re.sub(r"\{\w+\}|@\w+", " ", source))


_EVERYDAY = frozenset({
    "a", "about", "all", "am", "an", "and", "are", "as", "at", "back", "be", "been", "but", "can", "day", "did", "do", "feel*", "for", "from", "get", "go",
    "going", "good", "got", "had", "has", "have", "he", "her", "his", "how", "i", "if", "im", "in", "is", "it", "its", "ive", "just", "like", "me", "more",
    "morning", "my", "no", "not", "now", "of", "off", "on", "one", "or", "out", "over", "she", "since", "so", "still", "that", "the", "then", "they",
    "this", "to", "today", "two", "up", "was", "well", "went", "what", "when", "will", "with", "you", "your", "#",
})  # fmt: skip
"""Words that stand in most messages: to look for them saves nothing."""
_AN_EVERYDAY_WORD = 50


def _commonness(need: frozenset[str]) -> int:
    """How likely a message is to hold one of these: about by how many they are."""
    return len(need) + _AN_EVERYDAY_WORD * len(need & _EVERYDAY)


def _phrase_of(parts: list[tuple[int, Part]]) -> Phrase:
    return Phrase(tuple(parts), tuple(sorted((need for _, part in parts if (need := _need(part))), key=_commonness)), _starts(parts))


def _either(phrases: list[Phrase]) -> Either:
    starts = [phrase.starts for phrase in phrases]
    single: set[str] = set()
    longer: dict[str, list[Phrase]] = {}
    other: list[Phrase] = []
    for phrase in phrases:
        match phrase.parts:
            case ((_, Word(key)),):
                single.add(key)
            case ((_, Either() as inner),):
                single |= inner.single
                other.extend(inner.other)
                for key, under in inner.longer.items():
                    longer.setdefault(key, []).extend(under)
            case _ if not phrase.needs:
                other.append(phrase)
            case _:
                for key in phrase.needs[0]:
                    longer.setdefault(key, []).append(phrase)
    return Either(
        tuple(phrases),
        None if None in starts else frozenset().union(*(each for each in starts if each)),
        frozenset(single),
        {key: tuple(dict.fromkeys(under)) for key, under in longer.items()},
        tuple(other),
    )


def _starts(parts: list[tuple[int, Part]]) -> frozenset[str] | None:
    """What the first word of these parts may answer to."""
    found: set[str] = set()
    for gap, part in parts:
        match part:
            case Word(key):
                here: frozenset[str] | None = frozenset({key})
            case Either():
                here = part.starts
            case Maybe(Word(key)):
                here = frozenset({key})
            case Maybe(Either() as inner):
                here = inner.starts
            case _:
                here = None
        if here is None or (gap and found):
            return None
        found |= here
        if not isinstance(part, Maybe):
            return frozenset(found)
    return None


def _need(part: Part) -> frozenset[str]:
    """A set of which the clause must hold one for `part` to be there; empty where nothing can be said."""
    match part:
        case Word(key):
            return frozenset({key})
        case Value(kind):
            return frozenset({f"<{kind}>"})
        case Maybe():
            return frozenset()
        case Either(phrases):
            needs = [phrase.needs[0] if phrase.needs else frozenset[str]() for phrase in phrases]
            return frozenset().union(*needs) if all(needs) else frozenset()
