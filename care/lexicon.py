"""Finding known symptoms in a patient's words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TypeAlias

from rapidfuzz import process
from rapidfuzz.distance import OSA

from care.knowledge import knowledge
from care.redflags.normalise import frequency, normalise
from care.redflags.scope import Aside, literal_clauses

_MAX_READ = 12_000
_FILLERS = tuple(
    """
    my his her our the this that a an is are was were am been be so very really too quite pretty rather bit still just getting got gets
    feels looks kind kinda super extremely badly terribly other both all slightly also always now lot some somewhat mi la el muy
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
"""Words that may stand between those of a synonym: "leg swollen" finds "leg is so very swollen"."""
_SOMETIMES_FILLERS = ("left", "right", "mucho")
"""Fillers, but in some synonyms they tell: "left arm hurts" is more than a sore arm."""
_MOST_FILLERS = 3
_MARKED = re.compile(rf"\b(?:{'|'.join(_FILLERS + _SOMETIMES_FILLERS)})\b")
_MARK = "~"
"""Stands before each filler while a text is searched, so that the pattern need not list them at every gap."""
_UNABLE = re.compile(r"\b(?:cannot|can not|could not|couldnt|unable to|not able to)\b")

_SHORTEST, _TWO_OFF, _LONGEST = 4, 8, 20
_A_WORD = 60
"""A word written this often in English or Spanish is right as it stands."""

_CONTRACTED, _COMMON = ("nt", "ve", "re", "ll", "d"), 2_000
"""Of "shouldnt" the apostrophe is gone, not a letter wrong."""

_Tree: TypeAlias = "dict[str, _Tree]"


@dataclass(frozen=True)
class FoundSymptom:
    """A symptom by its id, the normalised words it was found by, and whether it is denied or of long ago or another person."""

    id: str
    words: str
    negated: bool
    elsewhere: bool


def find_symptoms(text: str) -> list[FoundSymptom]:
    """The symptoms in `text`, each once, an affirmed mention before a denied one."""
    found: dict[str, FoundSymptom] = {}
    for read in literal_clauses(text[:_MAX_READ]):
        marked = _marked(_UNABLE.sub("cant", " ".join(map(_mended, read.clause.words))))
        for match in _pattern().finditer(marked):
            words = match.group(0).replace(_MARK, "")
            symptom = _meant(words)
            known = found.get(symptom)
            if known is None or known.negated or known.elsewhere:
                start = marked.count(" ", 0, match.start())
                aside = read.aside(start, start + words.count(" ") + 1)
                found[symptom] = FoundSymptom(symptom, words, aside is Aside.DENIED, aside is not None and aside is not Aside.DENIED)
    return list(found.values())


def present_symptoms(text: str) -> list[str]:
    """The ids of the symptoms that the patient says to have."""
    return [each.id for each in find_symptoms(text) if not each.negated and not each.elsewhere]


def synonym_key(synonym: str) -> str:
    """What a synonym is told apart by: its normalised words without fillers. No two symptoms may share one."""
    return _bare(_folded(synonym))


@lru_cache(20_000)
def _mended(word: str) -> str:
    """The word of a synonym that a rare word is one letter from, or two in a long one; one word stays one, so places in the clause hold.

    The rules' own spelling repair, which comes before, knows only their words. Source: OSA counts two swapped neighbours as one letter.
    """
    if not (_SHORTEST <= len(word) <= _LONGEST and word.isalpha() and word.isascii()) or word in _words() or frequency(word) >= _A_WORD:
        return word
    if any(word.endswith(each) and frequency(word.removesuffix(each)) >= _COMMON for each in _CONTRACTED):
        return word
    near = process.extract(word, _words(), scorer=OSA.distance, score_cutoff=1 if len(word) < _TWO_OFF else 2, limit=5)
    likely = [
        (_single(known) != _single(word), distance, -frequency(known), known)
        for known, distance, _ in near
        if known[0] == word[0] and (len(word) > _SHORTEST or len(known) > len(word))
    ]
    return min(likely)[-1] if likely else word


def _single(word: str) -> str:
    """With doubled letters as one: what is misspelt most often."""
    return re.sub(r"(.)\1", r"\1", word)


def _folded(text: str) -> str:
    return _UNABLE.sub("cant", normalise(text))


def _marked(clause: str) -> str:
    return _MARKED.sub(rf"{_MARK}\g<0>", clause)


def _bare(words: str, fillers: tuple[str, ...] = _FILLERS) -> str:
    return " ".join(word for word in words.split() if word not in fillers)


def _meant(words: str) -> str:
    bare = _bare(words)
    return _by_synonym().get(bare) or _by_synonym()[_bare(bare, _SOMETIMES_FILLERS)]


@cache
def _words() -> frozenset[str]:
    """The words of all synonyms that are long enough to be told from others."""
    folded = (_folded(synonym) for symptom in knowledge().symptoms.values() for synonym in symptom.synonyms)
    return frozenset(word for words in folded for word in words.split() if len(word) >= _SHORTEST)


@cache
def _by_synonym() -> dict[str, str]:
    exact = {synonym_key(synonym): symptom.id for symptom in knowledge().symptoms.values() for synonym in symptom.synonyms}
    return {_bare(key, _SOMETIMES_FILLERS): symptom for key, symptom in exact.items()} | exact


@cache
def _pattern() -> re.Pattern[str]:
    """All synonyms as one tree of letters, so that the time to match hardly grows with their number; the longest match wins."""
    tree: _Tree = {}
    for symptom in knowledge().symptoms.values():
        for synonym in symptom.synonyms:
            node = tree
            for letter in _marked(_folded(synonym)):
                node = node.setdefault(letter, {})
            node[""] = {}
    return re.compile(rf"(?<!\S){_alternatives(tree)}(?!\S)")


def _alternatives(tree: _Tree) -> str:
    """The pattern of all words in `tree`; an empty key marks where one ends."""
    gap = rf"(?: {_MARK}\w+){{0,{_MOST_FILLERS}}}? "
    branches = [(gap if letter == " " else letter) + _alternatives(below) for letter, below in tree.items() if letter]
    if not branches:
        return ""
    return f"(?:{'|'.join(branches)})" + ("?" if "" in tree else "")
