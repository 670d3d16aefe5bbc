"""What a text costs as SMS, how it is kept in GSM-7, and where it is cut."""

from __future__ import annotations

import re
from dataclasses import dataclass

_GSM_7 = frozenset("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà")
_GSM_7_EXTENDED = frozenset("\f^{}\\[~]|€")
_GSM_SINGLE, _GSM_PART = 160, 153
_UCS_SINGLE, _UCS_PART = 70, 67
_FOLDED = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201a": "'", "\u201b": "'", "\u2032": "'", "`": "'", "\u00b4": "'",
        "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2033": '"', "\u00ab": '"', "\u00bb": '"',
        "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2015": "-", "\u2212": "-",
        "\u2026": "...", "\u2022": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u2007": " ", "\u200b": "", "\ufeff": "", "\t": " ",
        "á": "a", "í": "i", "ó": "o", "ú": "u", "Á": "A", "Í": "I", "Ó": "O", "Ú": "U", "â": "a", "ê": "e", "ç": "c",
    }
)  # fmt: skip


@dataclass(frozen=True)
class SmsLength:
    """`encoding` is GSM-7 or UCS-2; `units` are septets or 16-bit units."""

    encoding: str
    units: int
    segments: int


def fold(text: str) -> str:
    """The text with smart quotes, dashes and the like in GSM-7's own characters; others stay as they are."""
    return text.translate(_FOLDED)


def segments(text: str) -> SmsLength:
    """How many segments Twilio bills for the text. Source: 3GPP TS 23.038 (alphabet), 23.040 (concatenation)."""
    if all(char in _GSM_7 or char in _GSM_7_EXTENDED for char in text):
        costs = [2 if char in _GSM_7_EXTENDED else 1 for char in text]
        return SmsLength("GSM-7", sum(costs), _count(costs, _GSM_SINGLE, _GSM_PART))
    costs = [2 if ord(char) > 0xFFFF else 1 for char in text]
    return SmsLength("UCS-2", sum(costs), _count(costs, _UCS_SINGLE, _UCS_PART))


def split(text: str, limit: int = 3) -> list[str]:
    """The text in messages of at most `limit` segments, cut after sentences where possible, else between words, else anywhere."""
    text = text.strip()
    parts = []
    while text and segments(text).segments > limit:
        cut = _longest(text, limit)
        head = text[:cut]
        sentence = max((match.end() for match in re.finditer(r"[.!?\u3002\uff01\uff1f](?=\s|$)|\n", head)), default=0)
        word = head.rfind(" ")
        at = sentence if sentence > cut // 3 else (word if word > 0 else cut)
        parts.append(text[:at].strip())
        text = text[at:].strip()
    return [part for part in [*parts, text] if part]


def _longest(text: str, limit: int) -> int:
    """The most characters from the start that fit into `limit` segments."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if segments(text[:middle]).segments <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _count(costs: list[int], single: int, part: int) -> int:
    if sum(costs) <= single:
        return 1
    count, used = 1, 0
    for cost in costs:  # a character of two units is never torn apart
        if used + cost > part:
            count, used = count + 1, 0
        used += cost
    return count
