"""Every number in a text by itself, whatever it counts: with signs, thousands, powers of ten, scales and fractions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from care.numbers import NO_COUNT_AFTER, VULGAR, fold, spoken

_MAX_READ = 2_000
_SUFFIXES = {"k": 1e3, "mil": 1e6, "mln": 1e6, "bln": 1e9, "b": 1e9, "g": 1e9, "tln": 1e12, "t": 1e12,
             "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12, "hundred": 1e2, "dozen": 12.0, "dozens": 12.0}  # fmt: skip
_FRACTIONS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10,
              "hundredth": 100, "thousandth": 1000, "medio": 2, "media": 2, "tercio": 3, "cuarto": 4}  # fmt: skip
_THOUSANDS = r"\d{1,3}(?:,\d{3}|[\u202f\u00a0\ ]\d{3}(?!\d))+"
_TOKEN = re.compile(
    rf"""(?P<digits>(?:{_THOUSANDS}|\d+)?(?:\.\d+)|{_THOUSANDS}|\d+(?:,\d{{1,2}}(?![\d,]))?)
        (?P<power>e[+-]?\d+|\ ?[x*]\ ?10\^[+-]?\d+)?
        (?:\ +(?P<above>\d+)/(?P<below>\d+)(?![\d/])|(?<!/\d)(?<!/\d\d)/(?P<under>\d+)(?![\d/]))?
        (?P<vulgar>[{"".join(VULGAR)}])?
    | (?P<sign>[{"".join(VULGAR)}])
    | (?P<word>[^\W\d_]+)""",
    re.VERBOSE | re.IGNORECASE,
)
_MINUS = re.compile(r"(?:(?<![\w)])-\s*|\b(?:minus|negative)\s+)$", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s-]*")
_MOST_WORDS = 24
_MINUS_REACH = 12


@dataclass(frozen=True)
class Count:
    """A number at `text[start:end]`."""

    value: float
    start: int
    end: int


def counts_in(text: str, *, with_units: bool = False) -> list[Count]:
    """The numbers in the first characters of `text`, in order; those with letters right behind them ("400mg") only `with_units`."""
    text = text[:_MAX_READ]
    tokens = list(_TOKEN.finditer(text))
    found: list[Count] = []
    at = 0
    while at < len(tokens):
        read = _digits(text, tokens, at, with_units) if not tokens[at]["word"] else _words(text, tokens, at)
        if read is None:
            at += 1
            continue
        value, used = read
        start, end = tokens[at].start(), tokens[at + used - 1].end()
        at += used
        if minus := _MINUS.search(text, max(0, start - _MINUS_REACH), start):
            value, start = -value, minus.start()
        found.append(Count(value, start, end))
    return found


def _digits(text: str, tokens: list[re.Match[str]], at: int, with_units: bool) -> tuple[float, int] | None:
    token = tokens[at]
    if token["sign"]:
        return VULGAR[token["sign"]], 1
    before, after = text[: token.start()][-1:], text[token.end() : token.end() + 1]
    if before == "_" or (before.isalpha() and before < "\u2e80"):
        return None
    digits = token["digits"]
    digits = re.sub(r"[\s,]", "", digits) if re.search(r"[\s,]\d{3}", digits) else digits.replace(",", ".")
    value, used = float(digits), 1
    if power := token["power"]:
        value *= 10.0 ** max(-300, min(300, int(re.sub(r".*[e^]", "", power.lower()))))
    if token["above"] and int(token["below"]):
        value += int(token["above"]) / int(token["below"])
    if token["under"] and int(token["under"]):
        value /= int(token["under"])
    if token["vulgar"]:
        value += VULGAR[token["vulgar"]]
    word = tokens[at + 1] if at + 1 < len(tokens) else None
    gap = text[token.end() : word.start()] if word else "x"
    if (
        word
        and word["word"]
        and gap.strip(" ") == ""
        and (scale := _SUFFIXES.get(word["word"].lower()))
        and (len(word["word"]) > 1 or scale < 1e9 or not gap)
        and not (with_units and len(word["word"]) == 1 and scale > 1e3)
    ):
        value, used = value * scale, 2
        more = _words(text, tokens, at + 2 + _is_and(tokens, at + 2)) if at + 2 < len(tokens) and value % 1000 == 0 else None
        if more and more[0] < scale:
            return value + more[0], used + _is_and(tokens, at + 2) + more[1]
        return _and_fraction(tokens, at, value, used, scale)
    if after.isalpha() and not with_units:
        return None
    return _and_fraction(tokens, at, value, used)


def _words(text: str, tokens: list[re.Match[str]], at: int) -> tuple[float, int] | None:
    """The number that the words from `at` on say; words that more than spaces and hyphens divide do not belong together."""
    words: list[str] = []
    for token in tokens[at : at + _MOST_WORDS]:
        if not token["word"] or (words and not _BETWEEN.fullmatch(text, tokens[at + len(words) - 1].end(), token.start())):
            break
        words.append(fold(token["word"]))
    if not words:
        return None
    if (alone := _fraction(words)) is not None:
        return alone
    read = spoken(words)
    if read is None or (words[0] in ("one", "una", "uno", "once") and read[1] == 1 and at and fold(tokens[at - 1].group()) in NO_COUNT_AFTER):
        return None
    value, used = read
    if used < len(words) and (parts := _denominator(words[used])):
        return value / parts, used + 1
    return _and_fraction(tokens, at, value, used, _SUFFIXES.get(words[used - 1], 1.0))


def _fraction(words: list[str]) -> tuple[float, int] | None:
    """ "Half", "a third", "a quarter"."""
    lead = words[0] in ("a", "an")
    word = words[lead] if len(words) > lead else ""
    if word in ("half", "medio", "media", "quarter") or (lead and word in _FRACTIONS):
        scale = _SUFFIXES.get(words[lead + 1], 1.0) if len(words) > lead + 1 and words[lead + 1] not in ("k", "b", "g", "t") else 1.0
        return scale / _FRACTIONS[word], 1 + lead + (scale > 1)
    return None


def _and_fraction(tokens: list[re.Match[str]], at: int, value: float, used: int, scale: float = 1.0) -> tuple[float, int]:
    """With what "and a half" or "and two thirds" adds: to "two million" half a million."""
    words = [fold(token["word"] or "") for token in tokens[at + used : at + used + 4]]
    if words[:1] in (["and"], ["y"]):
        if alone := _fraction(words[1:]) if len(words) > 1 else None:
            return value + alone[0] * (scale if alone[0] < 1 else 1), used + 1 + alone[1]
        said = spoken(words[1:]) if len(words) > 1 and words[1] else None
        if said and said[1] + 1 < len(words) and (parts := _denominator(words[said[1] + 1])):
            return value + said[0] / parts * scale, used + said[1] + 2
    return value, used


def _is_and(tokens: list[re.Match[str]], at: int) -> int:
    return int(at < len(tokens) and tokens[at].group().lower() == "and")


def _denominator(word: str) -> int:
    return _FRACTIONS.get(word) or (_FRACTIONS.get(word[:-1], 0) if word.endswith("s") else 0)
