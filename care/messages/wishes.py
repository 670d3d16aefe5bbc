"""Clear wishes to get no more messages, that the number is somebody else's, or that others read the phone, in the patients' own words: by the patterns of
`wishes.yaml`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from care.knowledge import knowledge
from care.redflags.normalise import normalise

_SENTENCE = re.compile(r"[^.!?;\n\u3002\uff01\uff1f\uff1b]+([.!?;\n\u3002\uff01\uff1f\uff1b]*)")
_REFUSAL = re.compile(r"^\s*(?:no+|nope|不)\s*[,\uff0c]", re.IGNORECASE)
"""A "no" of its own turns nothing round: "no, deje de escribirme"."""
_CHINESE = re.compile(r"(?<=[\u3400-\u9fff]) (?=[\u3400-\u9fff])")
_LONGEST = 20
"""Words of a clause in which a wish is looked for; of Chinese, half as many as characters. A longer one is left to the dialogue."""
_MORE = 2
"""So many words beside a wish to stop, or that the number is wrong, are something more to read; beside a shared phone any word is: it may be a symptom."""


@dataclass(frozen=True)
class Said:
    """What a message says of the service: that it is to stop, (`wrong_number`) that it writes to somebody else, or (`shared_phone`) that others read what it
    writes; `more`: and something beside that."""

    wrong_number: bool
    more: bool
    shared_phone: bool = False


@dataclass(frozen=True)
class _Clause:
    text: str
    asked: bool


@dataclass(frozen=True)
class _Wishes:
    needed: re.Pattern[str]
    stop_whole: re.Pattern[str]
    stop_within: re.Pattern[str]
    number_whole: re.Pattern[str]
    number_within: re.Pattern[str]
    shared_within: re.Pattern[str]
    unless_before: re.Pattern[str]
    asks: re.Pattern[str]
    requests: re.Pattern[str]
    fillers: frozenset[str]
    simplified: dict[int, int]


def said_in(text: str, plain: str) -> Said | None:
    """Whether the text (`plain`: its words as the rules read it) says, in any of the three languages, that the number is wrong, that messages are to stop or,
    where it says neither, that others read the phone.

    Never raises.
    """
    known = _wishes()
    if not known.needed.search(plain):
        return None
    clauses = _clauses(text)
    whole = " ".join(clause.text for clause in clauses)
    if known.number_whole.fullmatch(whole) and not clauses[-1].asked:
        return Said(wrong_number=True, more=False)
    if known.stop_whole.fullmatch(whole) and not (clauses[-1].asked and not known.requests.search(whole)):
        return Said(wrong_number=False, more=False)
    numbers = [_found(known.number_within, clause) for clause in clauses]
    stops = [_found(known.stop_within, clause) for clause in clauses]
    if not any(numbers) and not any(stops):
        return _shared(clauses, _CHINESE.sub("", plain.translate(known.simplified)))
    left = [_left(clause.text, number, stop) for clause, number, stop in zip(clauses, numbers, stops, strict=True)]
    return Said(wrong_number=any(numbers), more=sum(left) >= _MORE)


def _shared(clauses: list[_Clause], whole: str) -> Said | None:
    shared = _wishes().shared_within
    if not any(_found(shared, clause) for clause in clauses):
        return None
    return Said(wrong_number=False, more=not shared.fullmatch(whole), shared_phone=True)


def _clauses(text: str) -> list[_Clause]:
    clauses = []
    for sentence in _SENTENCE.finditer(text):
        asked = "?" in sentence[1] or "\uff1f" in sentence[1]
        plain = _CHINESE.sub("", normalise(_REFUSAL.sub("", sentence[0]).translate(_wishes().simplified), repair=False))
        clauses += [_Clause(line, asked) for line in plain.split("\n") if line]
    return clauses


def _found(pattern: re.Pattern[str], clause: _Clause) -> re.Match[str] | None:
    """Where the clause says so and means it: it neither asks nor turns it round, nor is it of somebody else."""
    if _length(clause.text) > _LONGEST:
        return None
    known = _wishes()
    if not known.requests.search(clause.text) and (clause.asked or (known.asks.search(clause.text) and not clause.text.startswith("how"))):
        return None
    return next((found for found in pattern.finditer(clause.text) if not known.unless_before.search(clause.text[: found.start()])), None)


def _left(clause: str, *found: re.Match[str] | None) -> int:
    """How many words of the clause say something else."""
    for match in found:
        clause = clause.replace(match[0], " ") if match else clause
    return _length(" ".join(word for word in clause.split() if word not in _wishes().fillers))


def _length(text: str) -> int:
    chinese = sum("\u3400" <= char <= "\u9fff" for char in text)
    return len(re.findall(r"[^\s\u3400-\u9fff]+", text)) + chinese // 2


@cache
def _wishes() -> _Wishes:
    read = knowledge().wishes
    return _Wishes(
        needed=read.compiled(read.needed),
        stop_whole=read.compiled(*read.stop_whole, alone=True),
        stop_within=read.compiled(*read.stop_within),
        number_whole=read.compiled(*read.number_whole, alone=True),
        number_within=read.compiled(*read.number_within),
        shared_within=read.compiled(*read.shared_within),
        unless_before=read.compiled(*read.unless_before),
        asks=read.compiled(read.asks),
        requests=read.compiled(read.requests),
        fillers=frozenset(read.fillers.split()),
        simplified=str.maketrans(read.traditional, read.simplified),
    )
