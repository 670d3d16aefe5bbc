"""Twilio's keywords, and the words patients write for them: obeyed by rule before anything else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from care.messages.wishes import said_in
from care.redflags.normalise import normalise

_STOP = frozenset(["stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "arret", "alto", "parar", "basta", "停 止", "退 订", "取 消"])
_START = frozenset(["start", "unstop", "comenzar", "开 始"])
_HELP = frozenset(["help", "info", "ayuda", "帮 助"])
_CHAT = frozenset(["chat", "聊 天"])
_LANGUAGES = {
    "english": "en",
    "ingles": "en",
    "in english please": "en",
    "英 文": "en",
    "espanol": "es",
    "spanish": "es",
    "en espanol": "es",
    "en espanol por favor": "es",
    "chinese": "zh",
    "mandarin": "zh",
    "中 文": "zh",
    "请 用 中 文": "zh",
    "普 通 话": "zh",
}
_READ = 2_000


class Keyword(StrEnum):
    """What the patient asked of the service itself."""

    STOP = "stop"
    WRONG_NUMBER = "wrong_number"
    START = "start"
    HELP = "help"
    CHAT = "chat"
    LANGUAGE = "language"


@dataclass(frozen=True)
class KeywordHit:
    """A keyword, and with STOP and WRONG_NUMBER what else the message says, for a person to read; with `LANGUAGE` its code."""

    keyword: Keyword
    rest: str = ""
    language: str | None = None


def keyword(text: str, *, opted_out: bool = False) -> KeywordHit | None:
    """The keyword of a message: alone, as a clear wish in the patient's words, or in capitals at its start ("STOP my chest hurts").

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
    if plain in _LANGUAGES and not opted_out:
        return KeywordHit(Keyword.LANGUAGE, language=_LANGUAGES[plain])
    if said := said_in(text[:_READ], plain):
        return KeywordHit(Keyword.WRONG_NUMBER if said.wrong_number else Keyword.STOP, text.strip() if said.more else "")
    first, _, rest = text.strip().partition(" ")
    if words and words[0] in {"stop", "stopall", "unsubscribe"} and first.strip(".,!:;-").isupper() and not rest.isupper():
        return KeywordHit(Keyword.STOP, rest.strip())
    return None
