"""Text as the rules read it: clauses of lower-case words of plain letters, misspellings mended, numbers whole."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import yaml
from spellchecker import SpellChecker

from care.knowledge import knowledge

_SPELLING = Path(__file__).parent.parent / "knowledge" / "spelling.yaml"
_LOOKALIKES = str.maketrans("авсеԁһіјкӏмнорԛгѕтуԝхαεικνορτυχβγıɑɡ", "abcedhijklmhopqrstywxaeiknoptuxbgiag")
_LEET = str.maketrans("013457@$!", "oieastasi")
_INVISIBLE = {"Cf", "Cc", "Cs", "Co", "Cn"}
_CLAUSE = re.compile(r"[!?;\n\r\u3002]+|\.{2,}|\u2026|\.(?=\D|$)(?!com\b)|\b(?:but|however|except|although|though|pero|aunque)\b")
_CONTRACTED = re.compile(r"(?<=\w)['`\u2018\u2019\u02bc\u00b4](?=\w)")
_POSSESSIVE = re.compile(r"\b(?!(?:it|he|she|that|there|what|who|here|where|let|how)')([a-z]{2,})['`\u2018\u2019\u02bc\u00b4]s\b")
_DROPPED_G = re.compile(r"\b([a-z]{2,}in)['\u2019](?!\w)")
_SPACED = re.compile(r"(?<![a-z0-9])(?:[a-z0-9][ ._\-]){3,}[a-z0-9](?![a-z0-9])")
_SPLIT_WORD = re.compile(r"(?<=[a-z])[_*]+(?=[a-z])")
_TOKEN = re.compile(r"[,:()\u2013\u2014]|\d+(?:,\d{3})+(?!\d)|\d+(?:[.,]\d+)?(?:/\d+)*(?![a-z0-9])|[a-z0-9@$!]+|[\u3400-\u9fff]")
_NUMBER_AND_UNIT = re.compile(
    r"(\d+(?:[.,]\d+)?)(f|c|lbs?|pounds?|kgs?|kilos?|stone|mg|ml|mcg|units?|hrs?|h|hours?|days?|d|wks?|weeks?|mins?|minutes?|bpm|mmol|mgdl|yo|yrs?|cm|inch|inches|x|th|st|nd|rd|pm|am|l|k|tabs?|pills?|puffs?|pads?)"
)
_REPEATED = re.compile(r"(.)\1{2,}")
_MIN_REPAIRED, _MAX_REPAIRED, _MAX_RUN_ON = 5, 20, 40
_COMMON, _RARE = 2_000, 60
"""Counts in the frequency list: a word this common is never mended, one below `_RARE` is hardly a word."""


@dataclass(frozen=True)
class PlainClause:
    """The words of a clause and the places before which a comma, dash or bracket stood."""

    words: tuple[str, ...]
    commas: frozenset[int]


def normalise(text: str, *, repair: bool = True) -> str:
    """The words of each clause on a line of their own. Never raises."""
    return "\n".join(" ".join(clause.words) for clause in plain_clauses(text, repair=repair))


def plain_clauses(text: str, *, repair: bool = True) -> list[PlainClause]:
    """Lower case, homoglyphs, accents, invisible characters and (with `repair`) misspellings, run-on and spaced-out words folded. Never raises."""
    return [read for part in _CLAUSE.split(_folded(text, repair)) if (read := _read(part, repair)).words]


def _folded(text: str, repair: bool) -> str:
    plain = unicodedata.normalize("NFKC", text.replace("\r", "\n"))
    if not plain.isascii():
        plain = "".join(char for char in plain if char == "\n" or unicodedata.category(char) not in _INVISIBLE)
        plain = plain.casefold().translate(_LOOKALIKES)
        plain = "".join(char for char in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(char))
    else:
        plain = "".join(char for char in plain if char == "\n" or char >= " ").lower()
    if repair:
        plain = _DROPPED_G.sub(r"\1g", plain)
        plain = _SPACED.sub(lambda found: re.sub(r"[ ._\-]", "", found.group(0)) if sum(map(str.isalpha, found.group(0))) > 2 else found.group(0), plain)
        plain = _SPLIT_WORD.sub("", plain)
        plain = _POSSESSIVE.sub(r"\1", plain)
    return _CONTRACTED.sub("", plain)


def _read(part: str, repair: bool) -> PlainClause:
    words: list[str] = []
    commas: set[int] = set()
    for token in _TOKEN.findall(part):
        if token in {",", ":", "(", ")", "\u2013", "\u2014"}:
            commas.add(len(words))
        else:
            words.extend(_words(token, repair))
    return PlainClause(tuple(words), frozenset(commas) - {0, len(words)})


def _words(token: str, repair: bool) -> list[str]:
    if token[0].isdigit() and token.strip("0123456789.,/") == "":
        return [_number(token)]
    if unit := _NUMBER_AND_UNIT.fullmatch(token):
        return [_number(unit[1]), unit[2]]
    if not repair:
        return [word for word in [re.sub(r"[@$!]", "", token)] if word]
    return _mended(token).split()


def _number(token: str) -> str:
    """Thousands joined, a decimal comma made a point."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+", token):
        return token.replace(",", "")
    return token.replace(",", ".")


@lru_cache(20_000)
def _mended(token: str) -> str:
    """The word or words that are meant; empty for signs alone."""
    word = token.strip("!$@")
    if not word or len(token) > _MAX_RUN_ON:
        return re.sub(r"[@$!]", " ", token).strip()
    if word in _spelling():
        return _spelling()[word]
    if not word.isalpha():
        return _from_signs(token if not token.endswith("!") else word)
    if _known(word):
        return word
    squeezed = next((each for each in (_REPEATED.sub(r"\1\1", word), _REPEATED.sub(r"\1", word)) if each != word and _known(each)), None)
    if squeezed or _REPEATED.search(word):
        return squeezed or _mended(_REPEATED.sub(r"\1", word))
    if word.endswith("in") and _known(word + "g"):
        return word + "g"
    return _near_word(word) or _run_on(word) or word


def _from_signs(token: str) -> str:
    """Letters behind digits and signs ("ch3st"), or the parts that these divide."""
    guess = token.translate(_LEET)
    if guess in _rule_words() or (guess.isalpha() and any(char.isalpha() for char in token) and _known(guess) and len(guess) > 3):
        return guess
    return " ".join(_mended(part) if part.isalpha() else part for part in re.findall(r"[a-z]+|\d+", token))


def _known(word: str) -> bool:
    """Whether the word is right as it stands."""
    return word in _vocabulary() or _frequency(word) >= (_RARE if len(word) > 3 else 1)


def _near_word(word: str) -> str | None:
    """The word that rules or symptoms use, one letter away (two in a long word)."""
    if not _MIN_REPAIRED <= len(word) <= _MAX_REPAIRED or _frequency(word) >= _COMMON:
        return None
    near = _near()
    found = {known for shorter in _deletions(word) for known in near.get(shorter, ()) if _one_apart(word, known)}
    if not found and len(word) >= 9:
        found = {known for once in _deletions(word)[1:] for shorter in _deletions(once) for known in near.get(shorter, ()) if abs(len(known) - len(word)) <= 1}
    return max(sorted(found), key=lambda known: (known[0] == word[0], sorted(known) == sorted(word), _frequency(known)), default=None)


def _one_apart(word: str, known: str) -> bool:
    """Whether one letter is added, missing, other, or two neighbours are swapped."""
    if abs(len(word) - len(known)) > 1:
        return False
    if len(word) != len(known):
        return True
    wrong = [at for at, pair in enumerate(zip(word, known, strict=True)) if pair[0] != pair[1]]
    return len(wrong) == 1 or (len(wrong) == 2 and wrong[1] == wrong[0] + 1 and word[wrong[0]] == known[wrong[1]] and word[wrong[1]] == known[wrong[0]])


def _run_on(word: str) -> str | None:
    """Words written without spaces ("cantbreathe"), where the rules look for one of them."""
    if len(word) < 7:
        return None
    best: list[tuple[float, list[str]] | None] = [(0.0, [])] + [None] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(max(0, end - 14), end):
            before, part = best[start], word[start:end]
            if before is None or not (
                part in _rule_words() or _frequency(part) >= 200_000 or part in _SHORT or (len(part) > 3 and _frequency(part) >= _COMMON)
            ):
                continue
            cost = before[0] + 1.0 + (0.0 if part in _rule_words() else 0.3)
            standing = best[end]
            if standing is None or cost < standing[0]:
                best[end] = (cost, [*before[1], part])
    found = best[-1]
    parts = found[1] if found else []
    worth = any(len(part) >= 4 and part in _rule_words() for part in parts)
    return " ".join(parts) if worth and 1 < len(parts) <= 2 + len(word) // 5 else None


_SHORT = frozenset({"i", "a", "my", "im", "is", "it", "in", "on", "me", "no", "of", "so", "to", "up", "he", "cant", "wont", "dont"})


def _deletions(word: str) -> list[str]:
    return [word] + [word[:at] + word[at + 1 :] for at in range(len(word))]


@cache
def _spelling() -> dict[str, str]:
    return {str(wrong): str(right) for wrong, right in yaml.safe_load(_SPELLING.read_text(encoding="utf-8")).items()}


@cache
def _frequencies() -> tuple[SpellChecker, SpellChecker]:
    return SpellChecker(), SpellChecker(language="es")


@lru_cache(50_000)
def _frequency(word: str) -> int:
    """How often the word stands in the library's English or Spanish frequency list."""
    return max(int(checker.word_frequency[word]) for checker in _frequencies())


@cache
def _rule_words() -> frozenset[str]:
    """The words the rules look for, whole and as stems, and those of the symptoms: what a misspelling is mended to."""
    language = knowledge().rules.words
    whole = {word for word in language if not word.endswith("*") and len(word) > 3}
    stems = {word[:-1] for word in language if word.endswith("*") and len(word) > 4}
    grown = {stem + ending for stem in stems for ending in ("", "s", "ed", "ing", "er", "y", "e", "es", "d") if _frequency(stem + ending) >= _RARE}
    return frozenset(whole | grown)


@cache
def _vocabulary() -> frozenset[str]:
    """Words that are right as they stand."""
    words = {word for symptom in knowledge().symptoms.values() for synonym in symptom.synonyms for word in re.findall(r"[a-z]{4,}", synonym)}
    return _rule_words() | words


@cache
def _near() -> dict[str, frozenset[str]]:
    """The rules' words by themselves and by themselves less one letter."""
    near: dict[str, set[str]] = {}
    for word in _rule_words():
        if len(word) >= _MIN_REPAIRED:
            for shorter in _deletions(word):
                near.setdefault(shorter, set()).add(word)
    return {shorter: frozenset(words) for shorter, words in near.items()}
