"""What a patient may say in the middle of the check-in, and how it is handled before the form goes on."""

from __future__ import annotations

from bot.actions.advice import GiveAdvice
from bot.actions.capability import Capability, Slots, slots_of
from bot.actions.crisis import Crisis
from bot.actions.leaving import Abuse, OptOut, WrongNumber
from bot.actions.passing_on import Appointment, CallPerson, MedicineQuestion, NoteMedicine
from bot.actions.report import BesideReport, ReportWell, assess
from bot.actions.small_talk import Cancel, ChangeLanguage, SmallTalk
from bot.actions.turn import Turn
from care.understanding import Intent

_HANDLED: dict[str, type[BesideReport]] = {
    Intent.ASK_ADVICE: GiveAdvice,
    Intent.ASK_MEDICINE: MedicineQuestion,
    Intent.MEDICINE_TAKEN: NoteMedicine,
    Intent.MEDICINE_MISSED: NoteMedicine,
    Intent.MEDICINE_LATER: NoteMedicine,
    Intent.ASK_APPOINTMENT: Appointment,
    Intent.REQUEST_PERSON: CallPerson,
    Intent.CHANGE_LANGUAGE: ChangeLanguage,
    Intent.ABUSE: Abuse,
    Intent.REPORT_WELL: ReportWell,
    Intent.GREET: SmallTalk,
    Intent.THANKS: SmallTalk,
    Intent.GOODBYE: SmallTalk,
    Intent.BOT_CHALLENGE: SmallTalk,
    Intent.HELP: SmallTalk,
}
_LEAVING: dict[str, type[Capability]] = {Intent.CRISIS: Crisis, Intent.OPT_OUT: OptOut, Intent.WRONG_NUMBER: WrongNumber}
_NO_ANSWERS = frozenset({*_LEAVING, Intent.ASK_ADVICE, Intent.ASK_MEDICINE, Intent.ASK_APPOINTMENT, Intent.REQUEST_PERSON})
_SHORT_ANSWER = 2
ENDED: Slots = {"answer": "done", "questions": None, "contact": None, "clarifying": None}
"""The check-in ends, unfinished."""


def asks_something(turn: Turn) -> bool:
    """Whether the message is about something else although a number or a yes is in it ("no more of these messages, please")."""
    return turn.intent in _NO_ANSWERS and len(turn.text.split()) > _SHORT_ANSWER


def interrupt(turn: Turn) -> Slots | None:
    """Handles what is no answer: the slots after it (`ENDED` where the check-in ends with it); None where it was nothing of the kind."""
    leaving = _LEAVING.get(turn.intent)
    if leaving:
        return slots_of(leaving().act(turn)) | ENDED
    handled = _HANDLED.get(turn.intent)
    if turn.reports or (handled is None and turn.tells_symptom):
        slots = assess(turn)
        follows = handled is not None and handled.follows and not slots["paused"]
        return slots | (slots_of(handled().answer(turn)) if handled and follows else {})
    if turn.intent == Intent.CANCEL:
        Cancel().act(turn)
        return ENDED
    if turn.intent == Intent.REPEAT:
        return {}
    return slots_of(handled().answer(turn)) if handled else None
