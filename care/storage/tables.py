"""The tables. Each class is a row of the design's words; who may change a state is said beside its enumeration."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from care.acuity import Acuity
from care.knowledge.model import StepKind
from care.storage.columns import SEQUENCE, Base, new_id, stored
from care.storage.crypto import Encrypted, EncryptedJson


class Channel(StrEnum):
    """How a message travels."""

    SMS = "sms"
    WEB = "web"


class InboundState(StrEnum):
    """stored -> accepted | handled; accepted | said -> handled | set_aside (by the turn only). `stored`: acknowledged, the rules have not read it yet; `said`:
    our own words are out, the dialogue hears of them with the next message."""

    STORED = "stored"
    ACCEPTED = "accepted"
    SAID = "said"
    HANDLED = "handled"
    SET_ASIDE = "set_aside"


class OutboundState(StrEnum):
    """pending -> sending -> accepted -> sent -> delivered | undelivered | failed; sending -> unknown -> reconciled; pending | unknown -> cancelled.
    In the web chat: accepted -> cancelled."""

    PENDING = "pending"
    SENDING = "sending"
    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"


class ContactState(StrEnum):
    """planned -> started -> reminded -> offered_chat -> missed; any of them -> completed | skipped."""

    PLANNED = "planned"
    STARTED = "started"
    REMINDED = "reminded"
    OFFERED_CHAT = "offered_chat"
    COMPLETED = "completed"
    MISSED = "missed"
    SKIPPED = "skipped"


class CampaignState(StrEnum):
    """active <-> paused; either -> stopped."""

    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"


class EnrollmentState(StrEnum):
    """active -> completed | stopped."""

    ACTIVE = "active"
    COMPLETED = "completed"
    STOPPED = "stopped"


class EscalationState(StrEnum):
    """open -> acknowledged -> resolved (a resolved one has an outcome)."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Role(StrEnum):
    """What a user of the console may do."""

    COORDINATOR = "coordinator"
    LEAD = "lead"


class Patient(Base):
    """A person who is followed up. `phone_index` finds the encrypted number; `number_problem` is Twilio's code for a number that takes no SMS;
    `shared_phone`: others read it as well."""

    __tablename__ = "patients"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    reference: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(Encrypted("patients.name"))
    phone: Mapped[str] = mapped_column(Encrypted("patients.phone"))
    phone_index: Mapped[str] = mapped_column(String(64), unique=True)
    date_of_birth: Mapped[str] = mapped_column(Encrypted("patients.date_of_birth"))
    sex: Mapped[str | None] = mapped_column(String(8))
    language: Mapped[str] = mapped_column(String(8), default="en")
    timezone: Mapped[str] = mapped_column(String(64))
    state: Mapped[str | None] = mapped_column(String(2))
    carrier: Mapped[str | None] = mapped_column(String(24))
    number_problem: Mapped[int | None]
    shared_phone: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]

    @property
    def first_name(self) -> str:
        """What a text calls the patient."""
        return self.name.split()[0]


class Consent(Base):
    """One grant or revocation (null: to be asked anew, the number is another), with channel, words and time. Never changed, never deleted."""

    __tablename__ = "consents"
    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True, autoincrement=True)
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    granted: Mapped[bool | None]
    channel: Mapped[str] = mapped_column(String(16))
    words: Mapped[str] = mapped_column(Encrypted("consents.words"))
    source: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime]


class Campaign(Base):
    """A protocol version run for a cohort. Contacts begin at `send_hour` local time, spread over `spread_minutes`."""

    __tablename__ = "campaigns"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    protocol: Mapped[str] = mapped_column(String(64))
    protocol_version: Mapped[str] = mapped_column(String(32))
    send_hour: Mapped[int] = mapped_column(default=10)
    spread_minutes: Mapped[int] = mapped_column(default=60)
    weekdays_only: Mapped[bool] = mapped_column(default=False)
    state: Mapped[CampaignState] = mapped_column(stored(CampaignState), default=CampaignState.ACTIVE)
    created_at: Mapped[datetime]


class Enrollment(Base):
    """One patient in one campaign, from an anchor date (the discharge). `no_answer` and `ends_on` are of its `protocol_version`; null:
    enrolled before they were kept."""

    __tablename__ = "enrollments"
    __table_args__ = (UniqueConstraint("campaign_id", "patient_id"),)
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    campaign_id: Mapped[str] = mapped_column(ForeignKey("campaigns.id"))
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    anchor: Mapped[date]
    protocol_version: Mapped[str] = mapped_column(String(32), default="")
    no_answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    ends_on: Mapped[date | None]
    state: Mapped[EnrollmentState] = mapped_column(stored(EnrollmentState), default=EnrollmentState.ACTIVE)
    ended_because: Mapped[str | None] = mapped_column(String(32))
    ended_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class Contact(Base):
    """One planned outreach. `next_at` is when the scheduler must look at it again (null: never); a pause keeps it in `held_next_at`."""

    __tablename__ = "contacts"
    __table_args__ = (
        UniqueConstraint("enrollment_id", "step"),
        Index("ix_contacts_next_at", "next_at", postgresql_where=text("next_at IS NOT NULL"), sqlite_where=text("next_at IS NOT NULL")),
    )
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    enrollment_id: Mapped[str] = mapped_column(ForeignKey("enrollments.id"), index=True)
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    protocol: Mapped[str] = mapped_column(String(64))
    step: Mapped[str] = mapped_column(String(48))
    kind: Mapped[StepKind] = mapped_column(stored(StepKind), default=StepKind.CHECK_IN)
    day: Mapped[int]
    questions: Mapped[list[Any]] = mapped_column(JSON, default=list)
    advice: Mapped[str | None] = mapped_column(String(64))
    appointment_at: Mapped[datetime | None]
    due_at: Mapped[datetime]
    not_after: Mapped[datetime]
    next_at: Mapped[datetime | None]
    held_next_at: Mapped[datetime | None]
    state: Mapped[ContactState] = mapped_column(stored(ContactState), default=ContactState.PLANNED)
    started_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    skipped_because: Mapped[str | None] = mapped_column(String(24))


class Conversation(Base):
    """The single writer's row of a patient: the lease with its fencing number, the dialogue's state, who answers, which of our numbers writes."""

    __tablename__ = "conversations"
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), primary_key=True)
    fence: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    dialogue_state: Mapped[Any | None] = mapped_column(EncryptedJson("conversations.dialogue_state"))
    dialogue_version: Mapped[int] = mapped_column(default=0)
    channel: Mapped[Channel] = mapped_column(stored(Channel), default=Channel.SMS)
    coordinator_id: Mapped[str | None] = mapped_column(String(32))
    contact_id: Mapped[str | None] = mapped_column(String(32))
    sender: Mapped[str | None] = mapped_column(String(16))


class Inbound(Base):
    """A message from a patient, or (with `trigger`) our own prompt to speak first; one turn each, in order of `id`.

    `not_after` ends what is said by itself: of a prompt its words, of a patient's message the confirmation of an opt-out in it.
    """

    __tablename__ = "inbound"
    __table_args__ = (
        UniqueConstraint("channel", "external_id"),
        Index("ix_inbound_open", "patient_id", "id", postgresql_where=text("state = 'accepted'"), sqlite_where=text("state = 'accepted'")),
        Index("ix_inbound_stored", "patient_id", "id", postgresql_where=text("state = 'stored'"), sqlite_where=text("state = 'stored'")),
    )
    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True, autoincrement=True)
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    channel: Mapped[Channel] = mapped_column(stored(Channel))
    external_id: Mapped[str] = mapped_column(String(80))
    trigger: Mapped[str | None] = mapped_column(String(16))
    contact_id: Mapped[str | None] = mapped_column(String(32))
    body: Mapped[str] = mapped_column(Encrypted("inbound.body"))
    media: Mapped[int] = mapped_column(default=0)
    ours: Mapped[str | None] = mapped_column(String(16))
    flagged: Mapped[Acuity | None] = mapped_column(stored(Acuity))
    received_at: Mapped[datetime]
    not_after: Mapped[datetime | None]
    state: Mapped[InboundState] = mapped_column(stored(InboundState), default=InboundState.ACCEPTED)
    attempts: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[datetime | None]
    handled_at: Mapped[datetime | None]


BOT = "bot"
"""The author of what no person wrote."""
_UNCONFIRMED = "state IN ('accepted', 'sent') AND channel = 'sms'"


class Outbound(Base):
    """A message to a patient, sent head first, in order of `id`. `contact_id`: what our side says first in that contact."""

    __tablename__ = "outbound"
    __table_args__ = (
        Index(
            "ix_outbound_open",
            "patient_id",
            "id",
            postgresql_where=text("state IN ('pending', 'sending', 'unknown')"),
            sqlite_where=text("state IN ('pending', 'sending', 'unknown')"),
        ),
        Index("ix_outbound_external", "external_id"),
        Index("ix_outbound_unconfirmed", "sent_at", postgresql_where=text(_UNCONFIRMED), sqlite_where=text(_UNCONFIRMED)),
    )
    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True, autoincrement=True)
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    inbound_id: Mapped[int | None] = mapped_column(SEQUENCE)
    contact_id: Mapped[str | None] = mapped_column(String(32))
    channel: Mapped[Channel] = mapped_column(stored(Channel))
    body: Mapped[str] = mapped_column(Encrypted("outbound.body"))
    key: Mapped[str] = mapped_column(String(48), default="")
    author: Mapped[str] = mapped_column(String(40), default=BOT)
    safety: Mapped[bool] = mapped_column(default=False)
    compliance: Mapped[bool] = mapped_column(default=False)
    quick_replies: Mapped[list[Any]] = mapped_column(JSON, default=list)
    reference: Mapped[str] = mapped_column(String(32), unique=True, default=new_id)
    state: Mapped[OutboundState] = mapped_column(stored(OutboundState), default=OutboundState.PENDING)
    external_id: Mapped[str | None] = mapped_column(String(64))
    error_code: Mapped[int | None]
    segments: Mapped[int] = mapped_column(default=1)
    attempts: Mapped[int] = mapped_column(default=0)
    resent: Mapped[bool] = mapped_column(default=False)
    next_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    not_after: Mapped[datetime | None]
    created_at: Mapped[datetime]
    sent_at: Mapped[datetime | None]


class Answer(Base):
    """A typed answer to a question, with the words it was read from."""

    __tablename__ = "answers"
    __table_args__ = (UniqueConstraint("inbound_id", "question"),)
    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True, autoincrement=True)
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    inbound_id: Mapped[int] = mapped_column(SEQUENCE)
    contact_id: Mapped[str | None] = mapped_column(String(32))
    question: Mapped[str] = mapped_column(String(64))
    value: Mapped[Any] = mapped_column(EncryptedJson("answers.value"))
    unit: Mapped[str | None] = mapped_column(String(16))
    words: Mapped[str] = mapped_column(Encrypted("answers.words"))
    at: Mapped[datetime]


class ReportRow(Base):
    """A report with its triage and the whole evidence."""

    __tablename__ = "reports"
    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True, autoincrement=True)
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    inbound_id: Mapped[int] = mapped_column(SEQUENCE, unique=True)
    words: Mapped[str] = mapped_column(Encrypted("reports.words"))
    acuity: Mapped[Acuity] = mapped_column(stored(Acuity))
    triage: Mapped[Any] = mapped_column(EncryptedJson("reports.triage"))
    at: Mapped[datetime]


class Escalation(Base):
    """Something a coordinator must act on by `deadline`. `key` makes a repeat of the same cause one row."""

    __tablename__ = "escalations"
    __table_args__ = (Index("ix_escalations_open", "state", "deadline"),)
    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(String(96), unique=True)
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    inbound_id: Mapped[int | None] = mapped_column(SEQUENCE)
    reason: Mapped[str] = mapped_column(String(32))
    acuity: Mapped[Acuity] = mapped_column(stored(Acuity))
    summary: Mapped[str] = mapped_column(Encrypted("escalations.summary"))
    evidence: Mapped[Any] = mapped_column(EncryptedJson("escalations.evidence"))
    state: Mapped[EscalationState] = mapped_column(stored(EscalationState), default=EscalationState.OPEN)
    deadline: Mapped[datetime]
    called_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    acknowledged_by: Mapped[str | None] = mapped_column(String(32))
    acknowledged_at: Mapped[datetime | None]
    resolved_by: Mapped[str | None] = mapped_column(String(32))
    resolved_at: Mapped[datetime | None]
    outcome: Mapped[str | None] = mapped_column(String(48))
    note: Mapped[str | None] = mapped_column(Encrypted("escalations.note"))


class Silence(Base):
    """A question whose answer could raise a report to dangerous: where the patient says nothing by `due_at`, a person is called. Settled once."""

    __tablename__ = "silences"
    __table_args__ = (Index("ix_silences_open", "due_at", postgresql_where=text("settled_at IS NULL"), sqlite_where=text("settled_at IS NULL")),)
    id: Mapped[int] = mapped_column(SEQUENCE, primary_key=True, autoincrement=True)
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    inbound_id: Mapped[int] = mapped_column(SEQUENCE, unique=True)
    question: Mapped[str] = mapped_column(String(48))
    acuity: Mapped[Acuity] = mapped_column(stored(Acuity))
    due_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]


class User(Base):
    """A coordinator or programme lead."""

    __tablename__ = "users"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    username: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(String(256))
    role: Mapped[Role] = mapped_column(stored(Role))
    disabled: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[datetime]


class SessionKind(StrEnum):
    """Whose session it is."""

    CONSOLE = "console"
    CHAT = "chat"


class WebSession(Base):
    """A browser's session; the cookie holds the token, the row its hash. `online_at`: when the chat's socket was last seen connected."""

    __tablename__ = "web_sessions"
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    kind: Mapped[SessionKind] = mapped_column(stored(SessionKind))
    subject_id: Mapped[str] = mapped_column(String(32), index=True)
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    online_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]


class ChatLink(Base):
    """A one-time link into the web chat, opened with the date of birth. `failed_at`: when a wrong one was last given."""

    __tablename__ = "chat_links"
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    patient_id: Mapped[str] = mapped_column(ForeignKey("patients.id"), index=True)
    expires_at: Mapped[datetime]
    failures: Mapped[int] = mapped_column(default=0)
    failed_at: Mapped[datetime | None]
    used_at: Mapped[datetime | None]


class Stranger(Base):
    """A number nobody knows that wrote to us; only its keyed hash is kept, to answer it seldom."""

    __tablename__ = "strangers"
    phone_index: Mapped[str] = mapped_column(String(64), primary_key=True)
    external_id: Mapped[str] = mapped_column(String(80))
    answered_at: Mapped[datetime]
    messages: Mapped[int] = mapped_column(default=1)


class AuditEntry(Base):
    """Who did what to which patient, chained by a keyed hash."""

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(SEQUENCE, primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str] = mapped_column(String(64))
    action: Mapped[str] = mapped_column(String(48))
    subject: Mapped[str] = mapped_column(String(64), index=True)
    hash: Mapped[str] = mapped_column(String(64))


class Heartbeat(Base):
    """When a recurring job last finished."""

    __tablename__ = "heartbeats"
    name: Mapped[str] = mapped_column(String(48), primary_key=True)
    at: Mapped[datetime]


class Breaker(Base):
    """A provider that fails for good: nothing is tried before `retry_at`. No row, or one in the past: all is well."""

    __tablename__ = "breakers"
    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    code: Mapped[int]
    opened_at: Mapped[datetime]
    retry_at: Mapped[datetime]
