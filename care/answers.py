"""Reading an answer the way a person would: "about a 7 I guess", "no fever, 99.1", "150 over 95", "nope", a thumbs-up."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from care.knowledge.model import Earlier, Question, QuestionKind, Unit
from care.numbers import Number, numbers_in, plain
from care.redflags.normalise import normalise

_MAX_READ = 500


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_YES = _listed("yes yep yeah yup ya yea ye y si sure definitely affirmative absolutely correct true indeed uhhuh claro 是 对 有 嗯 可 同")
_DONE = _listed("did done have")
"""A yes to a question of the bank, never to consent."""
_AGREES = _listed("ok okay")
_ALL_RIGHT = frozenset({"好", "好 的"})
"""A yes only as the whole message ("我很好" is none) and, as `_AGREES`, only to consent: "ok thanks" does not tell whether a medicine was taken."""
_HEDGED = _listed("little bit slightly some sometimes somewhat kinda sorta poco algo")
_NO = _listed("no nope nah n not never none negative didnt dont havent hasnt isnt wasnt nothing false nada nunca ninguno ninguna 不 没 无 否 忘")
_LATER = _listed("later soon tonight after yet luego tarde despues gonna will 晚 等 稍")
_TAKEN = _listed("took taken tome tomado 了 过 已")
_MISSED = _listed("missed skipped forgot forgotten olvide 忘 漏")
_DENIALS = _listed("no not isnt never without sin nunca 不 没 无")
_OR = _listed("or nor o ni")
_BRIDGES = _listed("any much really very at all looking blood bleeding in my the of signs sign 有 什 么 任 何 流")
_THUMBS_UP, _THUMBS_DOWN = ("\U0001f44d", "\u2705", "\U0001f44c"), ("\U0001f44e", "\u274c")
_NONE_AT_ALL = re.compile(
    r"(?:no|none|nope|nah|nothing|not any|not at all|zero|never|nada|ninguno|ninguna|nunca|sin dolor|no pain|没 有|不 痛|不 疼|一 点 也 不 痛|完 全 不 痛|无)"
    r"(?: (?:at all|today|now|so far|thanks|thank you|pain|hoy|gracias))*"
)
_NOW = _listed("today now hoy ahora")
_OF_ELSE = _listed(
    """
    hour hours hr hrs h day days week weeks month months year years minute minutes min mins second seconds am pm oclock th st nd rd night nights
    pill pills tablet tablets tab tabs dose doses mg mcg ml step steps mile miles block blocks cup cups glass glasses
    hora horas dia dias semana semanas mes meses pastilla pastillas minuto minutos
    """
)
"""A number of these answers nothing, unless the question asks for them."""
_HIGH_SYSTOLIC = 140
_OUT_OF = frozenset({"/", "out", "of", "de"})
SKIP = frozenset(
    {
        "skip", "saltar", "omitir", "pass", "not taken", "havent taken it", "didnt take it", "not sure", "dont know", "i dont know", "idk", "no se", "no lo se",
        "no thermometer", "no scale", "no meter", "no cuff", "no monitor", "dont have one", "i dont have one", "no tengo", "no la tome", "no lo tome",
        "跳 过", "没 量", "没 有 量", "没 称", "没 测", "不 知 道", "没 有 体 温 计", "没 有 血 压 计",
    }
)  # fmt: skip


class AnswerOutOfBounds(Exception):
    """A number that cannot be; it is asked for again and never stored."""

    def __init__(self, question: str) -> None:
        super().__init__(f"the answer to {question} is out of bounds")
        self.question = question


@dataclass(frozen=True)
class ReadAnswer:
    """A typed value, its unit, and the words beside it (`rest`) that may be a report. A blood pressure is a text such as "150/95"."""

    value: float | bool | str
    unit: str | None
    rest: str


def read_answer(question: Question, text: str, earlier: Sequence[Earlier] = ()) -> ReadAnswer | None:
    """The answer in `text`; None where there is none. Raises `AnswerOutOfBounds`, and nothing else for any text.

    Of several numbers that could be the answer, the one that matters most is taken. `earlier` answers tell a bare number's unit.
    """
    match question.kind:
        case QuestionKind.SCALE | QuestionKind.MEASURE:
            return _read_number(question, text, earlier)
        case QuestionKind.BLOOD_PRESSURE:
            return _read_pressure(question, text)
        case QuestionKind.YES_NO:
            found = _read_yes_no(question, text)
            return None if found is None else ReadAnswer(found, None, _rest(text))
        case QuestionKind.MEDICINE:
            return _read_medicine(question, text)
        case QuestionKind.CHOICE:
            return _read_choice(question, text)


def is_skip(text: str) -> bool:
    """Whether the patient leaves the question out."""
    return not SKIP.isdisjoint(_as_meant(text))


def _as_meant(text: str) -> set[str]:
    """The words as written and with misspellings repaired: a repair may bend a word that is right."""
    return {normalise(text[:_MAX_READ], repair=repair).replace("\n", " ") for repair in (False, True)}


def _read_number(question: Question, text: str, earlier: Sequence[Earlier]) -> ReadAnswer | None:
    shown = plain(text)
    found = [_less(number) if question.minimum == 0 else number for number in _candidates(question, numbers_in(shown))]
    if not found:
        if question.minimum == 0 and _NONE_AT_ALL.fullmatch(normalise(shown).replace("\n", " ")):
            return ReadAnswer(0.0, question.unit, "")
        return _read_choice(question, text)
    read = [(value, number) for number in found if (value := _converted(question, number, earlier)) is not None]
    if not read:
        word = _read_choice(question, text)
        if word is None:
            raise AnswerOutOfBounds(question.id)
        return word
    value, number = max(read, key=lambda pair: _gravity(question, pair[0], earlier))
    return ReadAnswer(value, question.unit, (shown[: number.start] + " " + shown[number.end :]).strip(" .,;:"))


def _candidates(question: Question, numbers: list[Number]) -> list[Number]:
    """Those that may answer: with the question's unit before bare ones, and those of today before others; none that count something else."""
    own = {word for unit in question.units for word in unit.words}
    scaled = [number for at, number in enumerate(numbers) if not (at and number.before in _OUT_OF and numbers[at - 1].after in _OUT_OF)]
    fitting = [number for number in scaled if number.after in own or not (number.after in _OF_ELSE or number.before in ("day", "dia", "week", "semana"))]
    for wanted in (own, _NOW):
        fitting = [number for number in fitting if number.after in wanted] or [number for number in fitting if _leads(number, wanted)] or fitting
    return fitting


def _less(number: Number) -> Number:
    """ "Less than one" is none."""
    return replace(number, value=max(0.0, number.value - 1)) if number.below else number


def _leads(number: Number, words: Container[str]) -> bool:
    """Whether one of `words` stands before the number ("o2 93"); a letter alone is no unit there."""
    return len(number.before) > 1 and number.before in words


def _converted(question: Question, number: Number, earlier: Sequence[Earlier]) -> float | None:
    """The number in the question's unit; None where it cannot be."""
    units = question.units or [Unit(unit=question.unit or "")]
    said = [unit for unit in units if number.after in unit.words] or [unit for unit in units if _leads(number, unit.words)]
    possible = [(unit, value) for unit in said or units if (value := _in_bounds(question, unit, number.value)) is not None]
    if said:
        return possible[0][1] if possible else None
    last = next((each.value for each in sorted(earlier, key=lambda each: each.days_ago) if isinstance(each.value, float | int)), None)
    if last is not None and any(unit.bare for unit in units):
        return min((value for _, value in possible), key=lambda value: abs(value - last), default=None)
    return next((value for unit, value in possible if _may_be_bare(unit, number)), None)


def _in_bounds(question: Question, unit: Unit, number: float) -> float | None:
    value = round(number * unit.factor + unit.offset, question.decimals)
    return value if (question.minimum or 0.0) <= value <= (question.maximum or 0.0) else None


def _may_be_bare(unit: Unit, number: Number) -> bool:
    low, high = unit.bare or (float("-inf"), float("inf"))
    return low <= number.value <= high and not (unit.whole and number.value != int(number.value))


def _gravity(question: Question, value: float | str, earlier: Sequence[Earlier]) -> tuple[int, float]:
    """How much an answer matters: the acuity of the threshold that it crosses; on a scale the higher."""
    crossed = question.crossed(value, earlier)
    return crossed.acuity.rank if crossed else -1, value if question.kind is QuestionKind.SCALE and isinstance(value, float) else 0.0


def _read_pressure(question: Question, text: str) -> ReadAnswer | None:
    numbers = [number for number in numbers_in(plain(text)) if number.after not in _OF_ELSE]
    joined = [(numbers[at], numbers[at + 1]) for at in range(len(numbers) - 1) if numbers[at].next_to]
    pairs = joined or ([(numbers[0], numbers[1])] if len(numbers) > 1 else [])
    if not pairs:
        return _lone_systolic(question, numbers)
    low, high = question.minimum or 0.0, question.maximum or 0.0
    fitting = [f"{upper.value:.0f}/{lower.value:.0f}" for upper, lower in pairs if low <= lower.value < upper.value <= high]
    if not fitting:
        raise AnswerOutOfBounds(question.id)
    return ReadAnswer(max(fitting, key=lambda value: _gravity(question, value, ())), question.unit, _rest(text))


def _lone_systolic(question: Question, numbers: list[Number]) -> ReadAnswer | None:
    """Half an answer is asked for again, unless it alone is dangerously high (a low number may be a pulse)."""
    alone = [f"{number.value:.0f}" for number in numbers if _HIGH_SYSTOLIC <= number.value <= (question.maximum or 0.0)]
    return next((ReadAnswer(value, question.unit, "") for value in alone if question.crossed(value)), None)


def _read_yes_no(question: Question, text: str) -> bool | None:
    """The first word that says yes or no; "a little" is the answer that a person must know of."""
    if any(sign in text for sign in _THUMBS_UP):
        return True
    if any(sign in text for sign in _THUMBS_DOWN):
        return False
    words = normalise(text[:_MAX_READ]).split()
    if " ".join(words) in _ALL_RIGHT and not question.buttons:
        return True
    for at, word in enumerate(words[:4]):
        if word in _NO:
            return False
        if word in _YES or word in (_DONE if question.buttons else _AGREES):
            return words[at + 1 : at + 2] != ["not"]
        if word in _HEDGED:
            return next((threshold.equals for threshold in question.thresholds if isinstance(threshold.equals, bool)), None)
    return None


def _read_medicine(question: Question, text: str) -> ReadAnswer | None:
    words = set(normalise(text[:_MAX_READ]).split())
    if words & _LATER and not words & _TAKEN:
        return ReadAnswer("later", None, _rest(text))
    answer = _read_yes_no(question, text)
    if words & _MISSED and not words & _TAKEN and not words & _NO:
        answer = False
    elif answer is None and words & _TAKEN:
        answer = True
    return None if answer is None else ReadAnswer("yes" if answer else "no", None, _rest(text))


def _read_choice(question: Question, text: str) -> ReadAnswer | None:
    wholes = _as_meant(text)
    parts = [words.split() for part in re.split(r"[,:;.!?\n]", text[:_MAX_READ]) for words in _as_meant(part)]
    for choice in question.choices:
        if not wholes.isdisjoint(choice.alone) or any(_says(words, known.split()) for known in choice.words for words in parts):
            return ReadAnswer(choice.value, None, _rest(text))
    return None


def _says(words: list[str], known: list[str]) -> bool:
    """Whether `words` hold these and do not deny them."""
    for at in range(len(words) - len(known) + 1):
        here = words[at : at + len(known)]
        same = here == known or (len(known) == 1 and len(known[0]) > 4 and here[0].startswith(known[0]))
        if same and not _denied(words, at):
            return True
    return False


def _denied(words: list[str], at: int) -> bool:
    """Whether "no" stands before; "no pus or drainage" denies both."""
    while at > 0:
        before = words[at - 1]
        if before in _DENIALS:
            return True
        if before not in _OR | _BRIDGES:
            return False
        at -= 2 if before in _OR else 1
    return False


def _rest(text: str) -> str:
    return text.strip() if len(text.split()) > 3 else ""
