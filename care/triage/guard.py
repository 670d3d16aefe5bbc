"""The guard: a drafted reply leaves only where the cited advice covers every claim in it; else the approved statements are sent as they stand.

Covered means, for each sentence: its content words are those of one cited statement, in the same order, with the same negations, conditions, limits,
amounts, numbers and actor (we or the patient). A sentence of a statement that holds any of these must be said whole; with a negation, condition or limit it
may not be left out either where others of the statement are said. Plain ones may end earlier, up to a share, but skip nothing on the way. On top, what no
advice can justify is refused by itself: a diagnosis, a change of a medicine, reassurance, a strange number, link or name, hard words, a text too long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

import textstat
import yaml
from pydantic import TypeAdapter

from care.acuity import Acuity
from care.knowledge import knowledge
from care.messages.sms_text import segments
from care.numbers import spoken
from care.redflags.normalise import normalise
from care.settings import settings
from care.triage.model import MAX_REPLY_CHARS
from care.understanding import Frozen

MAX_GRADE = 7.0
MAX_SEGMENTS = 2
_WORD_LISTS = Path(__file__).parent.parent / "knowledge" / "guard.yaml"
_LEAST_KEPT = 0.5
"""A sentence that keeps fewer than this share of a statement's content words no longer says it."""
_SENTENCE = re.compile(r"[!?;\n\u3002\uff01\uff1f\uff1b]+|\.(?=\D|$)")
_PART = re.compile(r",|\uff0c|\band\b|\by\b|\bthen\b")
_ASIDE = re.compile(r"\([^()]*\)")
_MARKUP = re.compile(r"[<>{}\[\]\\`|*#_^~=]|&[a-z#0-9]+;|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", re.IGNORECASE)
_LINK = re.compile(r"://|\bwww\b|@|\b[\w\-]+\.(?!\s|$)(?=[a-z])[\w.\-]+|\b(?:dot|punto)\s*(?:com|org|net)\b", re.IGNORECASE)
_DIGITS = re.compile(r"\d+(?:[.,]\d+)?")
_PHONE = re.compile(r"\+?\d[\d\s().\-]{5,}\d")
_CAPITAL = re.compile(r"(?<=[\w,'’\"] )[A-ZÀ-Þ][\w'’\-]*")
_SPACED = re.compile(r"[a-z]")
_FOREIGN = re.compile(r"[\u0370-\u1fff\u3040-\u30ff\uac00-\ud7af]")
_HAN = re.compile(r"[\u3400-\u9fff]")


class Reason(StrEnum):
    """Why a drafted reply does not leave."""

    EMPTY = "empty"
    TOO_LONG = "too_long"
    MARKUP = "markup"
    LANGUAGE = "language"
    LINK = "link"
    NUMBER = "number"
    NAME = "name"
    DIAGNOSIS = "diagnosis"
    MEDICINE = "medicine"
    REASSURANCE = "reassurance"
    UNCOVERED = "uncovered"
    CAVEAT = "caveat"
    GRADE = "grade"
    DANGER = "danger"


class Use(StrEnum):
    """What a word list is for."""

    FILLER = "filler"
    OPERATOR = "operator"
    """Turns or bounds a claim: its sentence is said whole and not left out."""
    QUALIFIER = "qualifier"
    """How much, or who: where its sentence is said, it is said whole."""
    OPENING = "opening"
    COURTESY = "courtesy"
    SYNONYM = "synonym"
    DIAGNOSIS = "diagnosis"
    MEDICINE = "medicine"
    CHANGE = "change"
    REASSURANCE = "reassurance"
    TITLE = "title"


class WordList(Frozen):
    """An entry of `guard.yaml`."""

    id: str
    use: Use
    words: list[str]


@dataclass(frozen=True)
class Drafted:
    """A drafted reply with what it may rest on: the advice cited (ids), the patient's words, the acuity decided and the patient's language."""

    reply: str
    advice: Sequence[str]
    report: str
    acuity: Acuity
    language: str = "en"
    flagged: bool = False
    """Whether a red-flag rule fired on the report."""
    before: str = ""
    """The scripted words that go before it in the same text."""
    on_web: bool = False
    """Whether the reply is for the web, where length costs nothing."""


@dataclass(frozen=True)
class _Unit:
    """A statement, or a part of one that stands for itself: its content words in order, those that bind it, its numbers."""

    words: tuple[str, ...]
    binding: tuple[str, ...]
    numbers: tuple[str, ...]
    whole: bool
    """Whether it must be said whole."""
    caveat: bool
    """Whether it may not be left out."""


def rejections(drafted: Drafted) -> list[Reason]:
    """Why `drafted` must not leave, each reason once; empty where it may. Never raises for any text."""
    reply = drafted.reply.strip()
    if not reply:
        return [Reason.EMPTY]
    if len(reply) > MAX_REPLY_CHARS or (not drafted.on_web and segments(f"{drafted.before} {reply}".strip()).segments > MAX_SEGMENTS):
        return [Reason.TOO_LONG]
    statements = [knowledge().advice[each].said(drafted.language) for each in drafted.advice if each in knowledge().advice]
    return list(dict.fromkeys(_found(drafted, reply, statements)))


def covered(sentence: str, statements: Sequence[str]) -> bool:
    """Whether one of `statements`, or several one after the other, say all that `sentence` says."""
    units = [unit for statement in statements for unit in _units(statement)]
    return all(_sentence_covered(each, units) for each in _sentences(sentence))


def _found(drafted: Drafted, reply: str, statements: list[str]) -> Iterator[Reason]:
    if drafted.flagged or drafted.acuity.rank > Acuity.ROUTINE.rank:
        yield Reason.DANGER
    if _MARKUP.search(reply):
        yield Reason.MARKUP
    if _FOREIGN.search(reply) or (_HAN.search(reply) is not None) != (drafted.language == "zh"):
        yield Reason.LANGUAGE
    ours = [*statements, settings().clinic_phone, settings().emergency_number]
    if _LINK.search(reply) or any(_only_digits(phone) not in {_only_digits(each) for each in _phones(ours)} for phone in _phones([reply])):
        yield Reason.LINK
    if not set(_numbers(reply)) <= {number for text in [*ours, drafted.report] for number in _numbers(text)}:
        yield Reason.NUMBER
    approved = {_key(sentence) for statement in statements for sentence in _sentences(statement)}
    own = [sentence for sentence in _sentences(reply) if _key(sentence) not in approved]
    if any(_named(sentence, statements) for sentence in own):
        yield Reason.NAME
    if any(_says(Use.DIAGNOSIS, sentence) or _complication(sentence, statements) for sentence in own):
        yield Reason.DIAGNOSIS
    if any(_says(Use.MEDICINE, sentence) and _says(Use.CHANGE, sentence) for sentence in own):
        yield Reason.MEDICINE
    if any(_says(Use.REASSURANCE, sentence) for sentence in own):
        yield Reason.REASSURANCE
    if not statements or not all(covered(sentence, statements) for sentence in own):
        yield Reason.UNCOVERED
    if any(_caveat_lost(statement, reply) for statement in statements):
        yield Reason.CAVEAT
    if drafted.language == "en" and max((textstat.flesch_kincaid_grade(each) for each in own), default=0.0) > MAX_GRADE:
        yield Reason.GRADE


def _caveat_lost(statement: str, reply: str) -> bool:
    """Whether `reply` says a sentence of `statement` but not its others that warn, limit or set a condition."""
    said = [claim for sentence in _sentences(reply) for part in (sentence, *_PART.split(sentence)) for claim in _claims(part)]
    units = [_unit(_tokens(sentence)) for sentence in _sentences(statement)]
    used = any(_says_unit(claim, _units(statement)) for claim in said)
    return used and any(unit.caveat and not any(_says_unit(claim, [unit]) for claim in said) for unit in units)


def _sentence_covered(sentence: str, units: list[_Unit]) -> bool:
    if _is_courtesy(sentence) or any(_says_unit(claim, units) for claim in _claims(sentence)):
        return True
    parts = [part for part in _PART.split(sentence) if _tokens(part)]
    return len(parts) > 1 and all(any(_says_unit(claim, units) for claim in _claims(part)) for part in parts)


def _claims(sentence: str) -> Iterator[_Unit]:
    """The sentence as it stands, and without an opening that claims nothing."""
    words = _tokens(sentence)
    yield _unit(words)
    for opening in _listed(Use.OPENING):
        begins = opening.split()
        if words[: len(begins)] == begins:
            yield _unit(words[len(begins) :])


def _says_unit(claim: _Unit, units: list[_Unit]) -> bool:
    if not claim.words:
        return False
    for unit in units:
        if claim.binding != unit.binding or claim.numbers != unit.numbers:
            continue
        if claim.words == unit.words:
            return True
        if not unit.whole and len(claim.words) >= _LEAST_KEPT * len(unit.words) and claim.words == unit.words[: len(claim.words)]:
            return True
    return False


@cache
def _units(statement: str) -> list[_Unit]:
    """Each sentence of `statement`, without its plain asides too, and each run of parts between its commas where no condition binds the sentence together."""
    units = []
    for sentence in _sentences(statement):
        unit = _unit(_tokens(sentence))
        units.append(unit)
        if not any(_unit(_tokens(aside)).whole for aside in _ASIDE.findall(sentence)):
            units.append(_unit(_tokens(_ASIDE.sub("", sentence))))
        parts = [part for part in re.split(r",", sentence) if _tokens(part)]
        if not set(unit.binding) & _conditions() and len(parts) > 1:
            runs = ((first, last) for first in range(len(parts)) for last in range(first + 1, len(parts) + 1))
            units += [_unit(_tokens(" ".join(parts[first:last]))) for first, last in runs]
    return units


def _unit(words: list[str]) -> _Unit:
    same, fillers, words = _same(), _listed(Use.FILLER), _amounts(words)
    kept = [same.get(word, same.get(_stem(word), _stem(word))) for word in words if word not in fillers]
    binding = tuple(same.get(word, word) for word in words if word in _binding())
    numbers = tuple(number for word in words if (number := _number(word)) is not None)
    whole = bool(binding or numbers) or any(_HAN.match(word) for word in words)
    return _Unit(tuple(kept), binding, numbers, whole, not _operators().isdisjoint(words))


def _amounts(words: list[str]) -> list[str]:
    """`words` with the article of an amount tied to it: "a little" bids where "little" forbids."""
    joined: list[str] = []
    for word in words:
        tied = f"{joined[-1]}_{word}" if joined else ""
        if tied in _binding():
            joined[-1] = tied
        else:
            joined.append(word)
    return joined


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def _tokens(text: str) -> list[str]:
    return [_number(word) or word for word in normalise(text, repair=False).split()]


def _key(sentence: str) -> str:
    return " ".join(_tokens(sentence))


def _number(word: str) -> str | None:
    if word[0].isdigit():
        return word.replace(",", ".")
    said = spoken([word]) if word not in {"one", "una", "uno", "once"} else None
    return f"{said[0]:g}" if said else None


def _numbers(text: str) -> list[str]:
    return [*(found.replace(",", ".") for found in _DIGITS.findall(text)), *(number for word in _tokens(text) if (number := _number(word)) is not None)]


def _phones(texts: Iterable[str]) -> list[str]:
    return [found for text in texts for found in _PHONE.findall(text)]


def _only_digits(text: str) -> str:
    return re.sub(r"\D", "", text)


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word.removesuffix("e") if len(word) > 3 else word


def _named(sentence: str, statements: list[str]) -> bool:
    """Whether a capitalised word inside the sentence, or a title, stands in none of the statements."""
    known = {word for statement in statements for word in re.findall(r"[\w'’\-]+", statement)}
    titled = _says(Use.TITLE, sentence) and not any(_says(Use.TITLE, statement) for statement in statements)
    return titled or any(word not in known and word != "I" for word in _CAPITAL.findall(sentence))


def _complication(sentence: str, statements: list[str]) -> bool:
    said, backed = f" {_key(sentence)} ", " ".join(f" {_key(statement)} " for statement in statements)
    return any(f" {name} " in said and f" {name} " not in backed for name in _complication_names())


def _is_courtesy(sentence: str) -> bool:
    return _key(sentence) in {_key(each) for each in _listed(Use.COURTESY)}


def _says(use: Use, sentence: str) -> bool:
    said = f" {_key(sentence)} "
    packed = said.replace(" ", "")
    return any((_SPACED.search(each) and f" {each} " in said) or (not _SPACED.search(each) and each in packed) for each in _listed(use))


@cache
def word_lists() -> list[WordList]:
    """The guard's word lists. Raises `pydantic.ValidationError` where the file is broken."""
    return TypeAdapter(list[WordList]).validate_python(yaml.safe_load(_WORD_LISTS.read_text(encoding="utf-8")))


@cache
def _listed(use: Use) -> frozenset[str]:
    words = frozenset(word for each in word_lists() if each.use is use for word in each.words)
    return words | _medicine_names() if use is Use.MEDICINE else words


@cache
def _medicine_names() -> frozenset[str]:
    named = (name for each in knowledge().medicines.values() for name in (each.name, *each.brands))
    return frozenset(" ".join(_tokens(name)) for name in named)


@cache
def _complication_names() -> frozenset[str]:
    named = (name for each in knowledge().complications.values() for name in (each.name, *each.synonyms))
    return frozenset(" ".join(_tokens(name)) for name in named)


@cache
def _same() -> dict[str, str]:
    """Each synonym, as it stands and stemmed, to the first of its list."""
    return {form: each.words[0] for each in word_lists() if each.use is Use.SYNONYM for word in each.words for form in (word, _stem(word))}


@cache
def _operators() -> frozenset[str]:
    return frozenset(word for phrase in _listed(Use.OPERATOR) for word in phrase.split())


@cache
def _binding() -> frozenset[str]:
    return _operators() | _listed(Use.QUALIFIER)


@cache
def _conditions() -> frozenset[str]:
    return frozenset(word for each in word_lists() if each.id.startswith("conditions") for phrase in each.words for word in phrase.split())
