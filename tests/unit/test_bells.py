"""Celery is the bell: what is due later stands in a row, since a broker hands a task that waits out again and again."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("aftercare", "bot", "care", "generation", "nlu", "web", "workers")
LATER = re.compile(r"\b(eta|countdown|default_retry_delay|retry_backoff)\s*=|[\"'](eta|countdown)[\"']|\.retry\(")


def test_no_bell_is_rung_for_later() -> None:
    """R-03."""
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    assert [str(file) for file in files if LATER.search(file.read_text())] == []


def test_a_bell_for_later_would_be_seen() -> None:
    assert all(LATER.search(line) for line in ("send.apply_async([1], countdown=30)", "x = {'eta': when}", "self.retry(exc=error)"))
