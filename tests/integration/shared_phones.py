"""Patients whose phone others read as well, and their web chat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi.testclient import TestClient

from care.messages.outbox import OutboundText, write
from care.patients.corrections import set_phone_use
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Channel, Outbound, Patient
from tests.conftest import NOON, add_patient
from tests.integration.parties import rows

BORN = "1950-01-01"


def shared(number: int = 1, **given: object) -> str:
    """A patient with a shared phone."""
    patient = add_patient(number, **given)  # type: ignore[arg-type]
    with transaction() as session:
        session.get_one(Patient, patient).shared_phone = True
    return patient


def say(patient: str, words: str = "your knee", **given: object) -> None:
    """Our side's words, as an answer to a text."""
    with transaction() as session:
        write(session, patient, Channel.SMS, [OutboundText(words, **given)], NOON)  # type: ignore[arg-type]


def texts() -> list[str]:
    """The keys of what goes to the phone."""
    return [row.key for row in rows(Outbound) if row.channel is Channel.SMS]


def in_chat() -> list[str]:
    """What waits in the chat."""
    return [row.body for row in rows(Outbound) if row.channel is Channel.WEB]


def link() -> str:
    """The token of the newest link that went to the phone."""
    return re.findall(r"#open=([\w-]+)", rows(Outbound)[-1].body)[-1]


def open_chat(browser: TestClient, token: str, born: str = BORN) -> int:
    return browser.post("/chat/open", json={"token": token, "date_of_birth": born}).status_code


@contextmanager
def connected(browser: TestClient) -> Iterator[None]:
    """The browser shows the chat, in which something stands already."""
    with browser.websocket_connect("/chat/socket", headers={"origin": settings().public}) as socket:
        socket.receive_json()
        yield


def phone_is_shared(patient: str) -> None:
    with transaction() as session:
        set_phone_use(session, session.get_one(Patient, patient), shared=True, actor="user:u1", at=NOON)


def shown(browser: TestClient) -> list[str]:
    return [line["text"] for line in browser.get("/chat/messages").json()["lines"]]
