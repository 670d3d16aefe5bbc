"""How the patients of a simulation behave: what each phone answers to what it is sent, and after how long."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum

from care.knowledge import knowledge
from care.knowledge.model import Question, QuestionKind
from care.texts import scripted

RED_FLAG = "I have crushing chest pain and I cannot breathe"
_MEDIAN_MINUTES, _SPREAD, _LONGEST_MINUTES = 15.0, 1.2, 600.0
_RED_FLAG_SHARE = 0.01
_YES_SHARE = 0.05
_SILENT_ANSWERS, _STOPS_AT = 0.3, 3


class Behaviour(StrEnum):
    """What a patient does with our messages."""

    ANSWERS = "answers"
    SELDOM = "seldom"
    SILENT = "silent"
    OPTS_OUT = "opts_out"
    WRONG_NUMBER = "wrong_number"
    DEAD = "dead"


SHARES = {
    Behaviour.ANSWERS: 0.62,
    Behaviour.SELDOM: 0.13,
    Behaviour.SILENT: 0.12,
    Behaviour.OPTS_OUT: 0.06,
    Behaviour.WRONG_NUMBER: 0.04,
    Behaviour.DEAD: 0.03,
}
"""Of the patients, how many behave so: about what text-message follow-up after a discharge sees, rounded."""


@dataclass(frozen=True)
class Reply:
    """What a phone sends, so many minutes of the patient's time after it heard."""

    body: str
    after_minutes: float


class Phone:
    """One patient's phone."""

    def __init__(self, number: str, behaviour: Behaviour, seed: int) -> None:
        self.number, self.behaviour = number, behaviour
        self._dice = random.Random(seed)  # noqa: S311 - a simulation is to be repeatable
        self._agreed = False
        self._asked = 0

    def hears(self, body: str) -> Reply | None:
        """The answer to a message, if there is one."""
        if self.behaviour is Behaviour.DEAD:
            return None
        if not self._agreed and body in _requests():
            return self._to_request()
        question = next((each for each in knowledge().questions.values() if each.text["en"] in body), None)
        if question is None or not self._agreed:
            return None
        self._asked += 1
        if self.behaviour is Behaviour.OPTS_OUT and self._asked >= _STOPS_AT:
            return self._reply("Please stop texting me" if self._dice.random() < 0.5 else "STOP")
        if self.behaviour is Behaviour.SELDOM and self._dice.random() > _SILENT_ANSWERS:
            return None
        if self._dice.random() < _RED_FLAG_SHARE:
            return self._reply(RED_FLAG)
        return self._reply(self._answer(question))

    def _to_request(self) -> Reply | None:
        if self.behaviour is Behaviour.SILENT:
            return None
        self._agreed = True
        return self._reply("wrong person, remove this number" if self.behaviour is Behaviour.WRONG_NUMBER else "YES")

    def _answer(self, question: Question) -> str:
        match question.kind:
            case QuestionKind.SCALE:
                return str(self._dice.randint(int(question.minimum or 0), int((question.maximum or 10) // 2)))
            case QuestionKind.MEASURE:
                return "skip"
            case QuestionKind.BLOOD_PRESSURE:
                return f"{self._dice.randint(110, 140)}/{self._dice.randint(65, 88)}"
            case QuestionKind.CHOICE:
                mildest = question.choices[-1]
                return next(iter([*mildest.words, *mildest.alone]), mildest.value)
            case QuestionKind.MEDICINE:
                return "yes"
            case QuestionKind.YES_NO:
                return "yes" if self._dice.random() < _YES_SHARE else "no"

    def _reply(self, body: str) -> Reply:
        minutes = self._dice.lognormvariate(math.log(_MEDIAN_MINUTES), _SPREAD)
        return Reply(body, min(minutes, _LONGEST_MINUTES))


def phones(number: int, seed: int) -> dict[str, Phone]:
    """The phones of so many patients, by number; the same for the same seed."""
    dice = random.Random(seed)  # noqa: S311
    behaviours = dice.choices(list(SHARES), list(SHARES.values()), k=number)
    return {each.number: each for each in (Phone(f"+1557{place:07d}", behaviour, seed + place) for place, behaviour in enumerate(behaviours))}


def _requests() -> tuple[str, str]:
    """The two ways in which consent is asked for."""
    return scripted("consent_request", first_name="Pat"), scripted("consent_needed", first_name="Pat")
