"""A red flag is seen however it is written: misspelt, run together, in look-alike letters or signs, cut in parts, or between polite words.

Measured as what a disguise loses of the texts that the rules catch when written plainly: every text of the rules and every caught paraphrase of the suites. The
goal is half a point; where it is not reached the floor is what is.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from care.acuity import Acuity
from care.knowledge import knowledge
from care.redflags import check
from care.redflags.normalise import normalise
from care.triage.model import PatientContext

SUITES = Path(__file__).parent / "suites"
CYRILLIC = str.maketrans("aceopxyisj", "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456\u0455\u0458")
GREEK = str.maketrans("aoivtnp", "\u03b1\u03bf\u03b9\u03bd\u03c4\u03b7\u03c1")
SIGNS = {
    "chest": "\U0001fac1", "heart": "\U0001fac0", "blood": "\U0001fa78", "vomiting": "\U0001f92e", "fever": "\U0001f912", "leg": "\U0001f9b5", "foot": "\U0001f9b6",
    "pills": "\U0001f48a", "knife": "\U0001f52a", "gun": "\U0001f52b", "mouth": "\U0001f444", "tongue": "\U0001f445", "baby": "\U0001f476", "pain": "\U0001f616",
    "poop": "\U0001f4a9", "nose": "\U0001f443", "hurts": "\U0001f915", "temperature": "\U0001f321\ufe0f", "shivering": "\U0001f976",
}  # fmt: skip


def level(text: str, protocol: str | None) -> int:
    return max((hit.acuity.rank for hit in check(text, PatientContext(protocol=protocol or "knee_replacement", day=5))), default=-1)


@cache
def caught() -> list[tuple[str, str | None, int]]:
    """Texts with their protocol and the rank that they must have."""
    texts = [(text, None, flag.acuity.rank) for flag in knowledge().red_flags.values() for text in flag.must_fire if isinstance(text, str)]
    lines = (SUITES / "paraphrases.jsonl").read_text(encoding="utf-8").splitlines()
    suite = [(row["text"], row.get("protocol"), Acuity(row["acuity"]).rank) for row in map(json.loads, lines)]
    return texts + [row for row in suite if level(row[0], row[1]) >= row[2]]


def with_typo(text: str) -> str:
    """A letter of some long word doubled, dropped, or swapped with its neighbour."""
    rng = random.Random(text)
    words = text.split()
    long = [at for at, word in enumerate(words) if len(word) >= 5 and word.isalpha()]
    if not long:
        return text
    place = rng.choice(long)
    word = words[place]
    at = rng.randrange(1, len(word) - 2)
    words[place] = rng.choice([word[:at] + word[at] + word[at:], word[:at] + word[at + 1 :], word[:at] + word[at + 1] + word[at] + word[at + 2 :]])
    return " ".join(words)


def run_on(text: str) -> str:
    """Two neighbouring words written as one."""
    words = text.split()
    if len(words) < 2:
        return text
    at = random.Random(text).randrange(len(words) - 1)
    return " ".join([*words[:at], words[at] + words[at + 1], *words[at + 2 :]])


def full_width(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def signs(text: str) -> str:
    return re.sub(r"[a-z]+", lambda word: SIGNS.get(word[0], word[0]), text)


DISGUISES: dict[str, tuple[Callable[[str], str], float]] = {
    "capitals": (str.upper, 0.5),
    "Cyrillic letters": (lambda text: text.translate(CYRILLIC), 0.5),
    "Greek letters": (lambda text: text.translate(GREEK), 0.5),
    "full width": (full_width, 0.5),
    "invisible characters": (lambda text: "\u200b".join(text), 0.5),
    "emoji between the words": (lambda text: text.replace(" ", " \U0001f62d "), 0.5),
    "emoji for the words": (signs, 0.5),
    "polite words about it": (lambda text: f"hello, hope you are well. {text}. thanks so much, have a nice day", 0.5),
    "dots within": (lambda text: text.replace(" ", "... ", 1), 0.5),
    "a word spaced out": (lambda text: re.sub(r"\b[a-z]{5,}\b", lambda word: " ".join(word[0]), text, count=1), 0.5),
    "a typo": (with_typo, 1.0),
    "two words run together": (run_on, 0.8),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguised_red_flag_is_seen(disguise: str) -> None:
    change, most = DISGUISES[disguise]
    missed = [text for text, protocol, rank in caught() if level(change(text), protocol) < rank]
    assert 100 * len(missed) / len(caught()) <= most, len(missed)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_red_flag_sent_in_parts_is_seen_as_the_service_joins_them(parts: int) -> None:
    def seen(text: str, protocol: str | None, rank: int) -> bool:
        words = text.split()
        size = -(-len(words) // parts)
        sent = [" ".join(words[at : at + size]) for at in range(0, len(words), size)]
        return any(level(each, protocol) >= rank for each in (" ".join(sent), "\n".join(sent), *sent))

    missed = [text for text, protocol, rank in caught() if not seen(text, protocol, rank)]
    assert 100 * len(missed) / len(caught()) <= 0.5, len(missed)


@pytest.mark.parametrize(
    "text", ["cantbreathe", "chestpain", "ch3st p4in", "c h e s t p a i n", "cheeeest pain", "sucide", "I wannadie", "\U0001fac1\U0001f616", "bp78/40"]
)
def test_words_run_together_or_apart_are_read(text: str) -> None:
    assert check(text)


@given(st.text(max_size=300))
def test_text_is_folded_once_and_for_all(text: str) -> None:
    folded = normalise(text, repair=False)
    assert normalise(folded, repair=False) == folded


@given(st.text(max_size=200), st.sampled_from(["Good morning. {} Kind regards, Ann", "thanks so much! {} bye for now", "hi\n{}\nthank you"]))
def test_polite_words_about_a_message_never_lower_it(text: str, polite: str) -> None:
    assert level(polite.format(text + "."), None) >= level(text, None)


@pytest.mark.parametrize(
    ("wrong", "meant"), [("weezing", "wheezing"), ("chils", "chills"), ("loosing", "losing"), ("feaver", "fever"), ("dizy", "dizzy"), ("chst", "chest")]
)
def test_a_letter_left_out_or_doubled_is_likelier_than_a_wrong_one(wrong: str, meant: str) -> None:
    assert normalise(wrong) == meant
