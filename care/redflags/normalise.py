"""Text as the rules read it: clauses of lower-case words of plain letters, misspellings mended, numbers whole."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache, lru_cache

from spellchecker import SpellChecker

from care.knowledge import knowledge
from care.numbers import NUMBER_WORDS
from care.redflags.values import MEASURED_WORDS

_LOOKALIKES = str.maketrans("авсеԁһіјкӏмнорԛгѕтуԝхαεικνορτυχβγηωςıɑɡłøđ", "abcedhijklmhopqrstywxaeikvoptuxbynwciaglod")
_LEET = str.maketrans("013457@$!", "oieastasi")
_INVISIBLE = {"Cf", "Cc", "Cs", "Co", "Cn"}
_CLAUSE = re.compile(r"[!?;\n\r\u3002]+|\.{2,}|\u2026|\.(?=\D|$)(?!com\b)|\b(?:but|however|except|although|though|pero|aunque)\b")
_ANSWERED = re.compile(r"\?[\s\-\u2013:,]*(no|nope|none|nah|nada)\b(?=\s*(?:[.,;!?\n]|$))")
"""A question that the writer answers with no: both are one statement."""
_CONTRACTED = re.compile(r"(?<=\w)['`\u2018\u2019\u02bc\u00b4](?=\w)")
_RUN_ON_AFTER_IS = re.compile(r"(?<=[a-z]{2})['\u2019]s(?=[a-z]{2})")
"""In "dad'son the floor"; "O'Shea" is a name."""
_POSSESSIVE = re.compile(r"\b(?!(?:it|he|she|that|there|what|who|here|where|let|how)')([a-z]{2,})['`\u2018\u2019\u02bc\u00b4]s\b")
_DROPPED_G = re.compile(r"\b([a-z]{2,}in)['\u2019](?!\w)")
_SPACED = re.compile(r"(?<![a-z0-9])(?<!\w')[a-z][ ._\-](?:[a-z0-9][ ._\-]){2,}[a-z](?![a-z0-9])")
_SPLIT_WORD = re.compile(r"(?<=[a-z])[_*]+(?=[a-z])")
_TOKEN = re.compile(r"[,:()\u2013\u2014]|\d+(?:,\d{3})+(?!\d)|\d+(?:[.,]\d+)?(?:/\d+)*(?![a-z0-9])|[a-z0-9@$!]+|[\u3400-\u9fff]")
_NUMBER_AND_UNIT = re.compile(
    r"(\d+(?:[.,]\d+)?)(f|c|lbs?|pounds?|kgs?|kilos?|stone|mg|ml|mcg|units?|hrs?|h|hours?|days?|d|wks?|weeks?|mins?|minutes?|bpm|mmol|mgdl|yo|yrs?|cm|inch|inches|x|th|st|nd|rd|pm|am|l|k|tabs?|pills?|puffs?|pads?)"
)
_DECADE = re.compile(r"\d{1,3}0s")
"""Numbers about so big: "in the 80s"."""
_SIGNS = frozenset(",:()\u2013\u2014")
_REPEATED = re.compile(r"(.)\1{2,}")
_MOST_DIGITS = 4
_JOINED_NUMBER = re.compile(r"(?<=[a-z])(?=\d+[./]\d)|(?<=\d[./]\d)(?=[a-z])|(?<=[./]\d\d)(?=[a-z])|(?<=[./]\d\d\d)(?=[a-z])|(?<=\bspo2)(?=\d\d)")
"""Between a number and a word that it runs into ("bp78/40")."""
_MIN_REPAIRED, _MAX_REPAIRED, _MAX_RUN_ON = 4, 20, 40
_LEAST_STEM, _LONGEST_ENDING, _MOST_READINGS, _LONG = 5, 4, 5, 7
_VERY_COMMON, _COMMON, _RARE, _LIKELIER = 50_000, 2_000, 60, 100
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
    return [read[0] for part in _parts(text, repair) if (read := _read(part, repair))]


def readings_of(text: str) -> list[list[PlainClause]]:
    """Each clause as `plain_clauses` has it, and again with each other word that an unknown one may stand for ("beath": beat, breath)."""
    return [read for part in _parts(text, repair=True) if (read := _read(part, repair=True))]


def _parts(text: str, repair: bool) -> list[str]:
    return _CLAUSE.split(_ANSWERED.sub(r", \1", _folded(text, repair)))


def _folded(text: str, repair: bool) -> str:
    plain = unicodedata.normalize("NFKC", text.replace("\r", "\n"))
    if not plain.isascii():
        plain = plain.translate(_emoji()) if repair else plain
        plain = "".join(char for char in plain if char == "\n" or unicodedata.category(char) not in _INVISIBLE)
        plain = plain.casefold().translate(_LOOKALIKES)
        plain = "".join(char for char in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(char))
    else:
        plain = "".join(char for char in plain if char == "\n" or char >= " ").lower()
    if repair:
        plain = _JOINED_NUMBER.sub(" ", plain).replace("%", " percent ")
        plain = _DROPPED_G.sub(r"\1g", plain)
        plain = _SPACED.sub(lambda found: re.sub(r"[ ._\-]", "", found.group(0)) if sum(map(str.isalpha, found.group(0))) > 2 else found.group(0), plain)
        plain = _SPLIT_WORD.sub("", plain)
        plain = _RUN_ON_AFTER_IS.sub("'s ", plain)
        plain = _POSSESSIVE.sub(r"\1", plain)
    return _CONTRACTED.sub("", plain)


def _read(part: str, repair: bool) -> list[PlainClause]:
    """The clause, and after it the others that it may be; none where it has no words."""
    tokens = [token if token in _SIGNS else _words(token, repair) for token in _TOKEN.findall(part)]
    most = max((len(token) for token in tokens if isinstance(token, tuple)), default=0)
    read = []
    for guess in range(most):
        words: list[str] = []
        commas: set[int] = set()
        for token in tokens:
            if isinstance(token, str):
                commas.add(len(words))
            elif token:
                words.extend(token[min(guess, len(token) - 1)].split())
        if words:
            read.append(PlainClause(tuple(words), frozenset(commas) - {0, len(words)}))
    return read


def _words(token: str, repair: bool) -> tuple[str, ...]:
    """What the token may stand for, the likeliest first."""
    if token[0].isdigit() and token.strip("0123456789.,/") == "":
        return (_number(token),)
    if unit := _NUMBER_AND_UNIT.fullmatch(token):
        return (f"{_number(unit[1])} {unit[2]}",)
    if not repair:
        return (re.sub(r"[@$!]", "", token),)
    return _mended(token)


def _number(token: str) -> str:
    """Thousands joined, a decimal comma made a point."""
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+", token):
        return token.replace(",", "")
    return token.replace(",", ".")


@lru_cache(20_000)
def _mended(token: str) -> tuple[str, ...]:
    """The word or words that may be meant, the likeliest first; an empty one for signs alone."""
    word = token.strip("!$@")
    if not word or len(token) > _MAX_RUN_ON:
        return (re.sub(r"[@$!]", " ", token).strip(),)
    if word in _spelling():
        return (_spelling()[word],)
    if not word.isalpha():
        return (_from_signs(token if not token.endswith("!") else word),)
    if word in _vocabulary():
        return (word,)
    if _REPEATED.search(word):
        squeezed = sorted((each for each in (_REPEATED.sub(r"\1\1", word), _REPEATED.sub(r"\1", word)) if _known(each)), key=frequency, reverse=True)
        return tuple(squeezed) or _mended(_REPEATED.sub(r"\1", word))
    if _known(word):
        many = frequency(word[:-1]) if word.endswith("s") else 0  # "childrens" is as right as "children"
        near = (each for each in _near_words(word) if frequency(each) >= _LIKELIER * max(frequency(word), many if each != word[:-1] else 0))
        return (word, *near)[:_MOST_READINGS]
    if word.endswith("in") and _known(word + "g"):
        two_words = frequency(word[:-2]) >= _LIKELIER * frequency(word + "g")  # "bloodin my stool"; but "a heatin pad"
        return (word + "g", *(run for run in _run_on(word) if two_words or not run.endswith(" in")))
    if _grown(word):
        return (word, *_near_words(word)[: _MOST_READINGS - 2], *_run_on(word))
    return ((*_near_words(word)[: _MOST_READINGS - 1], *_run_on(word)) or (word,))[:_MOST_READINGS]


def _from_signs(token: str) -> str:
    """Letters behind digits and signs ("ch3st"), or the parts that these divide."""
    if _DECADE.fullmatch(token):
        return token
    guess = token.translate(_LEET)
    if guess in _rule_words() or (guess.isalpha() and any(char.isalpha() for char in token) and _known(guess) and len(guess) > 3):
        return guess
    parts = re.findall(r"[a-z]+|\d+", token)
    if any(len(part) > _MOST_DIGITS for part in parts if part.isdigit()):
        return token  # a code, not a measure that ran into a word
    return " ".join(_mended(part)[0] if part.isalpha() else part for part in parts)


def _known(word: str) -> bool:
    """Whether the word is right as it stands."""
    return word in _vocabulary() or frequency(word) >= (_RARE if len(word) > 3 else 1) or (word.endswith("s") and frequency(word[:-1]) >= _COMMON)


def _grown(word: str) -> bool:
    """Whether it is a stem of the rules with an ending: right, or at least read by that stem ("boaked", "gaped", "jaundicey")."""
    stems = knowledge().rules.words
    return any(f"{word[:length]}*" in stems and (length >= _LEAST_STEM or word[length:] in _ENDINGS) for length in range(max(3, len(word) - 4), len(word)))


_ENDINGS = frozenset({"ed", "d", "ing", "s", "es", "er", "ers", "y", "en"})
_LONGER_ENDINGS = frozenset({"ness", "ful", "ly", "ion", "ions", "able", "ity", "ive", "al", "ic", "e", "ado", "ada", "ando", "o", "a", "os", "as", "ar", "in"})


@lru_cache(20_000)
def _near_words(word: str) -> tuple[str, ...]:
    """The words that rules or symptoms use, one letter away (two in a long word), and those that begin with a stem of theirs but for a letter.

    Letters swapped, missing or doubled come before a wrong letter: people who spell by ear leave out and double more than they replace.
    """
    if not _MIN_REPAIRED <= len(word) <= _MAX_REPAIRED or frequency(word) >= _COMMON:
        return ()
    near = _near()
    found = {known for shorter in _deletions(word) for known in near.get(shorter, ()) if _one_apart(word, known)}
    if not found and len(word) >= 9:
        found = {known for once in _deletions(word)[1:] for shorter in _deletions(once) for known in near.get(shorter, ()) if abs(len(known) - len(word)) <= 1}
    ordered = sorted(
        found, key=lambda known: (known[0] == word[0], sorted(known) == sorted(word), len(known) != len(word), frequency(known), known), reverse=True
    )
    return tuple(dict.fromkeys(_spelling().get(each, each) for each in [*ordered, *_near_stems(word)]))


def _near_stems(word: str) -> list[str]:
    """The word with its beginning mended to a stem of the rules ("deesmaye": desmaye)."""
    found = []
    for length in range(max(_LEAST_STEM, len(word) - _LONGEST_ENDING - 1), len(word) + 1):
        begin = word[:length]
        for shorter in _deletions(begin):
            found += [
                stem + word[length:] for stem in _stems().get(shorter, ()) if len(begin) != len(stem) - 1 or length < len(word) if _one_apart(begin, stem)
            ]
    return sorted(set(found), key=lambda each: (each[0] == word[0], len(each)), reverse=True)[:2]


def _one_apart(word: str, known: str) -> bool:
    """Whether one letter is added, missing, other, or two neighbours are swapped; in a word of four, none is other."""
    if abs(len(word) - len(known)) > 1:
        return False
    if len(word) != len(known):
        return len(word) > _MIN_REPAIRED or len(known) >= len(word)
    wrong = [at for at, pair in enumerate(zip(word, known, strict=True)) if pair[0] != pair[1]]
    if len(wrong) == 1:
        return len(word) > _MIN_REPAIRED
    return len(wrong) == 2 and wrong[1] == wrong[0] + 1 and word[wrong[0]] == known[wrong[1]] and word[wrong[1]] == known[wrong[0]]


def _run_on(word: str) -> tuple[str, ...]:
    """Words written without spaces ("cantbreathe"), by how often each is written (after Norvig, Beautiful Data, 2009); empty where it is no such run."""
    if len(word) < _MIN_REPAIRED:
        return ()
    best: list[tuple[float, list[str]] | None] = [(0.0, [])] + [None] * len(word)
    for end in range(1, len(word) + 1):
        for start in range(max(0, end - 16), end):
            before, part = best[start], word[start:end]
            if before is None or end - start == len(word) or not _stands_alone(part):
                continue
            standing, cost = best[end], before[0] + _surprise(part)
            if standing is None or cost < standing[0]:
                best[end] = (cost, [*before[1], part])
    parts = best[-1][1] if best[-1] else []
    return (" ".join(_spelling().get(part, part) for part in parts),) if 1 < len(parts) <= 2 + len(word) // 5 else ()


def _surprise(part: str) -> float:
    common = max(frequency(part), 1_000_000 if part in _SHORT else 20_000 if _of_the_rules(part) or part in _spelling() else 1)
    return 1.0 + math.log10(1e9 / common)


def _of_the_rules(part: str) -> bool:
    return (
        part in _rule_words()
        or part in knowledge().rules.words
        or any(
            part[:length] in _whole_stems() and (length == len(part) or part[length:] in _ENDINGS | _LONGER_ENDINGS)
            for length in range(max(_LEAST_STEM, len(part) - _LONGEST_ENDING), len(part) + 1)
        )
    )


def _stands_alone(part: str) -> bool:
    """Whether a part of a run-on is a word: one of the rules, or a common one; of short ones only those that are always about."""
    if len(part) < 3:
        return part in _SHORT
    return (
        part in _SHORT
        or part in _spelling()
        or _of_the_rules(part)
        or frequency(part) >= (_VERY_COMMON if len(part) == 3 else _COMMON if len(part) < _LONG else _LIKELIER)
    )


_SHORT = frozenset({
    "i", "a", "my", "im", "is", "it", "in", "on", "me", "no", "of", "so", "to", "up", "he", "we", "at", "as", "an", "be", "by", "do", "go", "if", "or",
    "us", "bp", "hi", "lo", "its", "hes", "shes", "ive", "ill", "cant", "wont", "dont", "isnt", "arent", "wasnt", "doesnt", "didnt", "havent", "hasnt",
    "couldnt", "aint", "wouldnt", "thats", "theres", "pm", "dey", "dem", "y", "la", "el", "le", "se", "de", "en", "mi", "su", "un", "te", "ya", "al", "es",
})  # fmt: skip
"""Words of one or two letters, and contractions, that may stand in a run-on."""


def _deletions(word: str) -> list[str]:
    return [word] + [word[:at] + word[at + 1 :] for at in range(len(word))]


def _spelling() -> dict[str, str]:
    return knowledge().spelling


@cache
def _frequencies() -> tuple[SpellChecker, SpellChecker]:
    return SpellChecker(), SpellChecker(language="es")


@lru_cache(50_000)
def frequency(word: str) -> int:
    """How often the word stands in the library's English or Spanish frequency list."""
    return max(int(checker.word_frequency[word]) for checker in _frequencies())


@cache
def _rule_words() -> frozenset[str]:
    """The words the rules look for, whole and as stems with every ending that is written, and number words: what a misspelling is mended to."""
    language = knowledge().rules.words
    whole = {word for word in language if not word.endswith("*") and len(word) > 3}
    written = {word for checker in _frequencies() for word in checker.word_frequency.dictionary}
    listed = sorted(word for word in written if frequency(word) >= _RARE)
    short = {word[:-1] for word in language if word.endswith("*") and len(word) == _LEAST_STEM - 1}
    grown = {
        word
        for stem in (word[:-1] for word in language if word.endswith("*") and len(word) > 3)
        for word in (stem, *itertools.takewhile(lambda word: word.startswith(stem), listed[bisect_left(listed, stem) :]))  # noqa: B023
    }
    grown = {word for word in grown if len(word) > 3 and word.isalpha() and (word[:3] not in short or frequency(word) >= _COMMON)}
    return frozenset(whole | grown | {word for word in NUMBER_WORDS | MEASURED_WORDS if len(word) > 3 and word.isascii()})


@cache
def _whole_stems() -> frozenset[str]:
    return frozenset(word[:-1] for word in knowledge().rules.words if word.endswith("*") and len(word) > _LEAST_STEM)


@cache
def _stems() -> dict[str, tuple[str, ...]]:
    """The stems of the rules by themselves and by themselves less one letter."""
    near: dict[str, list[str]] = {}
    for stem in sorted(_whole_stems()):
        for shorter in _deletions(stem):
            near.setdefault(shorter, []).append(stem)
    return {shorter: tuple(stems) for shorter, stems in near.items()}


@cache
def _emoji() -> dict[int, str]:
    """Signs that stand for a word, with that word."""
    return {ord(sign): f" {word} " for sign, word in _spelling().items() if len(sign) == 1 and not sign.isalnum()}


@cache
def _vocabulary() -> frozenset[str]:
    """Words that are right as they stand: those of rules and symptoms, and the names of medicines."""
    known = knowledge()
    phrases = [synonym for symptom in known.symptoms.values() for synonym in symptom.synonyms]
    phrases += [name.lower() for medicine in known.medicines.values() for name in (medicine.name, *medicine.brands, *medicine.synonyms)]
    return _rule_words() | {word for phrase in phrases for word in re.findall(r"[a-z]{4,}", phrase)}


@cache
def _near() -> dict[str, frozenset[str]]:
    """The rules' words, and the misspellings of them that are known, by themselves and by themselves less one letter."""
    near: dict[str, set[str]] = {}
    for word in _rule_words() | {known for known in _spelling() if known.isascii() and known.isalpha()}:
        if len(word) >= _MIN_REPAIRED:
            for shorter in _deletions(word):
                near.setdefault(shorter, set()).add(word)
    return {shorter: frozenset(words) for shorter, words in near.items()}
