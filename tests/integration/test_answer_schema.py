"""Rasa, as the bot sets it up, still refuses an answer of the action server that is not in its form."""

from __future__ import annotations

import json
import subprocess

import pytest

from care.settings import ROOT, settings

_ASK = """
import json, sys
from jsonschema import ValidationError
from rasa.core.actions.action import RemoteAction
from bot.answer_schema import check_schema_once
check_schema_once()
for answer in json.loads(sys.argv[1]):
    try:
        print(RemoteAction("action_greet", None)._validate_action_result(answer))
    except ValidationError as error:
        print(error.message)
"""


@pytest.fixture(scope="module")
def verdicts() -> list[str]:
    answers = [
        {"events": [{"event": "slot", "timestamp": None, "name": "contact", "value": "c1"}], "responses": [{"text": "hello"}]},
        {"events": "none", "responses": []},
        {"events": [], "responses": ["hello"]},
        {"events": [{"event": "no such event"}], "responses": []},
    ]
    python = settings().home / "envs/rasa/bin/python"
    ran = subprocess.run([python, "-c", _ASK, json.dumps(answers)], cwd=ROOT, capture_output=True, text=True, check=True)
    return ran.stdout.splitlines()


def test_an_answer_in_its_form_is_taken(verdicts: list[str]) -> None:
    assert verdicts[0] == "True"


def test_any_other_is_refused_by_the_actions_name(verdicts: list[str]) -> None:
    assert len(verdicts) == 4
    assert all(verdict.startswith("action_greet: the action server's answer is not as Rasa wants it") for verdict in verdicts[1:])
