"""The border to Rasa: what one turn sends to the dialogue manager and what comes back.

Rasa is called as a function. It reads nothing and writes nothing durable: its actions say what should happen as
*effects*, which the turn carries out in the transaction that marks the message handled.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from care.acuity import Acuity
from care.knowledge.model import Earlier, StepKind
from care.triage.model import PatientContext, Triage
from care.understanding import Frozen

Trigger = Literal["ask_consent", "start_check_in", "remind", "resume"]
ConsentState = Literal["unknown", "asked", "granted", "revoked"]


class DialogueContext(Frozen):
    """What the dialogue may know in this turn; the channel puts it into the slot `context` before the message."""

    patient: str
    first_name: str
    clinic: str
    clinic_phone: str
    channel: Literal["sms", "web"]
    consent: ConsentState
    clinical: PatientContext
    contact: str | None = None
    questions: list[str] = Field(default_factory=list)
    kind: StepKind | None = Field(None, description="What the open contact is for.")
    appointment: str = Field("", description="Day and hour of the visit that the contact reminds of, in the patient's words.")
    earlier: dict[str, list[Earlier]] = Field(default_factory=dict, description="Answers of this enrollment to these questions, the oldest first.")
    today: date
    emergency: bool = Field(False, description="Whether an emergency of the patient's waits for a person, or is being seen to.")


class DialogueRequest(Frozen):
    """One turn. `trigger` is set (and `text` empty) where our side speaks first.

    `state_version` is the version of the dialogue's state that the database holds; `state` carries that state itself and is sent
    only when Rasa answered 409 because its own copy has another version.
    """

    message_id: str
    sender: str
    text: str = ""
    trigger: Trigger | None = None
    context: DialogueContext
    state_version: int
    state: dict[str, Any] | None = None
    answer_by: float | None = Field(None, description="When the caller stops waiting, in seconds since 1970; set by the adapter.")


class QuickReply(Frozen):
    """A button under a web-chat reply; `text` is sent as if typed."""

    label: str
    text: str


class Reply(Frozen):
    """One text to the patient. `key` names the scripted text it came from."""

    text: str
    key: str = ""
    safety: bool = False
    quick_replies: list[QuickReply] = Field(default_factory=list)


class AnswerEffect(Frozen):
    """A question was answered: the typed value, its unit, and the patient's words."""

    kind: Literal["answer"] = "answer"
    question: str
    value: float | bool | str
    unit: str | None = None
    words: str
    contact: str | None = None


class ReportEffect(Frozen):
    """A report was triaged."""

    kind: Literal["report"] = "report"
    words: str
    triage: Triage


class EscalationEffect(Frozen):
    """A person must act: `reason` is a code of `care.escalations`, `summary` a plain sentence without the patient's words."""

    kind: Literal["escalation"] = "escalation"
    reason: str
    acuity: Acuity
    summary: str


class AwaitEffect(Frozen):
    """A question was asked whose answer could raise the acuity: silence calls a person at `acuity`."""

    kind: Literal["await"] = "await"
    question: str
    acuity: Acuity


class ConsentEffect(Frozen):
    """The patient agreed or declined, in these words; or (`wrong_number`) whoever wrote is not the patient."""

    kind: Literal["consent"] = "consent"
    granted: bool
    words: str
    source: Literal["dialogue", "wrong_number"] = "dialogue"


class ContactDoneEffect(Frozen):
    """Every question of the contact is answered (or given up)."""

    kind: Literal["contact_done"] = "contact_done"
    contact: str


Effect = Annotated[
    AnswerEffect | ReportEffect | EscalationEffect | AwaitEffect | ConsentEffect | ContactDoneEffect,
    Field(discriminator="kind"),
]


class DialogueResponse(Frozen):
    """What Rasa's channel answers: replies and effects in order, and the dialogue's new state with its version."""

    replies: list[Reply]
    effects: list[Effect]
    state: dict[str, Any]
    state_version: int


class Dialogue(Protocol):
    """The port to Rasa."""

    def turn(self, request: DialogueRequest, state: Any, deadline_s: float) -> DialogueResponse:
        """Runs one turn; `state` is the dialogue's stored state, used where Rasa's own copy has another version. Raises `DialogueFailed`."""
        ...


class DialogueFailed(Exception):
    """Rasa, its actions or the nlu service behind it did not answer in their contract; `reason` says which and how. Where one of them could not be
    `reached` at all, the message cannot be the cause."""

    def __init__(self, reason: str, *, reached: bool = True) -> None:
        super().__init__(f"the dialogue manager failed: {reason}")
        self.reason = reason
        self.reached = reached
