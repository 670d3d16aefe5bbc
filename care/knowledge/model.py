"""The shapes of clinical knowledge: every entry has an id and its sources, and is checked when it is read."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from care.acuity import Acuity


class Entry(BaseModel):
    """Base of the entries: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Sources = Annotated[list[str], Field(min_length=1, description="Guideline, section, year.")]


class Reviewed(Entry):
    """Base of the clinical entries. `reviewer` names the clinician who approved this `version`; null until one has."""

    id: str
    version: int = 1
    reviewer: str | None = None
    sources: Sources


class QuestionKind(StrEnum):
    """How an answer is read."""

    SCALE = "scale"
    TEMPERATURE = "temperature"
    YES_NO = "yes_no"
    CHOICE = "choice"
    MEDICINE = "medicine"


class Threshold(Entry):
    """An answer that a person must know of: from `at_least`, or when it `equals`."""

    at_least: float | None = None
    equals: str | bool | None = None
    acuity: Acuity
    reason: str
    sources: Sources


class Button(Entry):
    """A quick reply."""

    label: str
    text: str


class Choice(Entry):
    """One of the answers of a choice question, and the words that mean it."""

    value: str
    words: list[str]


class Question(Reviewed):
    """A question of the bank."""

    kind: QuestionKind
    text: dict[str, str]
    minimum: float | None = None
    maximum: float | None = None
    unit: str | None = None
    choices: list[Choice] = Field(default_factory=list)
    buttons: list[Button] = Field(default_factory=list)
    thresholds: list[Threshold] = Field(default_factory=list)

    def crossed(self, value: float | bool | str) -> Threshold | None:
        """The most serious threshold that `value` crosses."""
        hit = [
            threshold
            for threshold in self.thresholds
            if (threshold.at_least is not None and isinstance(value, int | float) and not isinstance(value, bool) and value >= threshold.at_least)
            or (threshold.equals is not None and value == threshold.equals and isinstance(value, bool) == isinstance(threshold.equals, bool))
        ]
        return max(hit, key=lambda threshold: threshold.acuity.rank, default=None)


class Clarifier(Reviewed):
    """A yes-or-no question that can change the acuity of a report of these symptoms; `finding` joins the report on a yes."""

    symptoms: list[str]
    text: dict[str, str]
    finding: str
    raises_to: Acuity


class NoAnswer(Entry):
    """What is done where no answer comes."""

    reminder_after_hours: float = Field(gt=0)
    escalate_after_hours: float = Field(gt=0)


class ProtocolDay(Entry):
    """The questions of a day after the anchor."""

    day: int = Field(ge=0)
    questions: list[str] = Field(min_length=1)


class Protocol(Entry):
    """A condition's follow-up plan."""

    id: str
    name: str
    version: str
    reviewer: str | None
    schedule: list[ProtocolDay]
    expected: dict[str, list[int]] = Field(default_factory=dict, description="Symptom id: first and last day on which it is normal.")
    advice: list[str]
    no_answer: NoAnswer
    sources: Sources

    @property
    def days(self) -> list[int]:
        """The days on which the patient is written to."""
        return [entry.day for entry in self.schedule]

    def questions_on(self, day: int) -> list[str]:
        """The questions of a day; empty where none is planned."""
        return next((entry.questions for entry in self.schedule if entry.day == day), [])


class RedFlag(Reviewed):
    """A rule that by itself sets a minimum acuity.

    It fires where one pattern of every group in `all` is found in one clause of the normalised text, not denied and not of somebody else. Patterns are
    regular expressions over normalised words.
    """

    acuity: Acuity
    reason: str
    all: list[list[str]] = Field(min_length=1)
    ignore_negation: bool = False
    protocols: list[str] = Field(default_factory=list)
    must_fire: list[str] = Field(min_length=1)
    must_not_fire: list[str] = Field(default_factory=list)


class Advice(Reviewed):
    """An approved statement."""

    text: str = Field(max_length=300)
    topics: list[str]
    symptoms: list[str] = Field(default_factory=list)
    acuities: list[Acuity]
    not_for: list[str] = Field(default_factory=list)


class Symptom(Entry):
    """A symptom with the words laypeople use for it."""

    id: str
    name: str
    synonyms: list[str]
