"""Browser sessions of coordinators and patients, and one-time chat links."""

from __future__ import annotations

import hmac
import re
import secrets
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from care.acuity import Acuity
from care.audit import record
from care.escalations.service import Cause, raise_once
from care.keys import keys
from care.settings import settings
from care.storage.tables import ChatLink, Patient, SessionKind, WebSession

_IDLE = {SessionKind.CONSOLE: timedelta(minutes=15), SessionKind.CHAT: timedelta(hours=12)}
_IDLE_ON_SHARED_PHONE = timedelta(minutes=15)
_ABSOLUTE = timedelta(hours=12)
_LINK_LIFE = timedelta(minutes=15)
UNASKED_LINK_LIFE = timedelta(hours=24)
"""Of a link that the patient did not ask for, and may find hours later."""
_TOKEN_BYTES = 16
"""Of a link: 128 bits cannot be guessed, and leave room in an SMS of one segment."""
_ONLINE = timedelta(seconds=45)
"""So long a chat counts as open after its socket was last seen connected: three marks."""
_LINK_FAILURES = 5
_FAILURES, _FAILURES_WITHIN = 10, timedelta(hours=24)
"""Of all the patient's links together: a new one gives no new guesses."""
_TOKEN = re.compile(r"#open=[\w-]+")


class LinkRefused(Exception):
    """The link is unknown, used, expired or locked (or all the patient's are), or the date of birth is not the patient's; which one is not told."""


def open_session(session: Session, kind: SessionKind, subject_id: str) -> str:
    """A new session's token, 256 bits at random; only its hash is stored. Sessions run on real time."""
    now = datetime.now(UTC)
    token = secrets.token_urlsafe(32)
    session.execute(delete(WebSession).where(WebSession.expires_at < now))
    session.add(WebSession(token_hash=_hash(token), kind=kind, subject_id=subject_id, created_at=now, seen_at=now, expires_at=now + _ABSOLUTE))
    return token


def session_subject(session: Session, kind: SessionKind, token: str | None) -> str | None:
    """Whose session it is; None where it is unknown, idle too long (in the chat of a patient with a shared phone sooner) or over."""
    if not token:
        return None
    now = datetime.now(UTC)
    row = session.get(WebSession, _hash(token))
    if row is None or row.kind is not kind or row.expires_at < now or now - row.seen_at > _IDLE[kind]:
        return None
    if kind is SessionKind.CHAT and now - row.seen_at > _IDLE_ON_SHARED_PHONE and session.get_one(Patient, row.subject_id).shared_phone:
        return None
    return row.subject_id


def touch(session: Session, token: str) -> None:
    """Notes that the session is in use."""
    row = session.get(WebSession, _hash(token))
    if row is not None:
        row.seen_at = datetime.now(UTC)


def mark_online(session: Session, token: str) -> datetime:
    """Notes that a socket of the chat is connected; the mark. That alone is no use of the session, which goes idle all the same."""
    mark = datetime.now(UTC)
    session.execute(update(WebSession).where(WebSession.token_hash == _hash(token)).values(online_at=mark))
    return mark


def mark_gone(session: Session, token: str, mark: datetime) -> None:
    """Notes that the socket of this mark is gone, unless another one was seen since."""
    session.execute(update(WebSession).where(WebSession.token_hash == _hash(token), WebSession.online_at == mark).values(online_at=None))


def close_session(session: Session, token: str) -> None:
    """Ends the session at once."""
    session.execute(delete(WebSession).where(WebSession.token_hash == _hash(token)))


def csrf_token(token: str) -> str:
    """The value that a form of this session must carry."""
    return hmac.new(keys().session.get_secret_value(), token.encode(), sha256).hexdigest()


def in_chat(session: Session, patient_id: str) -> bool:
    """Whether a browser shows the web chat to the patient now."""
    now = datetime.now(UTC)
    theirs = (WebSession.kind == SessionKind.CHAT, WebSession.subject_id == patient_id)
    return bool(session.scalar(select(exists().where(*theirs, WebSession.online_at > now - _ONLINE, WebSession.expires_at > now))))


def make_chat_link(session: Session, patient_id: str, at: datetime, life: timedelta = _LINK_LIFE) -> str:
    """The token of a one-time link into the web chat, good for `life` of real time. The patient's old ones are removed, once what was guessed at them counts no
    more."""
    token, now = secrets.token_urlsafe(_TOKEN_BYTES), datetime.now(UTC)
    counts_no_more = or_(ChatLink.failed_at.is_(None), ChatLink.failed_at < now - _FAILURES_WITHIN)
    session.execute(delete(ChatLink).where(ChatLink.patient_id == patient_id, ChatLink.expires_at < now, counts_no_more))
    session.add(ChatLink(token_hash=_hash(token), patient_id=patient_id, expires_at=now + life))
    record(session, actor="service", action="chat_link_made", subject=patient_id, at=at)
    return token


def chat_url(session: Session, patient_id: str, at: datetime, life: timedelta = _LINK_LIFE) -> str:
    """A one-time link into the web chat."""
    return _address(make_chat_link(session, patient_id, at, life))


def sample_url() -> str:
    """As long as a link into the web chat, and opens nothing."""
    return _address("-" * len(secrets.token_urlsafe(_TOKEN_BYTES)))


def without_tokens(text: str) -> str:
    """The text, its links such that they open nothing."""
    return _TOKEN.sub("#open=...", text)


def has_live_link(session: Session, patient_id: str) -> bool:
    """Whether a link of the patient waits to be opened."""
    live = (ChatLink.used_at.is_(None), ChatLink.failures < _LINK_FAILURES, ChatLink.expires_at > datetime.now(UTC))
    return bool(session.scalar(select(exists().where(ChatLink.patient_id == patient_id, *live))))


def open_chat(session: Session, token: str, date_of_birth: str, at: datetime) -> str | None:
    """Uses the link up and opens a session: its token; None where the date of birth is wrong. Five times lock the link; ten times within a day lock all of
    the patient's, and a person is told. Raises `LinkRefused`."""
    now, given = datetime.now(UTC), ChatLink.token_hash == _hash(token)
    whose = select(ChatLink.patient_id).where(given).scalar_subquery()
    patient = session.scalars(select(Patient).where(Patient.id == whose).with_for_update(key_share=True)).one_or_none()  # one guess after another
    link = session.scalars(select(ChatLink).where(given).with_for_update()).one_or_none()
    if patient is None or link is None or link.used_at is not None or link.failures >= _LINK_FAILURES or link.expires_at < now:
        raise LinkRefused
    lately = (ChatLink.patient_id == patient.id, ChatLink.failed_at > now - _FAILURES_WITHIN)
    failures = session.scalar(select(func.sum(ChatLink.failures)).where(*lately)) or 0
    if failures >= _FAILURES:
        raise LinkRefused
    if not hmac.compare_digest(patient.date_of_birth.encode(), date_of_birth.encode()):
        link.failures, link.failed_at = link.failures + 1, now
        if failures + 1 == _FAILURES:
            told = "Somebody tried ten dates of birth to open the patient's web chat, which opens to nobody for a day: phone the patient."
            raise_once(session, patient.id, Cause(f"chat_guessed:{link.token_hash.hex()}", "chat_guessed", Acuity.ROUTINE, told), at)
        return None
    link.used_at = at
    record(session, actor=f"patient:{patient.id}", action="chat_opened", subject=patient.id, at=at)
    return open_session(session, SessionKind.CHAT, patient.id)


def _address(token: str) -> str:
    return f"{settings().public}/#open={token}"


def _hash(token: str) -> bytes:
    return sha256(token.encode()).digest()
