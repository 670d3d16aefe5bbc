"""What the nlu service says a message means: the types that cross its border, and the port to it."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from care.acuity import Acuity


class Intent(StrEnum):
    """What a message is for; `nlu/corpora/LABELLING.md` says when each applies."""

    REPORT_SYMPTOM = "report_symptom"
    REPORT_WELL = "report_well"
    GIVE_VALUE = "give_value"
    AFFIRM = "affirm"
    DENY = "deny"
    UNSURE = "unsure"
    MEDICINE_TAKEN = "medicine_taken"
    MEDICINE_MISSED = "medicine_missed"
    MEDICINE_LATER = "medicine_later"
    ASK_ADVICE = "ask_advice"
    ASK_MEDICINE = "ask_medicine"
    ASK_APPOINTMENT = "ask_appointment"
    REQUEST_PERSON = "request_person"
    GREET = "greet"
    THANKS = "thanks"
    GOODBYE = "goodbye"
    BOT_CHALLENGE = "bot_challenge"
    HELP = "help"
    REPEAT = "repeat"
    CANCEL = "cancel"
    CHANGE_LANGUAGE = "change_language"
    OPT_OUT = "opt_out"
    WRONG_NUMBER = "wrong_number"
    ABUSE = "abuse"
    CRISIS = "crisis"
    OUT_OF_SCOPE = "out_of_scope"


class SpanLabel(StrEnum):
    """Kinds of words in a message that are marked."""

    SYMPTOM = "symptom"
    SITE = "site"
    SEVERITY = "severity"
    DURATION = "duration"
    ONSET = "onset"
    VALUE = "value"
    MEDICINE = "medicine"
    NEGATION = "negation"
    EXPERIENCER = "experiencer"
    TIME = "time"


class SymptomStatus(StrEnum):
    """Whose a symptom is, and when: the patient's own now, one that is denied, one of somebody else, or one of the patient's past."""

    PRESENT = "present"
    DENIED = "denied"
    OTHER = "other"
    PAST = "past"


class Frozen(BaseModel):
    """Base of the types that cross a border: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Span(Frozen):
    """Marked words: `text[start:end]`, in characters, with the encoder's confidence. `status` is set on symptoms alone."""

    label: SpanLabel
    text: str
    start: int = Field(ge=0)
    end: int = Field(ge=0)
    confidence: float = Field(ge=0, le=1)
    status: SymptomStatus | None = None


class IntentScore(Frozen):
    """An intent and its probability (each intent on its own: they need not sum to 1)."""

    name: Intent
    confidence: float = Field(ge=0, le=1)


class Understanding(Frozen):
    """The answer of `POST /v1/understand`, and under `understanding` of Rasa's `/model/parse`.

    `intents` holds every intent over its threshold, most probable first, and is empty where the encoder is not sure;
    `acuity` sums to 1. `called` is the acuity under thresholds that lean to the serious side, chosen so that few emergencies are missed.
    `language` (ISO 639-1) is English where the text is too short or too mixed to tell; any other the encoder does not know, so that it hears no intent.
    """

    text: str
    intents: list[IntentScore]
    spans: list[Span]
    acuity: dict[Acuity, float]
    called: Acuity | None = None
    language: str = "en"
    version: str

    @property
    def acuity_level(self) -> Acuity:
        """The acuity called, or the most probable one where none was."""
        return self.called or max(self.acuity, key=lambda level: self.acuity[level])


class Understander(Protocol):
    """The port to the encoder."""

    def understand(self, text: str, deadline_s: float) -> Understanding:
        """What `text` means, within `deadline_s` seconds. Raises `UnderstandingUnavailable`."""
        ...


class UnderstandingUnavailable(Exception):
    """The nlu service did not answer, or not in its contract."""
