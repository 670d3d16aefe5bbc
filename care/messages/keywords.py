"""Twilio's keywords, and the words patients write for them: obeyed by rule before anything else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from care.messages.wishes import said_in
from care.redflags.normalise import normalise


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


_STOP = frozenset(["stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "arret", "alto", "parar", "basta", "停 止", "退 订", "取 消"])
_START = frozenset(["start", "unstop", "comenzar", "开 始"])
_HELP = frozenset(["help", "info", "ayuda", "帮 助"])
_CHAT = frozenset(["chat", "聊 天"])
_LANGUAGES = {
    "en": ("english", "ingles", "英 文", "英 语", "英 語"),
    "es": ("espanol", "spanish", "castellano", "西 班 牙 语", "西 班 牙 語", "西 班 牙 文"),
    "zh": ("chinese", "mandarin", "chino", "中 文", "汉 语", "漢 語", "普 通 话", "普 通 話", "国 语", "國 語", "简 体", "簡 體", "繁 体", "繁 體"),
}
_ASKING = _listed(
    """
    please pls plz thanks thank hi hello ok okay in to i we me you us can could would may do does is fine better only like want need prefer let lets use speak
    talk write text texts message messages change switch language version
    por favor porfa porfavor gracias hola en a al yo se le les me usted ustedes puede pueden puedes puedo podria podrian quiero quisiera prefiero necesito
    gustaria ser mejor solo habla hablas hablan hable hablen hablo hablar escriba escriban escribame escribanme escribir cambie cambien cambiar
    mensajes idioma version
    请 請 用 说 說 讲 講 写 寫 发 發 给 給 可 以 能 会 會 我 你 您 们 們 要 想 改 换 換 切 成 到 为 為 吗 嗎 么 吧 好 谢 謝 的 版
    """
)
"""The words beside a language's name that only ask for it; beside any other it is told of, not asked for."""
_READ = 2_000


class Keyword(StrEnum):
    """What the patient asked of the service itself."""

    STOP = "stop"
    WRONG_NUMBER = "wrong_number"
    START = "start"
    HELP = "help"
    CHAT = "chat"
    SHARED_PHONE = "shared_phone"
    LANGUAGE = "language"


@dataclass(frozen=True)
class KeywordHit:
    """A keyword, and with STOP, WRONG_NUMBER and SHARED_PHONE what else the message says; with `LANGUAGE` its code."""

    keyword: Keyword
    rest: str = ""
    language: str | None = None


def keyword(text: str, *, opted_out: bool = False) -> KeywordHit | None:
    """The keyword of a message: alone, as a clear wish in the patient's words ("en español por favor"), or in capitals at its start
    ("STOP my chest hurts").

    YES counts as START only for who opted out.
    """
    words = normalise(text[:_READ], repair=False).replace("\n", " ").split()
    plain = " ".join(words)
    if plain in _STOP:
        return KeywordHit(Keyword.STOP)
    if plain in _START or (opted_out and plain in {"yes", "si", "是"}):
        return KeywordHit(Keyword.START)
    if plain in _HELP:
        return KeywordHit(Keyword.HELP)
    if plain in _CHAT and not opted_out:
        return KeywordHit(Keyword.CHAT)
    if not opted_out and (language := _language(plain)):
        return KeywordHit(Keyword.LANGUAGE, language=language)
    said = said_in(text[:_READ], plain)
    if said and not said.shared_phone:
        return KeywordHit(Keyword.WRONG_NUMBER if said.wrong_number else Keyword.STOP, text.strip() if said.more else "")
    first, _, rest = text.strip().partition(" ")
    if words and words[0] in {"stop", "stopall", "unsubscribe"} and first.strip(".,!:;-").isupper() and not rest.isupper():
        return KeywordHit(Keyword.STOP, rest.strip())
    return KeywordHit(Keyword.SHARED_PHONE, text.strip() if said.more else "") if said else None


def _language(plain: str) -> str | None:
    """The language that the words ask for and name alone."""
    named: set[str] = set()
    beside = f" {plain} "
    for code, names in _LANGUAGES.items():
        for name in names:
            if f" {name} " in beside:
                named.add(code)
                beside = beside.replace(f" {name} ", " ")
    return named.pop() if len(named) == 1 and _ASKING.issuperset(beside.split()) else None
