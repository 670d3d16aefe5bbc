"""`aftercare bench reply`: what a check-in answer takes over web chat and over SMS, against the same words posted straight to Rasa's REST channel."""

from __future__ import annotations

import argparse
import time
from datetime import timedelta
from itertools import count
from uuid import uuid4

import httpx
from pydantic import BaseModel
from rich.console import Console
from rich.progress import track
from sqlalchemy import select
from twilio.request_validator import RequestValidator

from aftercare.assembly import build_dialogue, build_turn_runner
from aftercare.bench.figures import Spread
from care.campaigns.service import campaign_named, create_campaign, enroll
from care.clock import service_clock
from care.knowledge import knowledge
from care.messages.inbox import accept_trigger
from care.messages.twilio_client import account_of
from care.patients.consent import record_consent
from care.patients.model import NewPatient
from care.sessions import make_chat_link
from care.settings import settings
from care.storage.engine import transaction
from care.storage.tables import Contact, ContactState
from care.triage.model import PatientContext
from care.turns.dialogue import DialogueContext, DialogueRequest

_CAMPAIGN, _PROTOCOL, _DAY = "bench", "knee_replacement", 3
_ANSWERS = {"pain_score": "about a 3", "temperature": "98.6", "wound": "clean and dry", "calf": "no", "blood_thinner": "yes"}
_BORN = "1960-01-01"
_POLL_S = 0.004
_LONGEST_S = 30.0


class ReplyBench(BaseModel):
    """Milliseconds from a message to its reply on each way, and the ratio of the medians to Rasa's REST channel."""

    check_ins: int
    turns: int
    rasa_rest: Spread
    web_chat: Spread
    sms: Spread
    web_chat_ratio: float
    sms_ratio: float


class _Rest:
    """A conversation on Rasa's REST channel. Our own channel begins it, since Rasa's has no way to."""

    def __init__(self, number: int) -> None:
        self._sender = f"bench-{number}-{uuid4().hex[:8]}"
        self._http = httpx.Client(base_url=settings().rasa, timeout=_LONGEST_S)
        self._context = DialogueContext(
            patient=self._sender,
            first_name="Pat",
            clinic=settings().clinic_name,
            clinic_phone=settings().clinic_phone,
            channel="web",
            consent="granted",
            clinical=PatientContext(protocol=_PROTOCOL, day=_DAY),
            contact=f"contact-{self._sender}",
            questions=knowledge().protocols[_PROTOCOL].questions_on(_DAY),
            today=service_clock().now().date(),
        )
        begin = DialogueRequest(message_id="bench:0", sender=self._sender, text="", trigger="start_check_in", context=self._context, state_version=0)
        build_dialogue(settings()).turn(begin, None, _LONGEST_S)

    def say(self, text: str) -> list[str]:
        metadata = {"context": self._context.model_dump(mode="json"), "message_id": uuid4().hex}
        answer = self._http.post("/webhooks/rest/webhook", json={"sender": self._sender, "message": text, "metadata": metadata}).raise_for_status()
        return [message["custom"]["reply"]["text"] for message in answer.json() if "reply" in message["custom"]]


class _Web:
    """A patient in the web chat."""

    def __init__(self, number: int) -> None:
        patient_id = _patient_in_check_in(number)
        with transaction() as session:
            token = make_chat_link(session, patient_id, service_clock().now())
        self._http = httpx.Client(base_url=settings().public, timeout=_LONGEST_S)
        self._http.post("/chat/open", json={"token": token, "date_of_birth": _BORN}).raise_for_status()

    def say(self, text: str) -> list[str]:
        answer = self._http.post("/chat/messages", json={"id": uuid4().hex, "text": text}).raise_for_status().json()
        return [line["text"] for line in answer["lines"]]


class _Sms:
    """A patient with a phone: from the signed webhook until the emulator has the reply."""

    def __init__(self, number: int) -> None:
        self._phone = _phone(number)
        self._web, self._emulator = httpx.Client(timeout=_LONGEST_S), httpx.Client(timeout=_LONGEST_S)
        _patient_in_check_in(number)
        self._wait_beyond(0)

    def say(self, text: str) -> list[str]:
        before = len(self._received())
        sid, token = account_of(settings())
        fields = {"MessageSid": f"SM{uuid4().hex}", "AccountSid": sid, "From": self._phone, "To": settings().our_numbers[0], "Body": text, "NumMedia": "0"}
        url = f"{settings().public}/sms/inbound"
        signature = RequestValidator(token).compute_signature(url, fields)
        self._web.post(url, data=fields, headers={"X-Twilio-Signature": signature}).raise_for_status()
        return self._wait_beyond(before)

    def _wait_beyond(self, before: int) -> list[str]:
        end = time.monotonic() + _LONGEST_S
        while len(received := self._received()) <= before:
            if time.monotonic() > end:
                raise RuntimeError("no reply reached the emulator")
            time.sleep(_POLL_S)
        return received[before:]

    def _received(self) -> list[str]:
        messages = self._emulator.get(f"http://127.0.0.1:{settings().emulator_port}/phones/{self._phone}/messages").raise_for_status().json()
        return [message["body"] for message in messages if message["direction"] == "in"]


def measure(check_ins: int) -> ReplyBench:
    """Runs the check-ins on all three ways turn by turn, so that each sees the same noise. Raises `RuntimeError` where a way answers otherwise."""
    with transaction() as session:
        create_campaign(session, _CAMPAIGN, _PROTOCOL, service_clock().now())
    numbers = count(1)
    taken: dict[str, list[float]] = {"rest": [], "web": [], "sms": []}
    questions = knowledge().protocols[_PROTOCOL].questions_on(_DAY)
    for check_in in track(range(check_ins + 1), description="check-ins", console=Console(stderr=True)):
        ways: dict[str, _Rest | _Web | _Sms] = {"rest": _Rest(next(numbers)), "web": _Web(next(numbers)), "sms": _Sms(next(numbers))}
        for question in questions:
            said = {}
            for name, way in ways.items():
                began = time.perf_counter()
                said[name] = way.say(_ANSWERS[question])
                if check_in:  # the first warms every process up
                    taken[name].append(time.perf_counter() - began)
            if not said["rest"] or said["web"] != said["rest"] or said["sms"][0] != said["rest"][0]:
                raise RuntimeError(f"the ways answered {question} differently: {said}")
    rest, web, sms = (Spread.of(taken[name]) for name in ("rest", "web", "sms"))
    return ReplyBench(
        check_ins=check_ins,
        turns=len(taken["rest"]),
        rasa_rest=rest,
        web_chat=web,
        sms=sms,
        web_chat_ratio=round(web.p50_ms / rest.p50_ms, 2),
        sms_ratio=round(sms.p50_ms / rest.p50_ms, 2),
    )


def _phone(number: int) -> str:
    return f"+1555011{number:04d}"


def _patient_in_check_in(number: int) -> str:
    """A patient who has just been asked the first question; the id."""
    now = service_clock().now()
    with transaction() as session:
        new = NewPatient.model_validate(
            {
                "reference": f"bench-{number}",
                "name": "Pat Bench",
                "phone": _phone(number),
                "date_of_birth": _BORN,
                "anchor": now.date() - timedelta(days=_DAY),
                "timezone": "UTC",
            }
        )
        enrolled = enroll(session, campaign_named(session, _CAMPAIGN), new, now - timedelta(days=_DAY))
        record_consent(session, enrolled.patient_id, granted=True, channel="sms", words="yes", source="bench", at=now)
        for contact in session.scalars(select(Contact).where(Contact.enrollment_id == enrolled.enrollment_id)):
            contact.next_at = None
            if contact.day == _DAY:
                contact.state, contact.started_at = ContactState.STARTED, now
                accept_trigger(session, enrolled.patient_id, "start_check_in", contact.id, f"bench:{contact.id}", now)
    build_turn_runner(settings()).run(enrolled.patient_id)
    return enrolled.patient_id


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="aftercare.bench.reply")
    parser.add_argument("--check-ins", type=int, required=True)
    print(measure(parser.parse_args().check_ins).model_dump_json(indent=1))
