"""Numbers in what people write: digits of any script, "one-oh-two", "ninety eight point six", "treinta y ocho", "三十八度五", each with the words beside it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

_MAX_READ = 500
_TOKEN = re.compile(
    r"""(?P<time>\d{1,2}:\d{2}(?:\s*[ap]\.?m\b)?|\d{1,2}\s*[ap]\.?m\b)
    | (?P<thousands>\d{1,3}(?:,\d{3})+(?!\d))
    | (?P<number>(?:(?<![\w)])-)?\d{1,12}(?:[.,]\d{1,2}(?!\d))?)
    | (?P<word>(?:sp?)?o2\b|[^\W\d_]+(?:/[^\W\d_]+)*)
    | (?P<sign>[/%\\-])""",
    re.VERBOSE | re.IGNORECASE,
)
_UNITS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
    "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twice": 2, "couple": 2,
    "cero": 0, "uno": 1, "una": 1, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8, "nueve": 9, "diez": 10, "doce": 12,
    "trece": 13, "catorce": 14, "quince": 15, "dieciseis": 16, "diecisiete": 17, "dieciocho": 18, "diecinueve": 19, "once": 1, "nought": 0, "naught": 0,
    "veintiuno": 21, "veintiun": 21, "veintidos": 22, "veintitres": 23, "veinticuatro": 24, "veinticinco": 25, "veintiseis": 26, "veintisiete": 27,
    "veintiocho": 28, "veintinueve": 29,
}  # fmt: skip
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fourty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
    "veinte": 20, "treinta": 30, "cuarenta": 40, "cincuenta": 50, "sesenta": 60, "setenta": 70, "ochenta": 80, "noventa": 90,
}  # fmt: skip
_SCALES = {"thousand": 1_000, "mil": 1_000, "million": 1_000_000, "millions": 1_000_000, "millon": 1_000_000, "millones": 1_000_000,
           "billion": 10**9, "trillion": 10**12, "dozen": 12, "dozens": 12, "docena": 12}  # fmt: skip
_HUNDREDS = {"hundred": 100, "cien": 100, "ciento": 100, "doscientos": 200, "doscientas": 200, "trescientos": 300, "trescientas": 300,
             "cuatrocientos": 400, "cuatrocientas": 400, "quinientos": 500, "quinientas": 500}  # fmt: skip
_HALF = (("and", "a", "half"), ("and", "one", "half"), ("y", "medio"), ("y", "media"))
VULGAR = {sign: unicodedata.numeric(sign) for sign in "½¼¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
"""Fractions of one sign."""
_VULGAR_SIGN = re.compile(rf"(\d*) ?([{''.join(VULGAR)}])")
_HAN = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_HAN_TENS = {"十": 10, "百": 100, "千": 1_000}
_HAN_NUMBER = re.compile(
    rf"(?P<whole>[{''.join(_HAN)}{''.join(_HAN_TENS)}]{{2,}}|[{''.join(_HAN)}{''.join(_HAN_TENS)}](?=度|天|日|小时|个|次|片|公斤|斤|级|分|周|点[{''.join(_HAN)}]))"
    rf"(?:[点度](?P<tenths>[{''.join(_HAN)}]))?"
)
_DIGIT_DEGREES = re.compile(r"(\d{2})度(\d)(?!\d)")
NUMBER_WORDS = frozenset({*_UNITS, *_TENS, *_HUNDREDS})
"""Every word for a count, in English and Spanish."""
_POINT = frozenset({"point", "dot", "punto", "coma"})
_AND = frozenset({"and", "y"})
NO_COUNT_AFTER = frozenset({"no", "this", "that", "the", "other", "which", "bad", "good", "last", "each", "any", "every", "right", "left", "only", "new"})
"""After these, "one" counts nothing."""
_JOINING = frozenset({"/", "\\", "-", "over", "sobre", "con"})
_BELOW = frozenset({"less", "under", "below", "menos"})
_IGNORED = frozenset({"degrees", "degree", "deg", "grados", "grado", "is", "was", "about", "a", "the", "at", "es", "around", "like"})
"""Words that may stand between a number and what it measures."""


@dataclass(frozen=True)
class Number:
    """A number at `start` to `end` of the plain text; `before` and `after` are the words or signs beside it, folded, empty at the ends."""

    value: float
    start: int
    end: int
    before: str = ""
    after: str = ""
    next_to: bool = False
    """Whether the number that follows it is joined by nothing, a slash, "over" or "sobre"."""
    below: bool = False
    """Whether "less than" or "under" stands before."""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int
    value: float = 0.0


def plain(text: str) -> str:
    """The first characters of `text` with compatibility forms, digits of other scripts, "½" and Chinese numerals folded."""
    whole = _VULGAR_SIGN.sub(lambda found: f"{int(found[1] or 0) + VULGAR[found[2]]:.4g}", text[:_MAX_READ])
    folded = unicodedata.normalize("NFKC", whole).replace("\u066b", ".")
    folded = "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in folded)
    return folded if folded.isascii() else _DIGIT_DEGREES.sub(r"\1.\2度", _HAN_NUMBER.sub(_from_han, folded))


def _from_han(found: re.Match[str]) -> str:
    total, digit = 0, 0
    signs = found["whole"]
    if not set(signs) & set(_HAN_TENS):
        total = int("".join(str(_HAN[sign]) for sign in signs))
    else:
        for sign in signs:
            if sign in _HAN:
                digit = _HAN[sign]
            else:
                total += (digit or 1) * _HAN_TENS[sign]
                digit = 0
        # "一百八" is 180, "一百零八" 108
        total += digit * (10 if len(signs) > 2 and signs[-2] == "百" else 1)
    return f"{total}.{_HAN[found['tenths']]}度" if found["tenths"] else str(total)


def fold(word: str) -> str:
    """Lower case without accents."""
    return "".join(char for char in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(char))


def numbers_in(shown: str) -> list[Number]:
    """The numbers in a `plain` text, in order, clock times left out; those in words only where no digits are."""
    tokens = _tokens(shown)
    if not any(token.kind == "number" for token in tokens):
        tokens = _with_spoken(tokens)
    tokens = [token for token in tokens if token.text not in _IGNORED or token.kind == "number"]
    return [_placed(tokens, at) for at, token in enumerate(tokens) if token.kind == "number"]


def _tokens(shown: str) -> list[_Token]:
    tokens = []
    for match in _TOKEN.finditer(shown):
        kind, text = str(match.lastgroup), match.group(0)
        value = 0.0
        if kind in ("number", "thousands"):
            value = float(text.replace(",", "" if kind == "thousands" else "."))
            kind = "number"
        tokens.append(_Token(kind, fold(text), match.start(), match.end(), value))
    return tokens


def _placed(tokens: list[_Token], at: int) -> Number:
    token = tokens[at]
    before = tokens[at - 1].text if at else ""
    after = tokens[at + 1].text if at + 1 < len(tokens) else ""
    following = tokens[at + 1 : at + 3]
    joined = [each for each in following if each.text not in _JOINING]
    return Number(
        token.value,
        token.start,
        token.end,
        before=before,
        after=after,
        next_to=bool(joined) and joined[0].kind == "number",
        below=before in _BELOW or (at > 1 and tokens[at - 2].text in _BELOW),
    )


def _with_spoken(tokens: list[_Token]) -> list[_Token]:
    words = [token for token in tokens if token.text != "-"]
    result: list[_Token] = []
    at = 0
    while at < len(words):
        found = spoken([token.text for token in words[at : at + 8]])
        if found is None or (words[at].text == "one" and found[1] == 1 and result and result[-1].text in NO_COUNT_AFTER):
            result.append(words[at])
            at += 1
            continue
        value, used = found
        result.append(_Token("number", "", words[at].start, words[at + used - 1].end, value))
        at += used
    return result


def spoken(words: list[str]) -> tuple[float, int] | None:
    """The number that `words` begin with, and how many of them it takes."""
    whole = _large(words)
    if whole is None:
        return None
    value, used = whole
    left = words[used:]
    if len(left) > 1 and left[0] in _POINT and _UNITS.get(left[1], 10) < 10:
        return _with_decimals(value, left[1:], used + 1)
    if 90 <= value < 1_000 and used > 1 and left and 0 < (tenth := _UNITS.get(left[0], 10)) < 10:
        return value + tenth / 10, used + 1
    half = next((each for each in _HALF if tuple(left[: len(each)]) == each), None)
    return (value + 0.5, used + len(half)) if half else (float(value), used)


def _with_decimals(value: int, words: list[str], used: int) -> tuple[float, int]:
    digits = ""
    for word in words[:2]:
        if _UNITS.get(word, 10) > 9:
            break
        digits += str(_UNITS[word])
    return float(f"{value}.{digits}"), used + len(digits)


def _large(words: list[str]) -> tuple[int, int] | None:
    """Groups below a thousand, each with its scale: "two thousand three hundred", "dos mil"."""
    total, used, smallest = 0, 0, 10**15
    while used < len(words):
        joined = used > 0 and words[used] in _AND
        group = _whole(words[used + joined :]) if used + joined < len(words) else None
        if group is None:
            break
        value, taken = group
        after = used + joined + taken
        scale = _SCALES.get(words[after], 1) if after < len(words) else 1
        if used and value * scale >= smallest:
            break
        total += value * scale
        used = after + (scale > 1)
        smallest = scale
        if scale == 1:
            break
    return (total, used) if used else None


def _whole(words: list[str]) -> tuple[int, int] | None:
    first, *after = words
    if first in ("a", "an") and after[:1] == ["hundred"]:
        return _plus(100, after[1:], 2)
    if first == "a" and after[:1] and after[0] in _SCALES:
        return 1, 1
    if first == "mil":
        return 1, 0
    if first in _HUNDREDS:
        return _plus(_HUNDREDS[first], after, 1)
    if first in _TENS:
        return _plus_unit(_TENS[first], after, 1)
    if first not in _UNITS:
        return None
    unit = _UNITS[first]
    if 1 <= unit <= 9 and after:
        if after[0] == "hundred":
            return _plus(unit * 100, after[1:], 2)
        if after[0] in ("oh", "o") and len(after) > 1 and _UNITS.get(after[1], 10) < 10:
            return unit * 100 + _UNITS[after[1]], 3
        if after[0] in _TENS and unit <= 4:
            return _plus_unit(unit * 100 + _TENS[after[0]], after[1:], 2)
        if 10 <= _UNITS.get(after[0], 0) <= 19 and unit <= 4:
            return unit * 100 + _UNITS[after[0]], 2
    return unit, 1


def _plus(value: int, words: list[str], used: int) -> tuple[int, int]:
    """Adds what follows a hundred."""
    joined = words[:1] != [] and words[0] in _AND
    rest = words[1:] if joined else words
    if rest and rest[0] in _TENS:
        return _plus_unit(value + _TENS[rest[0]], rest[1:], used + joined + 1)
    if rest and rest[0] in _UNITS:
        return value + _UNITS[rest[0]], used + joined + 1
    return value, used


def _plus_unit(value: int, words: list[str], used: int) -> tuple[int, int]:
    """Adds the ones that follow the tens."""
    joined = words[:1] == ["y"]
    unit = _UNITS.get(words[joined], 0) if len(words) > joined else 0
    return (value + unit, used + joined + 1) if 0 < unit < 10 else (value, used)
