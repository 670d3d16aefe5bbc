"""The web chat's own words: all of them in each language that the service writes, and each that the widget asks for."""

from __future__ import annotations

import json
import re

from web.chat import STATIC

WORDS = json.loads((STATIC / "words.json").read_text())


def test_every_word_stands_in_every_language() -> None:
    assert set(WORDS) == {"en", "es", "zh"}
    assert all(words.keys() == WORDS["en"].keys() and all(words.values()) for words in WORDS.values())


def test_the_widget_and_its_page_ask_for_these_words_alone() -> None:
    asked = set(re.findall(r"words\.(?!json)([a-z_]+)", (STATIC / "widget.js").read_text())) | set(
        re.findall(r'data-words="([a-z_]+)"', (STATIC / "chat.html").read_text())
    )
    assert asked | {"patient", "person"} == set(WORDS["en"])
