"""Twilio's keywords, and the words patients write for them: obeyed by rule before anything else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from care.redflags.normalise import normalise

_STOP = frozenset(["stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout", "arret", "alto", "parar", "basta"])
_START = frozenset(["start", "unstop", "comenzar"])
_HELP = frozenset(["help", "info", "ayuda"])
_STOP_PHRASES = frozenset(
    {
        "opt out",
        "stop all",
        "stop texting me",
        "please stop texting me",
        "stop messaging me",
        "remove me",
        "take me off",
        "no more texts",
        "no more messages",
        "leave me alone",
        "unsubscribe me",
        "please stop",
    }
)


class Keyword(StrEnum):
    """What the patient asked of the service itself."""

    STOP = "stop"
    START = "start"
    HELP = "help"


@dataclass(frozen=True)
class KeywordHit:
    """A keyword, and what else the message says."""

    keyword: Keyword
    rest: str


def keyword(text: str, *, opted_out: bool = False) -> KeywordHit | None:
    """The keyword of a message: alone, or written in capitals at its start ("STOP my chest hurts"). YES counts as START only for who opted out."""
    words = normalise(text[:2000], repair=False).replace("\n", " ").split()
    plain = " ".join(words)
    if plain in _STOP or plain in _STOP_PHRASES:
        return KeywordHit(Keyword.STOP, "")
    if plain in _START or (opted_out and plain in {"yes", "si"}):
        return KeywordHit(Keyword.START, "")
    if plain in _HELP:
        return KeywordHit(Keyword.HELP, "")
    first, _, rest = text.strip().partition(" ")
    if words and words[0] in {"stop", "stopall", "unsubscribe"} and first.strip(".,!:;-").isupper() and not rest.isupper():
        return KeywordHit(Keyword.STOP, rest.strip())
    return None
