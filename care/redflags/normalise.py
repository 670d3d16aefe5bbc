"""Text as the rules read it: lower-case words of plain letters and digits, one clause a line."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path

import yaml

from care.knowledge import knowledge

_SPELLING = Path(__file__).parent.parent / "knowledge" / "spelling.yaml"
_LOOKALIKES = str.maketrans("авсеԁһіјкӏмнорԛгѕтуԝхαεικνορτυχβγ", "abcedhijklmhopqrstywxaeiknoptuxbg")
_LEET = str.maketrans("013457@$!", "oieastasi")
_INVISIBLE = {"Cf", "Cc", "Cs", "Co", "Cn"}
_CLAUSE = re.compile(r"[.!?;\n\r]+(?=\s|$)|\n|;|\b(?:but|however|except|although)\b")
_CONTRACTED = re.compile(r"(?<=\w)['`\u2018\u2019\u02bc](?=\w)")
_NUMBER_WORDS = {"ten": "10", "nine": "9", "one hundred": "100"}
_MIN_REPAIRED, _MAX_REPAIRED = 5, 20


def normalise(text: str, *, repair: bool = True) -> str:
    """Lower case, homoglyphs, accents, invisible characters and (with `repair`) misspellings folded; clauses on lines of their own. Never raises."""
    shown = "".join(" " if char in "\n\r\t" else char for char in text) if "\n" not in text else text
    plain = unicodedata.normalize("NFKC", shown)
    plain = "".join(char for char in plain if char == "\n" or unicodedata.category(char) not in _INVISIBLE)
    plain = plain.casefold().translate(_LOOKALIKES)
    plain = "".join(char for char in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(char))
    plain = _CONTRACTED.sub("", plain)
    clauses = (_words(clause, repair) for clause in _CLAUSE.split(plain))
    return "\n".join(clause for clause in clauses if clause)


def _words(clause: str, repair: bool) -> str:
    return " ".join(_repair(word) if repair else word.strip("@$!") for word in re.findall(r"[a-z0-9@$!]+", clause) if word.strip("@$!"))


def _repair(word: str) -> str:
    word = word.strip("!$@") if word.strip("!$@").isalnum() and word.strip("!$@").isalpha() else word
    if word in _spelling():
        return _spelling()[word]
    vocabulary = _vocabulary()
    if word.isalpha():
        if not _MIN_REPAIRED <= len(word) <= _MAX_REPAIRED or word in vocabulary:
            return word
        return next((known for near in _deletions(word) if (known := _near().get(near))), word)
    if not word.isdigit() and any(char.isalpha() for char in word):
        guess = word.translate(_LEET)
        if guess in vocabulary:
            return guess
    return re.sub(r"[@$!]", " ", word).strip()


def _deletions(word: str) -> list[str]:
    return [word] + [word[:at] + word[at + 1 :] for at in range(len(word))]


@cache
def _spelling() -> dict[str, str]:
    return {str(wrong): str(right) for wrong, right in yaml.safe_load(_SPELLING.read_text(encoding="utf-8")).items()}


@cache
def _rule_words() -> frozenset[str]:
    """The words the rules look for: what a misspelling is mended to."""
    patterns = (pattern for flag in knowledge().red_flags.values() for group in flag.all for pattern in group)
    return frozenset(word for pattern in patterns for word in re.findall(r"[a-z]{4,}", re.sub(r"\\[bwsd]", " ", pattern)))


@cache
def _vocabulary() -> frozenset[str]:
    """Words that are right as they stand: those of the rules and of the symptoms, and ordinary ones that look like them."""
    words = {word for symptom in knowledge().symptoms.values() for synonym in symptom.synonyms for word in re.findall(r"[a-z]{4,}", synonym)}
    return _rule_words() | words | _ORDINARY


_ORDINARY = frozenset(
    [
        "breathe",
        "breathing",
        "heart",
        "heard",
        "hearts",
        "there",
        "these",
        "those",
        "where",
        "which",
        "while",
        "weather",
        "whether",
        "trouble",
        "double",
        "doubled",
        "wound",
        "would",
        "could",
        "should",
        "bound",
        "round",
        "sound",
        "found",
        "hound",
        "pound",
        "pounds",
        "great",
        "greet",
        "green",
        "sweet",
        "street",
        "state",
        "start",
        "stand",
        "stood",
        "still",
        "spill",
        "chill",
        "child",
        "chilly",
        "could",
        "couldnt",
        "cloth",
        "clothe",
        "close",
        "chose",
        "chase",
        "chart",
        "chess",
        "cheat",
        "chest",
        "check",
        "cheek",
        "beach",
        "batch",
        "patch",
        "peach",
        "cough",
        "tough",
        "rough",
        "though",
        "bough",
        "bought",
        "taught",
        "caught",
        "fight",
        "right",
        "night",
        "light",
        "sight",
        "might",
        "feeling",
        "filling",
        "falling",
        "calling",
        "failing",
        "fever",
        "never",
        "ever",
        "every",
        "very",
        "fewer",
        "lever",
        "level",
        "fainted",
        "painted",
        "vision",
        "mission",
        "please",
        "plead",
        "blood",
        "flood",
        "floor",
        "blond",
        "bloom",
        "brood",
        "bleed",
        "breed",
        "greed",
        "bread",
        "break",
        "broad",
        "board",
        "throat",
        "threat",
        "treat",
        "tongue",
        "league",
        "lips",
        "slips",
        "clips",
        "throw",
        "thrown",
        "grown",
        "blown",
        "brown",
        "crown",
        "today",
        "tonight",
        "tomorrow",
        "morning",
        "evening",
        "walking",
        "talking",
        "working",
        "waking",
        "taking",
        "making",
        "baking",
        "staying",
        "playing",
        "soaking",
        "soaked",
        "soak",
        "making",
        "shaking",
        "later",
        "after",
        "water",
        "without",
        "within",
        "partner",
        "parties",
        "parted",
        "smile",
        "small",
        "smell",
        "shell",
        "shall",
        "swell",
        "whole",
        "hole",
        "house",
        "hours",
        "others",
        "yellow",
        "hello",
        "happy",
        "shaken",
        "table",
        "stable",
        "able",
        "label",
        "fable",
        "taken",
        "token",
        "liver",
        "river",
        "rather",
        "gather",
        "father",
        "feather",
        "leather",
        "cream",
        "crane",
        "clean",
        "lemon",
        "salad",
        "plane",
        "plain",
        "plate",
        "price",
        "pride",
        "prior",
        "alone",
        "along",
        "among",
        "amount",
        "mount",
        "count",
        "under",
        "wonder",
        "thunder",
        "faith",
        "saint",
        "taint",
        "quiet",
        "quite",
        "green",
        "groin",
        "bring",
        "being",
        "going",
        "doing",
        "seeing",
        "swelling",
        "spelling",
        "smelling",
        "selling",
        "telling",
        "dwelling",
        "shower",
        "power",
        "lower",
        "flower",
        "tower",
        "bother",
        "mother",
        "father",
        "other",
        "brother",
        "another",
        "numb",
        "thumb",
        "dumb",
        "number",
        "member",
        "remember",
        "stroke",
        "strike",
        "struck",
        "stuck",
    ]
)


@cache
def _near() -> dict[str, str]:
    """Words one letter apart: each vocabulary word by itself and by itself less one letter."""
    known = sorted(word for word in _rule_words() - _ORDINARY if len(word) >= _MIN_REPAIRED)
    return {near: word for word in known for near in _deletions(word)}
