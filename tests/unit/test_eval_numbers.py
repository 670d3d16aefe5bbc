"""`aftercare eval numbers` counts a text as right only when each value and its type is, and nothing besides is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aftercare.commands.numbers import main


def _row(label: str, text: str, *expected: dict[str, object]) -> str:
    return json.dumps({"id": text, "text": text, "label": label, "reference_datetime": "2026-03-05T00:00:00", "expected": list(expected)})


def test_each_kind_has_its_share(tmp_path: Path) -> None:
    day = {"Text": "tomorrow", "TypeName": "datetimeV2.date", "Resolution": {"values": [{"type": "date", "value": "2026-03-06"}]}}
    wrong_day = {**day, "Resolution": {"values": [{"type": "date", "value": "2026-03-09"}]}}
    cases = tmp_path / "cases.jsonl"
    cases.write_text(
        "\n".join(
            [
                _row("number", "twelve pills", {"Text": "twelve", "Resolution": {"value": "12"}}),
                _row("number", "twelve pills and two", {"Text": "twelve", "Resolution": {"value": "12"}}),
                _row("number", "no one"),
                _row("temperature", "it is 99 F", {"Text": "99 F", "Resolution": {"value": "99", "unit": "F"}}),
                _row("datetime", "I come tomorrow", day),
                _row("datetime", "I come tomorrow", wrong_day),
                _row("boolean", "yes please", {"Text": "yes", "Resolution": {"value": True}}),
                _row("email", "a@b.org", {"Text": "a@b.org", "Resolution": {"value": "a@b.org"}}),
                _row("timezone", "noon UTC", {"Text": "UTC", "Resolution": {"value": "UTC"}}),
            ]
        )
    )
    assert main(["--jsonl", str(cases), "--json", str(tmp_path / "out.json")]) == 0
    shares = {kind: each["share"] for kind, each in json.loads((tmp_path / "out.json").read_text()).items()}
    assert shares == {"number": 0.667, "temperature": 1.0, "datetime": 0.5, "datetime: date": 0.5, "boolean": 1.0, "email": 1.0, "timezone": 0.0}


def test_a_file_that_is_no_cases_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wrong.jsonl").write_text('{"text": 5}')
    assert main(["--jsonl", str(tmp_path / "wrong.jsonl")]) == 2
    assert "wrong.jsonl" in capsys.readouterr().err
