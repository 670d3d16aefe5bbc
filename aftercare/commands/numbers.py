"""`aftercare eval numbers`: what share of the numbers, quantities, dates and times in labelled texts is read right, kind by kind."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.table import Table

from care.answers import read_answer
from care.counts import counts_in
from care.knowledge.model import Question, QuestionKind
from care.moments import Moment, MomentKind, moments_in
from care.quantities import Kind, quantities_in, sequences_in

_YES_NO = Question(id="measured", kind=QuestionKind.YES_NO, text={"en": ""}, sources=["-"])
_CLOSE = 1e-9
_ANYTIME = datetime(2026, 1, 1)
_WORDED_UNITS = {"Cel": "C", "[degF]": "F", "deg": "Degree", "a": "Year", "mo": "Month", "wk": "Week", "d": "Day"}


class _Expected(BaseModel):
    model_config = ConfigDict(extra="ignore")
    Text: str
    Start: int | None = None
    Resolution: dict[str, Any] | None = None
    TypeName: str | None = None


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str
    text: str
    label: str
    reference_datetime: datetime | None = None
    expected: list[_Expected]


class KindFigures(BaseModel):
    """The texts of a kind: all of them, those read wholly right (each value and its type, nothing besides), and their share."""

    texts: int
    right: int
    share: float


class _Found(BaseModel):
    start: int
    end: int
    answers: list[object]


def measure(path: Path) -> dict[str, KindFigures]:
    """Each kind's figures. Raises `ValidationError` for a line that is no case."""
    tally: dict[str, list[bool]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = _Row.model_validate_json(line)
        right = _is_right(row)
        tally.setdefault(row.label, []).append(right)
        if row.label == "datetime" and len(row.expected) == 1:
            tally.setdefault(f"datetime: {(row.expected[0].TypeName or 'other').rpartition('.')[2]}", []).append(right)
    return {kind: KindFigures(texts=len(each), right=sum(each), share=round(sum(each) / len(each), 3)) for kind, each in sorted(tally.items())}


def _is_right(row: _Row) -> bool:
    found = _READERS.get(row.label, _nothing)(row)
    expected = [each for each in row.expected if _wanted(row.label, each) is not None]
    return len(found) == len(expected) and all(any(_same(row, each, other) for other in found) for each in expected)


def _same(row: _Row, expected: _Expected, found: _Found) -> bool:
    start = expected.Start if expected.Start is not None else row.text.lower().find(expected.Text.lower())
    if start >= 0 and (found.end <= start or found.start >= start + len(expected.Text)):
        return False
    wanted = _wanted(row.label, expected) or []
    return any(_equal(one, other) for one in wanted for other in found.answers)


def _equal(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= _CLOSE * max(1.0, abs(one))
    return one == other


def _wanted(label: str, expected: _Expected) -> list[object] | None:
    """The answers that are right; None where the case asks for no value."""
    resolution = expected.Resolution or {}
    if label.startswith("datetime"):
        kind = (expected.TypeName or "").rpartition(".")[2]
        return [(kind, each.get("value") or "", each.get("start") or "", each.get("end") or "") for each in resolution.get("values") or []]
    if label in ("temperature", "age"):
        return None if resolution.get("value") is None else [(float(resolution["value"]), resolution["unit"])]
    if label == "number":
        return [float(resolution["value"])]
    return [resolution.get("value") if label == "boolean" else str(resolution.get("value")).lower()]


def _numbers(row: _Row) -> list[_Found]:
    return [_Found(start=each.start, end=each.end, answers=[each.value]) for each in counts_in(row.text)]


def _quantities(kind: Kind) -> Callable[[_Row], list[_Found]]:
    def read(row: _Row) -> list[_Found]:
        found = [each for each in quantities_in(row.text) if each.kind is kind]
        return [_Found(start=each.start, end=each.end, answers=[(each.value, _WORDED_UNITS.get(each.unit, each.unit))]) for each in found]

    return read


def _sequences(kind: str) -> Callable[[_Row], list[_Found]]:
    def read(row: _Row) -> list[_Found]:
        found = [each for each in sequences_in(row.text) if each.kind == kind]
        return [_Found(start=each.start, end=each.end, answers=[row.text[each.start : each.end].lower()]) for each in found]

    return read


def _moments(day_first: bool) -> Callable[[_Row], list[_Found]]:
    def read(row: _Row) -> list[_Found]:
        now = (row.reference_datetime or _ANYTIME).replace(tzinfo=None)
        return [_Found(start=each.start, end=each.end, answers=[_worded(each)]) for each in moments_in(row.text, now, day_first=day_first)]

    return read


def _worded(moment: Moment) -> tuple[str, str, str, str]:
    """The moment as the cases write it: type, value, start, end."""
    day, clock = "%Y-%m-%d", "%H:%M:%S"
    form = {MomentKind.DATE: day, MomentKind.DATE_RANGE: day, MomentKind.TIME: clock, MomentKind.TIME_RANGE: clock}.get(moment.kind, f"{day} {clock}")
    if moment.kind is MomentKind.REPEATED:
        return ("set", "not resolved", "", "")
    if moment.kind is MomentKind.DURATION:
        return ("duration", f"{moment.seconds:g}" if (moment.seconds or 0) < 1e6 else f"{moment.seconds:.0f}", "", "")
    first = moment.first.strftime(form) if moment.first else ""
    if moment.kind in (MomentKind.DATE, MomentKind.TIME, MomentKind.DATETIME):
        return (moment.kind, first, "", "")
    return (moment.kind, "", first, moment.until.strftime(form) if moment.until else "")


def _yes_or_no(row: _Row) -> list[_Found]:
    answer = read_answer(_YES_NO, row.text)
    return [] if answer is None else [_Found(start=0, end=len(row.text), answers=[answer.value])]


def _nothing(_: _Row) -> list[_Found]:
    return []


_READERS: dict[str, Callable[[_Row], list[_Found]]] = {
    "boolean": _yes_or_no,
    "number": _numbers,
    "temperature": _quantities(Kind.TEMPERATURE),
    "age": _quantities(Kind.AGE),
    "phone": _sequences("phone"),
    "email": _sequences("email"),
    "datetime": _moments(day_first=False),
    "datetime_dmy": _moments(day_first=True),
}


def main(arguments: list[str] | None = None) -> int:
    """Prints the table and writes the figures where `--json` says. Answers the exit code: 2 for a file that is not as it should be."""
    parser = argparse.ArgumentParser(prog="aftercare eval numbers", description="Measure the reading of numbers, quantities, dates and times.")
    parser.add_argument("--jsonl", type=Path, required=True, help='rows of {"id", "text", "label", "reference_datetime", "expected"}')
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(arguments)
    try:
        figures = measure(options.jsonl)
    except (OSError, ValidationError) as error:
        print(f"{options.jsonl}: not readable as cases: {error}", file=sys.stderr)
        return 2
    table = Table("kind", "texts", "right", "share")
    for kind, found in figures.items():
        table.add_row(kind, str(found.texts), str(found.right), f"{found.share:.3f}")
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps({kind: each.model_dump() for kind, each in figures.items()}, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
