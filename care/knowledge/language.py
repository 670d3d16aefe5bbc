"""The small language that red-flag rules are written in, and its reader.

`word` is that word, `stem*` any word that begins so (two letters or more), `x?` a word with or without its last letter, `{class}` one of the phrases of
`words.yaml`, `(a|b c)` either, `(a|b)?` there or not, `(a|b)*` any number of these, `...` up to eight words between, `~` both parts in either order with up to
nine between, `#` a number, `YEAR` a year, `temperature>=38` a value read in the clause. ` & ` joins what one clause must hold, ` + ` what the message must hold
anywhere. `@protocol` in front keeps a pattern, or an excuse, to patients of that protocol (any of several), and `@day>=6` or `@day<=21` beside it a pattern
to those days of theirs. Chinese is read character by character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from care.knowledge.patterns import (
    GAP,
    LEAST_STEM,
    NEAR,
    Clause,
    Either,
    Maybe,
    Part,
    Pattern,
    PatternInvalid,
    Phrase,
    Reading,
    Value,
    Word,
    commonness,
    keys_of,
)

_TOKEN = re.compile(r"\{\w+\}|\w+(?:>=|<=|>|<)[\d.]+|\.\.\.|\d+\.\d+|[()|?*~#]|[\u3400-\u9fff]|[^\W\u3400-\u9fff]+[*?]?")
_PROTOCOL = re.compile(r"@(?!day[<>])(\w+)")
_DAY = re.compile(r"@day(>=|<=)(\d+)")
_VALUE = re.compile(r"(\w+?)(>=|<=|>|<)([\d.]+)")
_WORDS_KEPT = 50_000


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
            known = keys_of(word) & self._keys
            if len(self._keys_of) < _WORDS_KEPT:
                self._keys_of[word] = known
        return known

    def pattern(self, source: str) -> Pattern:
        """The pattern that `source` writes. Raises `PatternInvalid`."""
        body = _PROTOCOL.sub("", _DAY.sub("", source)).strip()
        anywhere = tuple(tuple(self.phrase(each) for each in part.split(" & ")) for part in body.split(" + "))
        days = {sign: int(day) for sign, day in _DAY.findall(source)}
        if days and not protocols_in(source):
            raise PatternInvalid(f"{source!r} names a day of no protocol; name the protocols whose days are meant")
        return Pattern(anywhere, protocols_in(source), source, days.get(">="), days.get("<="))

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
            raise PatternInvalid(f"{source!r} holds a sign that is not of the language; see care/knowledge/language.py")
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
        if token.endswith("*") and len(token) <= LEAST_STEM:
            raise PatternInvalid(f"{source!r}: the stem {token!r} is too short; give it {LEAST_STEM} letters or more")
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


def _phrase_of(parts: list[tuple[int, Part]]) -> Phrase:
    return Phrase(tuple(parts), tuple(sorted((need for _, part in parts if (need := _need(part))), key=commonness)), _starts(parts))


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
