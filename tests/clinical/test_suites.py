"""The clinical safety suites are whole: every line has its fields, nothing stands twice, and no concept is thin."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

SUITES = Path(__file__).parent / "suites"
FIELDS = {
    "paraphrases": {"id", "text", "concept", "acuity"},
    "denied": {"id", "text", "kind"},
    "played_down": {"id", "plain", "played_down", "acuity"},
    "method": {"id", "without", "with_method"},
    "ordinary": {"id", "text", "acuity"},
}
MINIMUM = {"paraphrases": 600, "denied": 320, "played_down": 300, "method": 150, "ordinary": 250}
ALLOWED = {
    "paraphrases": {"emergency", "urgent"},
    "played_down": {"emergency", "urgent"},
    "ordinary": {"routine", "self_care"},
}
KINDS = {"denied", "other_person", "past", "hypothetical", "idiom", "expected"}
PROTOCOLS = {
    "knee_replacement",
    "hip_replacement",
    "caesarean_birth",
    "vaginal_birth",
    "abdominal_surgery",
    "cardiac_surgery",
    "heart_failure",
    "copd",
    "child_asthma",
    "diabetes",
    "hypertension",
    "chemotherapy",
    "stroke",
    "pneumonia",
    "anticoagulant",
}


def load(suite: str) -> list[dict[str, str]]:
    """The rows of one suite."""
    return [json.loads(line) for line in (SUITES / f"{suite}.jsonl").read_text("utf-8").splitlines()]


def folded(text: str) -> str:
    """A text without case and spacing, to compare."""
    return " ".join(text.casefold().split())


def repeated(texts: list[str]) -> list[str]:
    """The texts that stand more than once."""
    return [text for text, times in Counter(map(folded, texts)).items() if times > 1]


@pytest.mark.parametrize("suite", FIELDS)
def test_every_row_has_its_fields(suite: str) -> None:
    for row in load(suite):
        assert FIELDS[suite] <= row.keys() <= FIELDS[suite] | {"protocol", "lang"}, row
        assert all(isinstance(value, str) and value.strip() for value in row.values()), row
        assert row.get("protocol", "stroke") in PROTOCOLS, row
        assert row.get("lang", "es") == "es", row
        assert suite not in ALLOWED or row["acuity"] in ALLOWED[suite], row


@pytest.mark.parametrize("suite", FIELDS)
def test_suite_is_large_enough_and_ids_are_unique(suite: str) -> None:
    rows = load(suite)
    assert len(rows) >= MINIMUM[suite]
    assert not repeated([row["id"] for row in rows])


@pytest.mark.parametrize(
    ("suite", "field"),
    [("paraphrases", "text"), ("denied", "text"), ("ordinary", "text"), ("played_down", "played_down"), ("method", "without"), ("method", "with_method")],
)
def test_no_text_stands_twice(suite: str, field: str) -> None:
    assert not repeated([row[field] for row in load(suite)])


def test_no_text_is_in_two_suites_of_single_messages() -> None:
    assert not repeated([row["text"] for suite in ("paraphrases", "denied", "ordinary") for row in load(suite)])


def test_every_listed_concept_has_at_least_twelve_messages() -> None:
    listed = set(re.findall(r"^- `(\w+)`:", (SUITES / "README.md").read_text("utf-8"), re.MULTILINE))
    counts = Counter(row["concept"] for row in load("paraphrases"))
    assert listed == counts.keys()
    assert not {concept: count for concept, count in counts.items() if count < 12}


def test_paraphrases_have_spanish() -> None:
    assert sum(row.get("lang") == "es" for row in load("paraphrases")) >= 40


def test_every_kind_of_denial_is_known_and_present() -> None:
    assert {row["kind"] for row in load("denied")} == KINDS


def test_pairs_differ_and_cover_many_emergencies() -> None:
    played = load("played_down")
    assert all(folded(row["plain"]) != folded(row["played_down"]) for row in played)
    assert len({folded(row["plain"]) for row in played}) >= 100
    assert all(folded(row["without"]) != folded(row["with_method"]) for row in load("method"))
