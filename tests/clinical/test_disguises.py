"""A red flag is seen however it is written: misspelt, run together, spaced out, in look-alike letters, or cut in two."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from care.knowledge import knowledge
from care.redflags import check

_HOMOGLYPHS = str.maketrans("aceopxy", "\u0430\u0441\u0435\u043e\u0440\u0445\u0443")
PLAIN = [(flag.id, text) for flag in knowledge().red_flags.values() for text in flag.must_fire if isinstance(text, str) and text.isascii()]


def with_typo(text: str) -> str:
    """A letter of the longest word doubled, dropped or swapped with its neighbour."""
    rng = random.Random(text)
    word = max(text.split(), key=len)
    if len(word) < 6 or not word.isalpha():
        return text
    at = rng.randrange(1, len(word) - 2)
    slips = [word[:at] + word[at] + word[at:], word[:at] + word[at + 1 :], word[:at] + word[at + 1] + word[at] + word[at + 2 :]]
    return text.replace(word, rng.choice(slips), 1)


DISGUISES: dict[str, tuple[Callable[[str], str], float]] = {
    "capitals": (str.upper, 0.98),
    "look-alike letters": (lambda text: text.translate(_HOMOGLYPHS), 0.98),
    "invisible characters": (lambda text: "\u200b".join(text), 0.98),
    "emoji between the words": (lambda text: text.replace(" ", " \U0001f62d "), 0.95),
    "other words before and after": (lambda text: f"hi there, it is me again. {text}. thanks so much", 0.95),
    "a typo": (with_typo, 0.85),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguised_red_flag_is_seen(disguise: str) -> None:
    change, least = DISGUISES[disguise]
    missed = [(rule, change(text)) for rule, text in PLAIN if rule not in [hit.rule for hit in check(change(text))]]
    assert len(missed) <= (1 - least) * len(PLAIN), missed


@pytest.mark.parametrize("text", ["cantbreathe", "chestpain", "ch3st p4in", "c h e s t p a i n", "cheeeest pain", "sucide", "I wannadie"])
def test_words_run_together_or_apart_are_read(text: str) -> None:
    assert check(text)
