"""The types of triage: what is asked of the model, what it drafts, what is decided, and on which evidence."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Protocol

from pydantic import Field

from care.acuity import Acuity
from care.understanding import Frozen, Understanding


class Layer(StrEnum):
    """Who votes on an acuity."""

    RULES = "rules"
    ENCODER = "encoder"
    MODEL = "model"


class RedFlagHit(Frozen):
    """A red-flag rule that fired: the rule's id, its minimum acuity and plain reason, and the words it fired on."""

    rule: str
    acuity: Acuity
    reason: str
    words: str
    sources: list[str]


class PatientContext(Frozen):
    """What triage may know of the patient: never a name, a number or a date of birth."""

    protocol: str | None = None
    day: int | None = None
    age: int | None = Field(default=None, ge=0, le=130)
    sex: Literal["female", "male", "other"] | None = None
    language: str = "en"
    history: list[str] = Field(default_factory=list)


class AdviceCandidate(Frozen):
    """An approved statement that may fit, as offered to the model."""

    id: str
    text: str


class TriageRequest(Frozen):
    """What the model is asked: a report with its context and the advice it may cite."""

    report: str
    context: PatientContext
    findings: list[str]
    advice: list[AdviceCandidate]


class TriageDraft(Frozen):
    """What the model answers, in exactly this schema (vLLM's structured output is compiled from it)."""

    acuity: Acuity
    findings: list[str] = Field(max_length=6)
    advice: list[str] = Field(max_length=3)
    unsure: bool


class Vote(Frozen):
    """One layer's acuity for a report, with how sure it is and the words it rests on."""

    layer: Layer
    acuity: Acuity
    confidence: float = Field(ge=0, le=1)
    words: list[str] = Field(default_factory=list)
    note: str = ""


class Triage(Frozen):
    """The decision: an acuity that is never below the rules', with every vote, the advice and the versions."""

    acuity: Acuity
    confidence: float = Field(ge=0, le=1)
    red_flags: list[RedFlagHit]
    symptoms: list[str]
    advice: list[str]
    reply: str
    needs_person: bool
    person_reason: str
    votes: list[Vote]
    versions: dict[str, str]
    seconds: float = Field(ge=0)


class Drafter(Protocol):
    """The port to the generative model; the versions are of the model that answered last and of its prompt."""

    version: str
    prompt_version: str

    def draft(self, request: TriageRequest, deadline_s: float) -> TriageDraft:
        """The model's answer within `deadline_s` seconds. Raises `DraftUnavailable`."""
        ...


class DraftUnavailable(Exception):
    """The model did not answer in time, or not in its schema; `reason` names it for the evidence."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the triage model gave no usable answer: {reason}")
        self.reason = reason


class Report(Frozen):
    """A report to triage: the text, what the encoder made of it (None where it was away), and the context."""

    text: str
    context: PatientContext
    understanding: Understanding | None
