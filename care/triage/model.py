"""The types of triage: what is asked of the model, what it drafts, what is decided, and on which evidence."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Protocol

from pydantic import Field

from care.acuity import Acuity
from care.understanding import Frozen, SymptomStatus, Understanding

MAX_REPLY_CHARS = 320
FindingName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_ \-]{0,39}$")]
KnownId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_\-]{0,47}$")]
ReplyText = Annotated[str, Field(max_length=MAX_REPLY_CHARS)]
QuotedWords = Annotated[str, Field(pattern=r'^[^\x00-\x1f\x7f"\\<>{}]{0,80}$')]


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


class Offered(Frozen):
    """What may be named in a draft, by id, with its words: an approved statement, a red flag, a clarifying question or a complication."""

    id: str
    text: str


class AdviceCandidate(Offered):
    """An approved statement that may fit, in the patient's language."""


class Said(Frozen):
    """Words of the conversation so far, the patient's or the service's."""

    who: Literal["patient", "service"]
    words: str = Field(max_length=500)


class Finding(Frozen):
    """A symptom found in the report with whose it is, or a value measured, in the unit that the red-flag rules use for its kind."""

    id: str
    status: SymptomStatus = SymptomStatus.PRESENT
    value: float | None = None


class TriageRequest(Frozen):
    """What the model is asked: a report with its context, what rules and graph make of it, and what the draft may name.

    The ids of a draft that were not offered here are dropped: red flags and complications the graph proposes for the findings, questions that could
    raise the acuity, advice that retrieval found. The rules' own hits are kept out, so that the model's vote stands on its own.
    """

    report: str
    context: PatientContext
    findings: list[Finding] = Field(default_factory=list)
    conversation: list[Said] = Field(default_factory=list, max_length=8)
    complications: list[Offered] = Field(default_factory=list)
    red_flags: list[Offered] = Field(default_factory=list)
    questions: list[Offered] = Field(default_factory=list)
    advice: list[AdviceCandidate] = Field(default_factory=list)


class TriageDraft(Frozen):
    """What the model answers, in exactly this schema (vLLM's structured output is compiled from it), what decides first.

    `findings` are those present and `denied` those that the patient says not to have; `reply` may be empty (the cited advice is then sent as it stands);
    `rationale` quotes the words of the report that decided.
    """

    acuity: Acuity
    unsure: bool
    red_flags: list[KnownId] = Field(max_length=3)
    findings: list[FindingName] = Field(max_length=6)
    denied: list[FindingName] = Field(max_length=4)
    questions: list[KnownId] = Field(max_length=2)
    advice: list[KnownId] = Field(max_length=3)
    reply: ReplyText
    rationale: QuotedWords


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
    person_acuity: Acuity = Acuity.ROUTINE
    """How soon a person looks where `needs_person`; may be above `acuity`."""
    person_reason: str
    votes: list[Vote]
    versions: dict[str, str]
    seconds: float = Field(ge=0)
    questions: list[str] = Field(default_factory=list)
    """Clarifiers whose yes would raise the acuity, the most telling first."""
    path: list[str] = Field(default_factory=list)
    """How the graph leads from the symptoms to the red flags that fired and to the advice given, as sentences."""
    drafted: bool = False
    """Whether the model's own words were sent, or else `rejected` says why not (empty where it drafted none)."""
    rejected: list[str] = Field(default_factory=list)


class Drafter(Protocol):
    """The port to the generative model; the versions are of the model that answered last and of its prompt.

    One that does not decide (the small reference model) is heard: where it disagrees a person looks today, but the acuity is not raised by it.
    """

    version: str
    prompt_version: str
    decides: bool

    def draft(self, request: TriageRequest, deadline_s: float, suspected: Acuity = Acuity.SELF_CARE) -> TriageDraft:
        """The model's answer within `deadline_s` seconds; one `suspected` to be more serious goes first. Raises `DraftUnavailable`."""
        ...


class DraftUnavailable(Exception):
    """The model did not answer in time, or not in its schema; `reason` names it for the evidence."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the triage model gave no usable answer: {reason}")
        self.reason = reason


class Report(Frozen):
    """A report to triage: the text, what the encoder made of it (None where it was away), the context, what was said before, and the channel."""

    text: str
    context: PatientContext
    understanding: Understanding | None
    conversation: list[Said] = Field(default_factory=list, max_length=8)
    channel: Literal["sms", "web"] = "sms"
