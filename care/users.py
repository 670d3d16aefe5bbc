"""The people who may use the console and the API: added, given a new password, locked out."""

from __future__ import annotations

from datetime import datetime

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from care.audit import record
from care.storage.tables import Conversation, Escalation, EscalationState, Role, User, WebSession

SHORTEST_PASSWORD = 12
_hasher = PasswordHasher()
_UNKNOWN_USER_HASH = _hasher.hash("nobody has this password")


class UserRefused(Exception):
    """A user cannot be kept so; the message names the field and the remedy."""


def add_user(session: Session, username: str, password: str, role: Role, at: datetime, *, actor: str = "service") -> User:
    """A user of the console; the password is kept as an argon2id hash. Raises `UserRefused` where the name is taken."""
    if session.scalar(select(User.id).where(User.username == username)) is not None:
        raise UserRefused(f"name: {username!r} is taken; choose another, or give that user a new password")
    user = User(username=username, password_hash=_hasher.hash(password), role=role, created_at=at)
    session.add(user)
    session.flush()
    record(session, actor=actor, action="user_added", subject=user.id, at=at)
    return user


def find_user(session: Session, username: str) -> User:
    """The user of this name. Raises `UserRefused`."""
    user = session.scalars(select(User).where(User.username == username)).one_or_none()
    if user is None:
        raise UserRefused(f"name: there is no user {username!r}; `aftercare user list` shows them all")
    return user


def set_password(session: Session, user: User, password: str, at: datetime, *, actor: str) -> None:
    """A new password; who is signed in with the old one is signed out."""
    user.password_hash = _hasher.hash(password)
    _sign_out(session, user)
    record(session, actor=actor, action="password_changed", subject=user.id, at=at)


def lock_out(session: Session, user: User, at: datetime, *, actor: str) -> None:
    """Ends the user's access, and open sessions, at once, and gives back what the user had taken on; what the user did stays on record."""
    user.disabled = True
    _sign_out(session, user)
    theirs = (Escalation.acknowledged_by == user.id, Escalation.state == EscalationState.ACKNOWLEDGED)
    session.execute(update(Conversation).where(Conversation.coordinator_id == user.id).values(coordinator_id=None))
    session.execute(update(Escalation).where(*theirs).values(state=EscalationState.OPEN, acknowledged_by=None, acknowledged_at=None))
    record(session, actor=actor, action="user_locked_out", subject=user.id, at=at)


def let_in(session: Session, user: User, at: datetime, *, actor: str) -> None:
    """Gives a user who was locked out access again."""
    user.disabled = False
    record(session, actor=actor, action="user_let_in", subject=user.id, at=at)


def check_password(session: Session, username: str, password: str) -> User | None:
    """The user, or None; an unknown name takes as long as a wrong password."""
    user = session.scalars(select(User).where(User.username == username)).one_or_none()
    try:
        _hasher.verify(user.password_hash if user else _UNKNOWN_USER_HASH, password)
    except Argon2Error:
        return None
    return user if user and not user.disabled else None


def _sign_out(session: Session, user: User) -> None:
    session.execute(delete(WebSession).where(WebSession.subject_id == user.id))
