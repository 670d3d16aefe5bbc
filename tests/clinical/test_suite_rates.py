"""What the red-flag rules reach on the suites that were written blind to them.

The goals are 0.97 of the paraphrases and 0.97 of the silent; the floors are what is reached, so that no change loses ground unseen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from care.acuity import Acuity
from care.redflags import check
from care.triage.model import PatientContext

SUITES = Path(__file__).parent / "suites"
PARAPHRASES_FLOOR, SILENCE_FLOOR = 0.80, 0.79


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SUITES / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def level(text: str, protocol: str | None = None) -> int:
    """The rank that the rules set; -1 where none fires."""
    hits = check(text, PatientContext(protocol=protocol or "knee_replacement", day=5))
    return max((hit.acuity.rank for hit in hits), default=-1)


def test_playing_it_down_never_lowers_an_emergency() -> None:
    pairs = [row for row in rows("played_down") if row["acuity"] == "emergency"]
    assert len(pairs) >= 300
    lowered = [row["id"] for row in pairs if level(row["played_down"], row.get("protocol")) < level(row["plain"], row.get("protocol"))]
    assert lowered == []


def test_a_named_method_is_never_taken_less_seriously() -> None:
    pairs = rows("method")
    assert len(pairs) >= 150
    assert [row["id"] for row in pairs if level(row["with_method"]) < level(row["without"])] == []


def test_ordinary_messages_are_seldom_flagged() -> None:
    flagged = [row["id"] for row in rows("ordinary") if level(row["text"], row.get("protocol")) >= 0]
    assert len(flagged) <= 0.015 * len(rows("ordinary")), flagged


def test_paraphrases_of_red_flags_are_flagged() -> None:
    found = [level(row["text"], row.get("protocol")) >= Acuity(row["acuity"]).rank for row in rows("paraphrases")]
    assert sum(found) / len(found) >= PARAPHRASES_FLOOR


def test_what_is_denied_or_of_others_is_left_alone() -> None:
    silent = [level(row["text"], row.get("protocol")) < 0 for row in rows("denied")]
    assert sum(silent) / len(silent) >= SILENCE_FLOOR
