"""Reading an answer the way a person would: "about a 7 I guess", "no fever, 99.1", "nope", a thumbs-up."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from care.knowledge.model import Question, QuestionKind
from care.redflags.normalise import normalise

_NUMBER = re.compile(r"(?<![\w.])-?\d{1,4}(?:[.,]\d{1,2})?(?![\d])")
_WORDS = {
    "zero": 0, "none": 0, "nothing": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
    "cero": 0, "uno": 1, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8, "nueve": 9, "diez": 10,
}  # fmt: skip
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_YES = frozenset(
    [
        "yes",
        "yep",
        "yeah",
        "yup",
        "ya",
        "yea",
        "ye",
        "y",
        "si",
        "sure",
        "ok",
        "okay",
        "definitely",
        "affirmative",
        "absolutely",
        "correct",
        "did",
        "done",
        "have",
        "true",
        "indeed",
        "uhhuh",
        "claro",
    ]
)
_NO = frozenset(["no", "nope", "nah", "n", "not", "never", "none", "negative", "didnt", "dont", "havent", "hasnt", "isnt", "nothing", "false", "nada"])
_LATER = frozenset(["later", "soon", "tonight", "after", "yet", "forgot", "luego", "tarde", "despues", "gonna", "will"])
_THUMBS_UP, _THUMBS_DOWN = ("\U0001f44d", "\u2705", "\U0001f44c"), ("\U0001f44e", "\u274c")
_FAHRENHEIT = (91.0, 110.0)
SKIP = frozenset({"skip", "not taken", "havent taken it", "dont know", "no thermometer", "didnt take it", "not sure"})


class AnswerOutOfBounds(Exception):
    """A number that cannot be; it is asked for again and never stored."""

    def __init__(self, question: str) -> None:
        super().__init__(f"the answer to {question} is out of bounds")
        self.question = question


@dataclass(frozen=True)
class ReadAnswer:
    """A typed value, its unit, and the words beside it (`rest`) that may be a report."""

    value: float | bool | str
    unit: str | None
    rest: str


def read_answer(question: Question, text: str) -> ReadAnswer | None:
    """The answer in `text`; None where there is none. Raises `AnswerOutOfBounds`, and nothing else for any text."""
    match question.kind:
        case QuestionKind.SCALE:
            return _read_number(question, text)
        case QuestionKind.TEMPERATURE:
            return _read_temperature(question, text)
        case QuestionKind.YES_NO:
            found = _read_yes_no(text)
            return None if found is None else ReadAnswer(found, None, _rest(text))
        case QuestionKind.MEDICINE:
            return _read_medicine(text)
        case QuestionKind.CHOICE:
            return _read_choice(question, text)


def is_skip(text: str) -> bool:
    """Whether the patient leaves the question out."""
    return normalise(text).replace("\n", " ").strip() in SKIP


def _read_number(question: Question, text: str) -> ReadAnswer | None:
    number, rest = _first_number(text)
    if number is None:
        return None
    minimum, maximum = question.minimum or 0.0, question.maximum or 10.0
    if not minimum <= number <= maximum:
        raise AnswerOutOfBounds(question.id)
    return ReadAnswer(number, question.unit, rest)


def _read_temperature(question: Question, text: str) -> ReadAnswer | None:
    number, rest = _first_number(text)
    if number is None:
        return None
    celsius = (number - 32) * 5 / 9 if _FAHRENHEIT[0] <= number <= _FAHRENHEIT[1] else number
    if not (question.minimum or 33) <= celsius <= (question.maximum or 43):
        raise AnswerOutOfBounds(question.id)
    return ReadAnswer(round(celsius, 1), "Cel", rest)


def _first_number(text: str) -> tuple[float | None, str]:
    plain = unicodedata.normalize("NFKC", text[:500])
    digits = "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in plain)
    match = _NUMBER.search(digits)
    if match:
        return float(match.group(0).replace(",", ".")), (digits[: match.start()] + " " + digits[match.end() :]).strip(" .,;:")
    words = re.findall(r"[a-z]+", normalise(plain))
    spoken = _spoken(words)
    return (spoken, "") if spoken is not None else (None, text)


def _spoken(words: list[str]) -> float | None:
    """ "seven", "ninety nine point one", "one oh two"."""
    for at, word in enumerate(words):
        after = words[at + 1 : at + 5]
        if word == "one" and after[:1] in (["oh"], ["o"]) and len(after) > 1 and after[1] in _WORDS:
            return 100.0 + _WORDS[after[1]] + _point(after[2:])
        if word in _TENS:
            unit = _WORDS.get(after[0], 0) if after else 0
            return float(_TENS[word] + unit) + _point(after[1 if unit else 0 :])
        if word in _WORDS:
            return float(_WORDS[word]) + _point(after)
    return None


def _point(words: list[str]) -> float:
    return _WORDS[words[1]] / 10 if len(words) > 1 and words[0] == "point" and words[1] in _WORDS else 0.0


def _read_yes_no(text: str) -> bool | None:
    if any(sign in text for sign in _THUMBS_UP):
        return True
    if any(sign in text for sign in _THUMBS_DOWN):
        return False
    words = normalise(text[:500]).split()
    first = next((word for word in words[:4] if word in _YES or word in _NO), None)
    return None if first is None else first in _YES


def _read_medicine(text: str) -> ReadAnswer | None:
    words = set(normalise(text[:500]).split())
    if words & _LATER and not words & {"took", "taken"}:
        return ReadAnswer("later", None, _rest(text))
    answer = _read_yes_no(text)
    if answer is None and words & {"took", "taken"}:
        answer = True
    return None if answer is None else ReadAnswer("yes" if answer else "no", None, _rest(text))


def _read_choice(question: Question, text: str) -> ReadAnswer | None:
    words = normalise(text[:500]).split()
    for choice in question.choices:
        for at, word in enumerate(words):
            denied = at > 0 and words[at - 1] in ("no", "not", "isnt", "never", "without")
            if not denied and any(word == known or (len(known) > 4 and word.startswith(known)) for known in choice.words):
                return ReadAnswer(choice.value, None, _rest(text))
    return None


def _rest(text: str) -> str:
    return text.strip() if len(text.split()) > 3 else ""
