"""The action server: one turn that waits keeps no other from running, each knows how long its caller waits, and what is said is in the patient's language."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from rasa_sdk import Tracker
from rasa_sdk.executor import CollectingDispatcher

from bot.actions.advice import GiveAdvice
from bot.actions.capability import Capability, Events
from bot.actions.check_in import ValidateCheckIn
from bot.actions.fallback import NotUnderstood
from bot.actions.turn import Turn
from care.acuity import Acuity
from care.knowledge import knowledge
from care.settings import settings
from care.texts import scripted
from care.triage.model import PatientContext
from care.turns.dialogue import ConsentState, DialogueContext, DialogueFailed, DialogueRequest
from care.turns.rasa_client import RasaDialogue
from care.understanding import Understanding

BOTH_INSIDE = threading.Barrier(2)


class Waiting(Capability):
    """Waits until another turn is inside as well."""

    called = "action_of_a_test"

    def act(self, turn: Turn) -> Events:
        BOTH_INSIDE.wait(20)
        return []


def tracked(text: str, language: str, heard: str = "en", consent: ConsentState = "granted", **slots: object) -> Tracker:
    """The state of a conversation with a patient of that language, whose words the encoder `heard` in another."""
    context = DialogueContext(
        patient="p",
        first_name="Ana",
        clinic="Riverside",
        clinic_phone="555-010-0199",
        channel="sms",
        consent=consent,
        clinical=PatientContext(protocol="knee_replacement", day=3, language=language),
        contact=None,
        questions=[],
        today=date(2026, 3, 4),
    )
    understanding = Understanding(text=text, intents=[], spans=[], acuity={Acuity.SELF_CARE: 1.0}, language=heard, version="encoder-1")
    message = {
        "text": text,
        "intent": {"name": "not_sure"},
        "understanding": understanding.model_dump(mode="json"),
        "metadata": {"context": context.model_dump(mode="json")},
    }
    return Tracker("s", slots, message, [], False, None, {}, "action_listen")


def said(action: Capability, tracker: Tracker) -> list[dict[str, Any]]:
    """What an action says and does."""
    dispatcher = CollectingDispatcher()
    action.act(Turn(dispatcher, tracker))
    return [each["custom"] for each in dispatcher.messages]


@pytest.mark.parametrize("language", ["en", "es", "zh"])
def test_a_question_is_answered_with_approved_advice_in_the_patients_language(language: str) -> None:
    assert [each["reply"]["text"] for each in said(GiveAdvice(), tracked("can i shower yet", language))] == [knowledge().advice["shower"].said(language)]


@pytest.mark.parametrize(
    ("language", "heard", "words", "answered", "acuity"),
    [
        ("en", "es", "ayer vino mi hermana", ["en", "es"], "routine"),
        ("es", "es", "ayer vino mi hermana", ["es"], "routine"),
        ("es", "en", "vino mi hermana", ["es"], "routine"),
        ("zh", "zh", "昨天我妹妹来了", ["zh"], "routine"),
        ("en", "pl", "wczoraj przyszła siostra", ["en"], "urgent"),
    ],
)
def test_words_that_the_models_cannot_read_go_to_a_person_at_once(language: str, heard: str, words: str, answered: list[str], acuity: str) -> None:
    reply, call = said(NotUnderstood(), tracked(words, language, heard))
    assert reply["reply"]["text"] == " ".join(scripted("read_by_person", each) for each in answered)
    assert (call["effect"]["reason"], call["effect"]["acuity"]) == ("not_understood", acuity)
    assert words not in call["effect"]["summary"]


@pytest.mark.parametrize("paused", [None, True])
def test_they_do_so_in_the_middle_of_a_check_in_and_after_an_emergency_too(paused: bool | None) -> None:
    dispatcher, state = CollectingDispatcher(), tracked("ayer vino mi hermana", "en", "es", questions=["calf"], paused=paused)
    slots = asyncio.run(ValidateCheckIn().validate_answer(state.latest_message["text"], dispatcher, state, {}))
    assert slots["answer"] is None
    assert [each["custom"]["effect"]["reason"] for each in dispatcher.messages if "effect" in each["custom"]] == ["not_understood"]
    assert "read_by_person" in [each["custom"]["reply"]["key"] for each in dispatcher.messages if "reply" in each["custom"]]


def test_who_has_not_agreed_is_asked_again_beside_it() -> None:
    told = said(NotUnderstood(), tracked("ayer vino mi hermana", "es", "es", consent="unknown"))
    assert [each["reply"]["key"] for each in told if "reply" in each] == ["read_by_person", "consent_needed"]


def test_english_that_is_not_understood_is_asked_for_in_other_words_first() -> None:
    assert [each["reply"]["key"] for each in said(NotUnderstood(), tracked("my sister came yesterday", "en"))] == ["not_understood_first"]


def test_two_turns_run_at_the_same_time() -> None:
    async def both() -> list[Any]:
        tracker = Tracker("s", {}, {"text": "hello", "metadata": {}}, [], False, None, {}, "action_listen")
        return await asyncio.gather(*(Waiting().run(CollectingDispatcher(), tracker, {}) for _ in range(2)))

    assert asyncio.run(both()) == [[], []]


def test_what_was_said_before_leaves_out_the_message_at_hand_and_our_prompts() -> None:
    events = [
        {"event": "user", "text": "/start_check_in"},
        {"event": "bot", "text": None, "data": {"custom": {"reply": {"text": "How is the pain?"}}}},
        {"event": "user", "text": "so so"},
        {"event": "slot", "name": "misses", "value": None},
        {"event": "bot", "text": None, "data": {"custom": {"effect": {"kind": "await"}}}},
        {"event": "user", "text": "I feel dizzy"},
    ]
    tracker = Tracker("s", {}, {"text": "I feel dizzy", "metadata": {}}, events, False, None, {}, "action_listen")
    assert [(each.who, each.words) for each in Turn(CollectingDispatcher(), tracker).said_before] == [("service", "How is the pain?"), ("patient", "so so")]


@pytest.mark.parametrize(("answer_by", "least", "most"), [(4.0, 1.0, 4.0), (0.0, -2.0, 0.0), (None, 5.0, 8.0)])
def test_an_action_has_what_its_caller_waits_less_the_way_back(answer_by: float | None, least: float, most: float) -> None:
    metadata = {} if answer_by is None else {"answer_by": time.time() + answer_by}
    tracker = Tracker("s", {}, {"text": "I feel dizzy", "metadata": metadata}, [], False, None, {}, "action_listen")
    assert settings().reply_deadline_s == 8
    assert least < Turn(CollectingDispatcher(), tracker).left_s < most


def test_a_turn_that_is_sent_again_with_its_state_keeps_its_deadline() -> None:
    got: list[dict[str, Any]] = []

    class Forgetful(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(409 if len(got) == 1 else 502)
            self.end_headers()

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Forgetful) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = DialogueContext(
            patient="p", first_name="Ana", clinic="C", clinic_phone="5", channel="sms", consent="granted", clinical=PatientContext(), today=date(2026, 3, 2)
        )  # fmt: skip
        request = DialogueRequest(message_id="m", sender="p", text="hello", context=context, state_version=1)
        with pytest.raises(DialogueFailed):
            RasaDialogue(f"http://127.0.0.1:{server.server_port}", "token").turn(request, {"slots": {}}, 8)
        server.shutdown()
    assert [each["state"] for each in got] == [None, {"slots": {}}]
    assert got[0]["answer_by"] == got[1]["answer_by"]
