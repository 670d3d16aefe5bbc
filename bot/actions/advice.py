"""A general question, answered from approved advice or passed on."""

from __future__ import annotations

from bot.actions.capability import Events
from bot.actions.report import BesideReport
from bot.actions.turn import Turn, advice_likeness
from care.acuity import Acuity
from care.knowledge import knowledge
from care.lexicon import present_symptoms
from care.retrieval import LIKENESS_DEADLINE_S, advice_for, likeness_of
from care.turns.dialogue import Reply


class GiveAdvice(BesideReport):
    """Answers a question about recovery with the best fitting approved statement; where none fits, a person is asked."""

    called = "action_give_advice"

    def answer(self, turn: Turn) -> Events:
        likeness = likeness_of(turn.text, advice_likeness(), min(LIKENESS_DEADLINE_S, turn.left_s))
        found = advice_for(turn.text, present_symptoms(turn.text), turn.context.clinical, 1, likeness)
        allowed = [advice for advice in found if Acuity.SELF_CARE in knowledge().advice[advice.id].acuities]
        if allowed:
            turn.reply(Reply(text=allowed[0].text, key=f"advice_{allowed[0].id}"))
        else:
            turn.say("advice_passed_on")
            turn.escalate("advice_missing", Acuity.ROUTINE, "A question for which there is no approved advice.")
        return []
