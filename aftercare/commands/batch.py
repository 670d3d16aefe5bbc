"""`triage` and `parse`: one text, or a file of them line by line, with the bad lines named and left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import typer
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from rich.console import Console
from rich.progress import track

from aftercare.assembly import build_nlu, build_triage
from aftercare.failure import CommandFailed
from care.clock import service_clock
from care.moments import moments_in
from care.quantities import quantities_in
from care.settings import settings
from care.triage.model import PatientContext, Report
from care.triage.service import TriageService, make_ready
from care.understanding import Understander, UnderstandingUnavailable

_errors = Console(stderr=True)


class BatchLine(BaseModel):
    """A line of a batch."""

    model_config = ConfigDict(extra="ignore")

    id: str | int
    text: str = Field(max_length=10_000)
    protocol: str | None = None
    day: int | None = None
    age: int | None = Field(None, ge=0, le=130)
    sex: str | None = Field(None, pattern="^(female|male|other)$")
    language: str = "en"
    history: list[str] = Field(default_factory=list)


def run_batch(work: Callable[[BatchLine], dict[str, object]], text: str, jsonl: Path | None, out: Path | None) -> None:
    """One text to the screen, or a file to a file. Raises `CommandFailed`; bad lines end a batch with status 2 after the good ones are done."""
    if bool(text) == bool(jsonl):
        raise CommandFailed("give either TEXT or --jsonl FILE")
    if jsonl is None:
        print(json.dumps(work(BatchLine(id="1", text=text)), indent=1, ensure_ascii=False))
        return
    if out is None:
        raise CommandFailed("--jsonl needs --out FILE")
    try:
        raw = jsonl.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"--jsonl: {jsonl} cannot be read as UTF-8 text ({error})") from error
    bad = 0
    with out.open("w", encoding="utf-8") as answers:
        for number, line in track(list(enumerate(raw, 1)), description="lines", console=_errors):
            try:
                given = BatchLine.model_validate_json(line)
            except ValidationError as error:
                bad += 1
                for problem in error.errors():
                    field = ".".join(str(part) for part in problem["loc"]) or "the line"
                    _errors.print(f"{jsonl.name}:{number}: {field}: {problem['msg']}", markup=False, highlight=False)
                continue
            answers.write(json.dumps(work(given), ensure_ascii=False) + "\n")
    if bad:
        _errors.print(f"{bad} of {len(raw)} lines were left out")
        raise typer.Exit(2)


def triage_line(line: BatchLine) -> dict[str, object]:
    """The decision on one report, in the batch format."""
    context = PatientContext.model_validate(line.model_dump(include={"protocol", "day", "age", "sex", "language", "history"}))
    decided = _triage().assess(Report(text=line.text, context=context, understanding=None), settings().reply_deadline_s)
    fields = decided.model_dump(mode="json", include={"acuity", "confidence", "symptoms", "advice", "reply", "versions", "seconds"})
    return {
        "id": line.id,
        **fields,
        "red_flags": [flag.rule for flag in decided.red_flags],
        "evidence": [vote.model_dump(mode="json") for vote in decided.votes],
    }


def parse_line(line: BatchLine) -> dict[str, object]:
    """What one message means, with the quantities and times it names. Raises `CommandFailed` where the nlu service is away."""
    try:
        understood = _understander().understand(line.text, settings().reply_deadline_s).model_dump(mode="json")
    except UnderstandingUnavailable as error:
        raise CommandFailed(f"{error}; start it with `aftercare up`") from error
    typed: dict[str, Sequence[object]] = {"quantities": quantities_in(line.text), "moments": moments_in(line.text, service_clock().now())}
    return {"id": line.id, **understood, **{name: [TypeAdapter(type(each)).dump_python(each, mode="json") for each in found] for name, found in typed.items()}}


@cache
def _triage() -> TriageService:
    make_ready()  # a report's time is not spent on reading the knowledge
    return build_triage(settings())


@cache
def _understander() -> Understander:
    return build_nlu(settings())
