"""Labelled messages to measure on: the corpora's voices, or any file of JSON lines with an id, a text and a label."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from care.acuity import Acuity
from care.triage.model import PatientContext
from care.understanding import Intent
from nlu.corpus import CORPORA, Example

NON_EMERGENCY = "non_emergency"
"""The label of a case that needs a clinician, but not at once: `urgent` and `routine` are both right."""
_RIGHT = {level.value: frozenset({level}) for level in Acuity} | {NON_EMERGENCY: frozenset({Acuity.URGENT, Acuity.ROUTINE})}


class CasesInvalid(Exception):
    """A file of cases has a mistake; the message names the file, line, field and remedy."""


@dataclass(frozen=True)
class Case:
    """A message with what is right about it: the acuities that count as right (none: not labelled) and the intents (none: not labelled)."""

    id: str
    text: str
    right: frozenset[Acuity]
    label: str
    intents: frozenset[Intent]
    context: PatientContext
    voice: str | None = None

    @property
    def groups(self) -> dict[str, str]:
        """The groups that the case counts in, by kind."""
        known = {"voice": self.voice, "protocol": self.context.protocol, "age": _age_band(self.context.age), "sex": self.context.sex}
        return {kind: name for kind, name in known.items() if name}


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str | int
    text: str
    label: str = ""
    acuity: str = ""
    intents: list[Intent] = Field(default_factory=list)
    voice: str | None = None
    protocol: str | None = None
    day: int | None = None
    age: float | None = Field(None, ge=0, le=130)
    sex: Literal["female", "male", "other"] | None = None
    language: str = "en"
    history: list[str] = Field(default_factory=list)


def case_arguments(name: str, measures: str) -> ArgumentParser:
    """The arguments that every `aftercare eval` on cases takes: which cases, and where the report goes."""
    parser = ArgumentParser(prog=f"aftercare eval {name}", description=f"Measure {measures} on voices or on labelled lines.")
    parser.add_argument("--corpus", type=Path, default=CORPORA, help="folder with voices/ and splits.yaml")
    parser.add_argument("--voices", default="test", help="train, validation, test or a voice's name")
    parser.add_argument("--jsonl", type=Path, help='lines of {"id", "text", "label"} instead of voices; a label is an acuity, non_emergency or an intent')
    parser.add_argument("--as", dest="stands_for", default="", help="the label that every line should have")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--html", type=Path, help="write a page with the figures here")
    return parser


def read_cases(path: Path, stands_for: str = "") -> tuple[list[Case], int]:
    """The file's cases that have a label we measure, and how many have none; `stands_for` is taken for every label. Raises `CasesInvalid`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CasesInvalid(f"{path}: not readable ({error}); give a UTF-8 file of JSON lines") from error
    cases: list[Case] = []
    left_out = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            read = _Line.model_validate_json(line)
        except ValidationError as error:
            problem = error.errors(include_input=False)[0]
            field = ".".join(str(part) for part in problem["loc"]) or "the line"
            raise CasesInvalid(f'{path}: line {number}: {field}: {problem["msg"]}; each line is {{"id", "text", "label"}}') from error
        case = _case(read, stands_for)
        cases += [case] if case.right or case.intents else []
        left_out += not (case.right or case.intents)
    if not cases:
        known = ", ".join([*_RIGHT, *(intent.value for intent in Intent)])
        raise CasesInvalid(f"{path}: no line has a label that is measured; labels are {known}, or give --as")
    return cases, left_out


def _case(line: _Line, stands_for: str) -> Case:
    label = stands_for or line.label
    acuity = line.acuity or label
    named = [Intent(label)] if label in set(Intent) else []
    context = PatientContext(
        protocol=line.protocol, day=line.day, age=None if line.age is None else int(line.age), sex=line.sex, language=line.language, history=line.history
    )
    return Case(str(line.id), line.text, _RIGHT.get(acuity, frozenset()), acuity, frozenset(line.intents or named), context, line.voice)


def cases_of(examples: list[Example]) -> list[Case]:
    """The corpus's messages as cases, numbered within their voice."""
    counted: dict[str, int] = {}
    cases = []
    for example in examples:
        counted[example.voice] = counted.get(example.voice, 0) + 1
        context = PatientContext(protocol=example.protocol, age=None if example.age is None else int(example.age), sex=example.sex)
        name = f"{example.voice}-{counted[example.voice]}"
        cases.append(Case(name, example.text, _RIGHT[example.acuity], example.acuity, frozenset(example.intents), context, example.voice))
    return cases


def _age_band(age: int | None) -> str | None:
    if age is None:
        return None
    return next(name for below, name in ((18, "under 18"), (40, "18 to 39"), (65, "40 to 64"), (80, "65 to 79"), (999, "80 and over")) if age < below)
