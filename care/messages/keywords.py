"""Twilio's keywords, and the words patients write for them: obeyed by rule before anything else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

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
_STOP_PHRASES = frozenset(["opt out", "stop all", "remove me", "take me off", "leave me alone", "please stop", "unsubscribe me"])
_CLEAR_WISH = re.compile(
    r"\b(stop|quit) (texting|messaging|contacting|bothering|writing( to)?) me\b|\b(stop|quit) sending (me )?(\w+ )?(texts?|messages?|msgs?)\b"
    r"|\b(remove|delete) (me|my number|this number)\b|\btake (me|my number) off (this|your|the) (list|texts?|messages?|program\w*)\b"
    r"|\bno more (texts?|messages?|msgs?)\b|\b(dont|do not|never) (text|message|contact|write|msg)( to)? me (again|any ?more|ever)\b|\bleave me alone\b"
    r"|\b(want|wish|like) to (opt out|unsubscribe)\b|\bno (me )?(escriba|mande|envie)n? mas\b|\bdeje de (escribir|mandar|enviar)\w*\b"
)
_ASKS = re.compile(r"^(should|can|could|how|when|why|what|will|do|does|is) ")
_WISH_WORDS = 10
"""A longer message says more than the wish: the dialogue hears both."""


class Keyword(StrEnum):
    """What the patient asked of the service itself."""

    STOP = "stop"
    START = "start"
    HELP = "help"
    CHAT = "chat"
    LANGUAGE = "language"


@dataclass(frozen=True)
class KeywordHit:
    """A keyword, and what else the message says; with `LANGUAGE` its code."""

    keyword: Keyword
    rest: str
    language: str | None = None


def keyword(text: str, *, opted_out: bool = False) -> KeywordHit | None:
    """The keyword of a message: alone, as a clear wish in few words, or in capitals at its start ("STOP my chest hurts").

    YES counts as START only for who opted out.
    """
    words = normalise(text[:2000], repair=False).replace("\n", " ").split()
    plain = " ".join(words)
    if plain in _STOP or plain in _STOP_PHRASES or _wishes_to_be_left_alone(text, plain):
        return KeywordHit(Keyword.STOP, "")
    if plain in _START or (opted_out and plain in {"yes", "si", "是"}):
        return KeywordHit(Keyword.START, "")
    if plain in _HELP:
        return KeywordHit(Keyword.HELP, "")
    if plain in _CHAT and not opted_out:
        return KeywordHit(Keyword.CHAT, "")
    if plain in _LANGUAGES and not opted_out:
        return KeywordHit(Keyword.LANGUAGE, "", _LANGUAGES[plain])
    first, _, rest = text.strip().partition(" ")
    if words and words[0] in {"stop", "stopall", "unsubscribe"} and first.strip(".,!:;-").isupper() and not rest.isupper():
        return KeywordHit(Keyword.STOP, rest.strip())
    return None


def _wishes_to_be_left_alone(text: str, plain: str) -> bool:
    return len(plain.split()) <= _WISH_WORDS and bool(_CLEAR_WISH.search(plain)) and not _ASKS.search(plain) and "?" not in text
