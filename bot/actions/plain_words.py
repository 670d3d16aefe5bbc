"""Words that mean one thing when they stand alone, most of them because our own texts ask for them: no model is needed to obey them."""

from __future__ import annotations

from care.redflags.normalise import normalise
from care.understanding import Intent

_MEANT = {
    Intent.AFFIRM: ("yes", "y", "si", "ok", "okay", "sure", "yep", "yeah", "yup", "i agree", "是", "是 的", "好", "好 的", "同 意", "可 以"),
    Intent.DENY: ("no", "n", "不", "不 是", "没 有", "不 同 意", "否"),
    Intent.OPT_OUT: ("stop", "stop all", "unsubscribe", "opt out", "alto", "basta", "停 止", "退 订"),
    Intent.HELP: ("help", "info", "ayuda", "帮 助"),
    Intent.REQUEST_PERSON: ("person", "a person", "human", "a human", "persona", "una persona", "人 工", "人 工 服 务", "找 人"),
    Intent.WRONG_NUMBER: (
        "wrong number",
        "wrong person",
        "you have the wrong number",
        "you have the wrong person",
        "numero equivocado",
        "打 错 了",
        "发 错 了",
        "号 码 错 了",
    ),
    Intent.GREET: ("hola", "buenos dias", "buenas tardes", "buenas noches", "hola buenos dias", "你 好", "您 好", "早 上 好"),
    Intent.THANKS: ("gracias", "muchas gracias", "mil gracias", "谢 谢", "谢 谢 你", "谢 谢 您", "多 谢"),
    Intent.CANCEL: ("cancel", "never mind", "nevermind", "forget it", "cancelar", "olvidelo"),
    Intent.REPEAT: ("repeat", "repeat that", "say again", "say that again", "repetir", "repita"),
}
_ACTIONS = {
    Intent.AFFIRM: "action_answer_yes_no",
    Intent.DENY: "action_answer_yes_no",
    Intent.OPT_OUT: "action_opt_out",
    Intent.HELP: "action_small_talk",
    Intent.REQUEST_PERSON: "action_call_person",
    Intent.WRONG_NUMBER: "action_wrong_number",
    Intent.GREET: "action_small_talk",
    Intent.THANKS: "action_small_talk",
    Intent.CANCEL: "action_cancel",
    Intent.REPEAT: "action_repeat",
}
_INTENTS = {words: intent for intent, phrases in _MEANT.items() for words in phrases}
_POLITE = frozenset({"please", "sorry", "por", "favor", "perdon"})


def plain_intent(text: str) -> Intent | None:
    """The intent of a message that is one of these words and no more."""
    words = normalise(text[:100], repair=False).split()
    return _INTENTS.get(" ".join(word for word in words if word not in _POLITE))


def plain_action(text: str) -> str | None:
    """The action that such a message calls for."""
    intent = plain_intent(text)
    return _ACTIONS[intent] if intent else None
