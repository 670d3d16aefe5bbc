"""The shapes of clinical knowledge: every entry has an id and its sources, and is checked when it is read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

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


def _in_order(days: tuple[int, int]) -> tuple[int, int]:
    if not 0 <= days[0] <= days[1]:
        raise ValueError("write the first day, 0 or later, before the last")
    return days


Days = Annotated[tuple[int, int], AfterValidator(_in_order)]
"""The first and the last day."""


class QuestionKind(StrEnum):
    """How an answer is read."""

    SCALE = "scale"
    MEASURE = "measure"
    BLOOD_PRESSURE = "blood_pressure"
    YES_NO = "yes_no"
    CHOICE = "choice"
    MEDICINE = "medicine"


class Earlier(Entry):
    """An earlier answer to the same question in this enrollment."""

    value: float | bool | str
    days_ago: float = Field(ge=0)


class Threshold(Entry):
    """An answer that a person must know of.

    It is crossed from `at_least`, up to `at_most`, where the answer `equals`, or where it is `gain` above an earlier one (the lowest of the last
    `within_days`, or the first of the enrollment). `part` names the number of a blood pressure that is meant.
    """

    at_least: float | None = None
    at_most: float | None = None
    equals: str | bool | None = None
    gain: float | None = Field(default=None, gt=0)
    within_days: float | None = Field(default=None, gt=0)
    part: Literal["systolic", "diastolic"] | None = None
    acuity: Acuity
    reason: str
    sources: Sources

    @model_validator(mode="after")
    def _says_one_thing(self) -> Threshold:
        if sum(each is not None for each in (self.at_least, self.at_most, self.equals, self.gain)) != 1:
            raise ValueError("give exactly one of at_least, at_most, equals and gain")
        if self.within_days is not None and self.gain is None:
            raise ValueError("within_days belongs to gain; remove it or give gain")
        return self

    def crossed(self, value: float | bool | str, earlier: Sequence[Earlier] = ()) -> bool:
        """Whether `value` is over this threshold."""
        if self.equals is not None:
            return value == self.equals and isinstance(value, bool) == isinstance(self.equals, bool)
        number = _pressure(value, self.part) if self.part else value
        if isinstance(number, bool | str) or number is None:
            return False
        if self.gain is not None:
            base = self._base(earlier)
            return base is not None and round(number - base, 1) >= self.gain
        return number >= self.at_least if self.at_least is not None else number <= (self.at_most or 0.0)

    def _base(self, earlier: Sequence[Earlier]) -> float | None:
        known = [(each.days_ago, each.value) for each in earlier if isinstance(each.value, float | int) and not isinstance(each.value, bool)]
        if self.within_days is None:
            return max(known)[1] if known else None
        return min((value for days_ago, value in known if days_ago <= self.within_days + _SAME_HOUR), default=None)


_SAME_HOUR = 0.5
"""Yesterday's answer counts as a day ago although it came some hours earlier in the day."""


def _pressure(value: float | bool | str, part: str) -> float | None:
    """The systolic or diastolic number of "150/95"; a systolic may stand alone."""
    numbers = value.split("/") if isinstance(value, str) else []
    place = ("systolic", "diastolic").index(part)
    return float(numbers[place]) if place < len(numbers) and numbers[place].isdecimal() else None


class Button(Entry):
    """A quick reply: `label` by language is shown, `text` is sent as if typed."""

    label: dict[str, str]
    text: str

    @field_validator("label")
    @classmethod
    def _has_english(cls, label: dict[str, str]) -> dict[str, str]:
        if "en" not in label:
            raise ValueError("every label needs its English words; add en")
        return label

    def shown(self, language: str) -> str:
        """The label in the language; in English where it has none, such as a number."""
        return self.label.get(language, self.label["en"])


class Choice(Entry):
    """One of the answers of a choice question (or of a meter that shows a word), and the words that mean it: `alone` only as the whole message."""

    value: str
    words: list[str] = Field(default_factory=list)
    alone: list[str] = Field(default_factory=list)


class Unit(Entry):
    """A unit that an answer may be given in: `factor` and `offset` bring it to the question's own (`factor` * value + `offset`).

    A number without a unit is taken in the first whose `bare` range holds it (all that is possible, where none is given); `whole` units have no decimals.
    """

    unit: str = Field(description="UCUM code.")
    words: list[str] = Field(default_factory=list)
    factor: float = Field(default=1.0, gt=0)
    offset: float = 0.0
    bare: tuple[float, float] | None = None
    whole: bool = False


class Question(Reviewed):
    """A question of the bank. `minimum` and `maximum` bound what can be, in `unit` (UCUM); `decimals` are kept."""

    kind: QuestionKind
    text: dict[str, str]
    minimum: float | None = None
    maximum: float | None = None
    unit: str | None = None
    units: list[Unit] = Field(default_factory=list)
    decimals: int = 1
    choices: list[Choice] = Field(default_factory=list)
    buttons: list[Button] = Field(default_factory=list)
    thresholds: list[Threshold] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Question:
        numeric = self.kind in (QuestionKind.SCALE, QuestionKind.MEASURE, QuestionKind.BLOOD_PRESSURE)
        if numeric and (self.minimum is None or self.maximum is None or self.minimum >= self.maximum):
            raise ValueError(f"minimum: a {self.kind} needs minimum and maximum; give both, the one below the other")
        if self.kind is QuestionKind.MEASURE and not any(each.unit == self.unit and (each.factor, each.offset) == (1.0, 0.0) for each in self.units):
            raise ValueError(f"units: a measure needs units; list {self.unit!r} among them, without factor")
        if self.kind is QuestionKind.CHOICE and not self.choices:
            raise ValueError("choices: a choice needs its choices; list them, the most serious first")
        for threshold in self.thresholds:
            if threshold.equals is not None and threshold.equals not in self._answers:
                wanted = ", ".join(sorted(str(each) for each in self._answers))
                raise ValueError(f"thresholds: {threshold.reason!r} equals {threshold.equals!r}, which is no answer; use one of {wanted}")
            if (threshold.part is not None) != (self.kind is QuestionKind.BLOOD_PRESSURE):
                raise ValueError(f"thresholds: {threshold.reason!r}: a blood pressure needs part, any other kind must not have it")
        return self

    @property
    def _answers(self) -> set[str | bool]:
        """The answers that are words."""
        match self.kind:
            case QuestionKind.YES_NO:
                return {True, False}
            case QuestionKind.MEDICINE:
                return {"yes", "no", "later"}
            case _:
                return {each.value for each in self.choices}

    def crossed(self, value: float | bool | str, earlier: Sequence[Earlier] = ()) -> Threshold | None:
        """The most serious threshold that `value` crosses, given the `earlier` answers of the enrollment."""
        hit = [threshold for threshold in self.thresholds if threshold.crossed(value, earlier)]
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
    offer_chat_after_hours: float | None = Field(None, gt=0, description="After the reminder: the web chat is offered, the other channel.")
    escalate_after_hours: float = Field(gt=0)


class QuietHours(Entry):
    """When a text may arrive, in local time: `id` is `default` or a US state. A day of its own narrows `every_day`; an empty one closes it."""

    id: str
    every_day: list[time] = Field(default_factory=lambda: [time(0), time(23, 59)], min_length=2, max_length=2)
    saturday: list[time] | None = Field(None, max_length=2)
    sunday: list[time] | None = Field(None, max_length=2)
    holidays: list[time] | None = Field(None, max_length=2)
    sources: Sources

    def hours(self, weekday: int, *, holiday: bool) -> tuple[time, time] | None:
        """From when until when, on this day of the week (0 is Monday); None where not at all."""
        own = {5: self.saturday, 6: self.sunday}.get(weekday)
        chosen = self.holidays if holiday and self.holidays is not None else own if own is not None else self.every_day
        return (chosen[0], chosen[1]) if chosen else None


class StepKind(StrEnum):
    """What a contact is for; it chooses the words that it begins with."""

    CHECK_IN = "check_in"
    MEDICINE = "medicine"
    APPOINTMENT = "appointment"
    SURVEY = "survey"
    EDUCATION = "education"


class ProtocolDay(Entry):
    """What is sent on a day after the anchor: questions, or (for education) an advice statement."""

    day: int = Field(ge=0)
    kind: StepKind = StepKind.CHECK_IN
    questions: list[str] = Field(default_factory=list, max_length=5)
    advice: str | None = None
    send_hour: int | None = Field(None, ge=9, le=19, description="Local hour; without one the campaign's.")

    @model_validator(mode="after")
    def _something_is_sent(self) -> ProtocolDay:
        if (self.advice is not None) == bool(self.questions) or (self.kind is StepKind.EDUCATION) != (self.advice is not None):
            raise ValueError("questions: education needs advice alone, every other kind questions alone")
        if self.kind is StepKind.APPOINTMENT:
            raise ValueError("kind: an appointment is each patient's own; enter it with the patient")
        return self

    @property
    def step(self) -> str:
        """What tells this step from the enrollment's others."""
        return f"{self.kind}-{self.day}"


class StopEvent(StrEnum):
    """What ends a protocol before its last day; a coordinator enters it."""

    READMISSION = "readmission"
    DEATH = "death"
    HOSPICE = "hospice"
    TREATMENT_ENDED = "treatment_ended"
    OTHER_CARE = "other_care"
    WITHDRAWAL = "withdrawal"


class Stop(Entry):
    """When the protocol ends: after `day`, or at the first of `events`."""

    day: int = Field(gt=0)
    events: list[StopEvent] = Field(min_length=1)


class Protocol(Entry):
    """A condition's follow-up plan."""

    id: str
    name: str
    version: str
    reviewer: str | None
    schedule: list[ProtocolDay]
    expected: dict[str, Days] = Field(default_factory=dict, description="Symptom id: first and last day on which it is normal.")
    red_flags: list[str] = Field(min_length=1, description="Rules that matter most here; all others apply as well.")
    advice: list[str]
    stop: Stop
    no_answer: NoAnswer
    sources: Sources

    @model_validator(mode="after")
    def _days_are_in_order(self) -> Protocol:
        if self.days != sorted(self.days) or len({entry.step for entry in self.schedule}) < len(self.schedule):
            raise ValueError("schedule: give each day once for each kind, in order")
        if self.days and self.days[-1] > self.stop.day:
            raise ValueError(f"stop: day {self.stop.day} comes before the last check-in on day {self.days[-1]}")
        return self

    @property
    def days(self) -> list[int]:
        """The days on which the patient is written to."""
        return [entry.day for entry in self.schedule]

    def questions_on(self, day: int) -> list[str]:
        """The questions of a day's check-in; empty where none is planned."""
        return next((entry.questions for entry in self.schedule if entry.day == day and entry.kind is StepKind.CHECK_IN), [])


class InProtocol(Entry):
    """A text of a patient who is followed up under a protocol, on its fifth day where no other is given."""

    protocol: str
    day: int = Field(5, ge=0)
    text: str


class RedFlag(Reviewed):
    """A rule that by itself sets a minimum acuity.

    It fires where one pattern of `when` (in the language of `care.knowledge.patterns`) is found, not denied, not of somebody else, of the past or only
    supposed, and no phrase of `unless` stands at it. `even_if_denied` is for words that nobody should overlook, whoever says them and however,
    `of_anyone` for what another person does to the patient. `symptoms` are what it is of, `advice` what the patient may be told at once. The texts
    are its tests.
    """

    acuity: Acuity
    reason: str
    when: list[str] = Field(min_length=1)
    unless: list[str] = Field(default_factory=list)
    even_if_denied: bool = False
    of_anyone: bool = False
    symptoms: list[str] = Field(default_factory=list)
    advice: list[str] = Field(min_length=1)
    must_fire: list[str | InProtocol] = Field(min_length=4)
    must_not_fire: list[str | InProtocol] = Field(min_length=3)


class Advice(Reviewed):
    """An approved statement."""

    text: str = Field(max_length=300)
    translations: dict[str, Annotated[str, Field(max_length=300)]] = Field(default_factory=dict)
    topics: list[str]
    asked: list[str] = Field(default_factory=list, description="How patients ask for it or tell of what it is for, in their own words.")
    symptoms: list[str] = Field(default_factory=list)
    acuities: list[Acuity]
    protocols: list[str] = Field(default_factory=list, description="Those that it fits; all where none is named.")
    not_for: list[str] = Field(default_factory=list, description="What it must never be given for: symptoms, conditions, `emergency`.")

    def said(self, language: str) -> str:
        """The statement in the language; in English where it was not translated."""
        return self.translations.get(language, self.text)


class Symptom(Reviewed):
    """A symptom with the words laypeople use for it. `broader` is the symptom that this is a kind of."""

    name: str
    synonyms: list[str] = Field(min_length=1)
    broader: str | None = None
    icd10: str | None = None


class GuardWords(Entry):
    """A word list of the reply guard, which knows each `use`."""

    id: str
    use: str
    words: list[str] = Field(min_length=1)


class Sign(StrEnum):
    """How often a complication shows a symptom: `typical`, most people have it; `possible`, some do."""

    TYPICAL = "typical"
    POSSIBLE = "possible"


class Frequency(StrEnum):
    """How often a complication comes in the weeks after discharge, where it can come at all."""

    COMMON = "common"
    UNCOMMON = "uncommon"
    RARE = "rare"


class Complication(Reviewed):
    """What may go wrong, how it shows, and after what. It is never named to a patient: it serves to ask and to rank."""

    name: str
    synonyms: list[str] = Field(default_factory=list)
    icd10: str | None = None
    frequency: Frequency
    acuity: Acuity
    symptoms: dict[str, Sign] = Field(min_length=1)
    protocols: dict[str, Days] = Field(default_factory=dict, description="Protocol id: first and last day on which it is most likely.")
    procedures: list[str] = Field(default_factory=list)
    medicines: list[str] = Field(default_factory=list)
    red_flags: list[str] = Field(default_factory=list)
    advice: list[str] = Field(default_factory=list)


class Medicine(Reviewed):
    """A medicine given after discharge, by its generic name. `never_with` are facts for staff, never instructions to a patient."""

    name: str
    brands: list[str] = Field(default_factory=list)
    synonyms: list[str] = Field(default_factory=list, description="Lay words, which several medicines may share.")
    group: str = Field(description="Its class.")
    protocols: list[str] = Field(min_length=1)
    common: list[str] = Field(default_factory=list, description="Side effects that most people can live with: symptom ids.")
    dangerous: list[str] = Field(min_length=1, description="Side effects that a clinician must know of: symptom ids.")
    never_with: list[str] = Field(default_factory=list)


class Procedure(Reviewed):
    """An operation or treatment, and the protocol that follows it up."""

    name: str
    synonyms: list[str] = Field(default_factory=list)
    protocol: str
