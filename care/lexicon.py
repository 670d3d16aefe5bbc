"""Finding known symptoms in a patient's words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

from care.knowledge import knowledge
from care.redflags.normalise import normalise
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
        marked = _marked(_UNABLE.sub("cant", " ".join(read.clause.words)))
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
