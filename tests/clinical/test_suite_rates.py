"""What the red-flag rules reach on the suites that were written blind to them, and on the texts that they were developed on.

Each suite is in two halves by its ids. Misses of the first half were read while the rules were written; of the second only the rate was ever looked at, so it
tells what holds on patients that nobody imagined. The goals are 0.97 of the paraphrases and 0.97 of the silent; the floors are what is reached, so that no
change loses ground unseen.
"""

from __future__ import annotations

import json
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from care.acuity import Acuity
from care.redflags import check
from care.triage.model import PatientContext

SUITES = Path(__file__).parent / "suites"
DEVELOPMENT, HARD = (Path(__file__).parent / f"{name}.yaml" for name in ("development", "hard"))
READ, HELD_BACK = "read", "held_back"
PARAPHRASES_FLOOR = {READ: 0.99, HELD_BACK: 0.95}
SILENCE_FLOOR = {READ: 0.99, HELD_BACK: 0.9}
HARD_FLOOR, HARD_SILENCE_FLOOR, HARD_MOST_FLOOR = 0.915, 0.69, 0.93
DEVELOPED_FLOOR, DEVELOPED_SILENCE_FLOOR = 0.975, 0.955
MOST_ORDINARY_FLAGGED = 0.015


def half(identifier: str) -> str:
    """The half of a row, by a hash of its id that stays as it is."""
    return READ if sha256(identifier.encode()).digest()[0] % 2 == 0 else HELD_BACK


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SUITES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def level(text: str, protocol: str | None = None) -> int:
    """The rank that the rules set; -1 where none fires."""
    hits = check(text, PatientContext(protocol=protocol or "knee_replacement", day=5))
    return max((hit.acuity.rank for hit in hits), default=-1)


def at_level(row: dict[str, Any]) -> bool:
    return level(row["text"], row.get("protocol")) >= Acuity(row["acuity"]).rank


@cache
def messages(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))


def present(path: Path) -> list[dict[str, Any]]:
    """A row for each text that tells of something: at least of its `acuity`, and where it has a `most`, of no more than that."""
    return [{**about, "text": text} for about in messages(path)["present"] for text in about["texts"]]


def silent(path: Path) -> list[str]:
    return [text for kind in messages(path)["silent"].values() for text in kind]


def share(found: list[bool]) -> float:
    return sum(found) / len(found)


def test_playing_it_down_never_lowers_an_emergency() -> None:
    pairs = [row for row in rows("played_down") if row["acuity"] == "emergency"]
    assert len(pairs) >= 300
    assert [row["id"] for row in pairs if level(row["played_down"], row.get("protocol")) < level(row["plain"], row.get("protocol"))] == []


def test_a_named_method_is_never_taken_less_seriously() -> None:
    pairs = rows("method")
    assert len(pairs) >= 150
    assert [row["id"] for row in pairs if level(row["with_method"]) < level(row["without"])] == []


def test_ordinary_messages_are_seldom_flagged() -> None:
    assert share([level(row["text"], row.get("protocol")) >= 0 for row in rows("ordinary")]) <= MOST_ORDINARY_FLAGGED


@pytest.mark.parametrize("part", [READ, HELD_BACK])
def test_paraphrases_of_red_flags_are_flagged(part: str) -> None:
    assert share([at_level(row) for row in rows("paraphrases") if half(row["id"]) == part]) >= PARAPHRASES_FLOOR[part]


@pytest.mark.parametrize("part", [READ, HELD_BACK])
def test_what_is_denied_or_of_others_is_left_alone(part: str) -> None:
    assert share([level(row["text"], row.get("protocol")) < 0 for row in rows("denied") if half(row["id"]) == part]) >= SILENCE_FLOOR[part]


def test_messages_that_the_rules_were_developed_on_are_flagged() -> None:
    texts = present(DEVELOPMENT)
    assert len(texts) >= 2_000
    assert share([at_level(row) for row in texts]) >= DEVELOPED_FLOOR


def test_what_the_rules_were_developed_to_leave_alone_is_left_alone() -> None:
    texts = silent(DEVELOPMENT)
    assert len(texts) >= 650
    assert share([level(text) < 0 for text in texts]) >= DEVELOPED_SILENCE_FLOOR


def test_a_danger_beside_what_excuses_others_is_flagged() -> None:
    texts = [row for row in present(HARD) if Acuity(row["acuity"]).rank >= Acuity.URGENT.rank]
    assert len(texts) >= 800
    assert share([at_level(row) for row in texts]) >= HARD_FLOOR


def test_what_only_sounds_dangerous_is_mostly_left_alone_and_called_no_higher_than_it_is() -> None:
    assert share([level(text) < 0 for text in silent(HARD)]) >= HARD_SILENCE_FLOOR
    texts = [row for row in present(HARD) if "most" in row]
    assert len(texts) >= 120
    assert share([level(row["text"], row.get("protocol")) <= Acuity(row["most"]).rank for row in texts]) >= HARD_MOST_FLOOR


_ASIDE = {
    "another": ["my friend had a stroke", "my neighbour died of a heart attack", "my sister had a clot", "my uncle has cancer", "dad died of a heart attack"],
    "past": ["I had a stroke in 2015", "I had a heart attack ten years ago", "I used to faint as a teenager", "last year my wound got infected"],
    "denied": ["no fever", "I am not dizzy", "no chest pain", "never had a fit", "nothing wrong with my wound"],
}
_DANGERS = [
    "my chest is tight and heavy",
    "my arm has gone dead",
    "my calf is hot and swollen",
    "my wound is pouring blood",
    "I can't breathe",
    "I have crushing chest pain",
]


@pytest.mark.parametrize("joined", [" ", " and ", " so ", ", ", ", and now ", ". ", " but "])
@pytest.mark.parametrize("aside", _ASIDE)
def test_what_is_set_aside_takes_no_danger_with_it_that_follows_in_the_same_breath(aside: str, joined: str) -> None:
    lost = [first + joined + danger for first in _ASIDE[aside] for danger in _DANGERS if level(first + joined + danger) < level(danger)]
    assert lost == []
