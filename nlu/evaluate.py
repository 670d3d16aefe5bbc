"""Measures the encoder: `python -m nlu.evaluate --voices test --json OUT`, or `--jsonl FILE` for rows of {"id", "text", "label"}."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console
from rich.table import Table

from care.understanding import Intent, Understanding
from nlu.corpus import CORPORA, Corpus, CorpusInvalid, Example, Split, read_corpus
from nlu.labels import ModelMismatch
from nlu.model import DEFAULT_MODEL, Encoder
from nlu.scores import Scores, score

_BATCH = 16
SHOWN = (
    ("intent_macro_f1", "intent macro-F1"),
    ("intent_micro_f1", "intent micro-F1"),
    ("span_f1", "span F1 (exact borders)"),
    ("span_overlap_f1", "span F1 (overlap)"),
    ("status_accuracy", "status of the symptoms found"),
    ("status_f1", "F1 of denied, another's, past among them"),
    ("acuity_accuracy", "acuity accuracy"),
    ("emergency_sensitivity", "emergencies called emergency"),
    ("emergency_at_least_urgent", "emergencies called urgent or more"),
    ("over_call_rate", "self_care and routine called urgent or more"),
    ("under_call_rate", "urgent and emergency called less than urgent"),
    ("false_alarm_rate", "no emergency, called one"),
    ("acuity_ece", "acuity calibration error"),
    ("out_of_scope_rejected", "out of scope, rejected"),
    ("false_rejections", "in scope, rejected"),
)


class VoicesReport(BaseModel):
    """What `--voices` measures. `seen_in_training` counts messages whose very words are also a training message."""

    version: str
    voices: list[str]
    seen_in_training: int
    overall: Scores
    by_voice: dict[str, Scores]


class LabelReport(BaseModel):
    """One label of a JSONL file: messages, those with the intent among their answers, those with it first, those not sure."""

    messages: int
    found: int
    first: int
    not_sure: int
    first_instead: dict[str, int]


class RowsReport(BaseModel):
    """What `--jsonl` measures; `left_out` counts rows whose label is no intent of ours."""

    version: str
    messages: int
    left_out: int
    found: float | None
    first: float | None
    by_label: dict[str, LabelReport]


class _Row(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: str
    text: str
    label: object


class RowsInvalid(Exception):
    """A JSONL file has a mistake; the message names the file, line, field and remedy."""


def answers_to(encoder: Encoder, texts: list[str]) -> list[Understanding]:
    """The encoder's answers, in batches of similar length, in the order of `texts`."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    answers: dict[int, Understanding] = {}
    for at in range(0, len(order), _BATCH):
        numbers = order[at : at + _BATCH]
        answers.update(zip(numbers, encoder.understand([texts[number] for number in numbers]), strict=True))
    return [answers[number] for number in range(len(texts))]


def evaluate_voices(encoder: Encoder, corpus: Corpus, examples: list[Example]) -> VoicesReport:
    """The figures over `examples` and for each of their voices."""
    answers = answers_to(encoder, [example.text for example in examples])
    voices = list(dict.fromkeys(example.voice for example in examples))
    trained = {_words(example.text) for example in corpus.train}
    by_voice = {}
    for voice in voices:
        pairs = [(example, answer) for example, answer in zip(examples, answers, strict=True) if example.voice == voice]
        by_voice[voice] = score([example for example, _ in pairs], [answer for _, answer in pairs])
    return VoicesReport(
        version=encoder.version,
        voices=voices,
        seen_in_training=sum(_words(example.text) in trained for example in examples),
        overall=score(examples, answers),
        by_voice=by_voice,
    )


def evaluate_rows(encoder: Encoder, path: Path, expected: Intent | None = None) -> RowsReport:
    """How often each row's label is among its text's intents; `expected` stands for every label. Raises `RowsInvalid`."""
    rows = _read_rows(path)
    labelled = [(row, str(expected or row.label)) for row in rows if expected or row.label in set(Intent)]
    answers = answers_to(encoder, [row.text for row, _ in labelled])
    reports: dict[str, LabelReport] = {}
    for (_, label), answer in zip(labelled, answers, strict=True):
        report = reports.setdefault(label, LabelReport(messages=0, found=0, first=0, not_sure=0, first_instead={}))
        names = [str(intent.name) for intent in answer.intents]
        report.messages += 1
        report.found += label in names
        report.first += names[:1] == [label]
        report.not_sure += not names
        if names and names[0] != label:
            report.first_instead[names[0]] = report.first_instead.get(names[0], 0) + 1
    for report in reports.values():
        report.first_instead = dict(Counter(report.first_instead).most_common(5))
    total = len(labelled)
    return RowsReport(
        version=encoder.version,
        messages=total,
        left_out=len(rows) - total,
        found=sum(report.found for report in reports.values()) / total if total else None,
        first=sum(report.first for report in reports.values()) / total if total else None,
        by_label=reports,
    )


def examples_of(corpus: Corpus, chosen: str) -> list[Example]:
    """The messages of a split or of one voice. Raises `CorpusInvalid` where there is neither."""
    split = next((name for name in get_args(Split) if name == chosen), None)
    examples = corpus.of(split) if split else corpus.voice(chosen)
    if not examples:
        raise CorpusInvalid([f"--voices {chosen}: neither a split (train, validation, test) nor a voice"])
    return examples


def _words(text: str) -> str:
    return " ".join("".join(char if char.isalnum() else " " for char in text.casefold()).split()) or text


def _read_rows(path: Path) -> list[_Row]:
    rows = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RowsInvalid(f"{path}: not readable ({error}); give a UTF-8 file of JSON lines") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(_Row.model_validate(json.loads(line)))
        except ValidationError as error:
            fields = ", ".join(".".join(str(part) for part in problem["loc"]) or "the line" for problem in error.errors())
            raise RowsInvalid(f'{path}: line {number}: {fields} missing or not a string; each line is {{"id", "text", "label"}}') from error
        except json.JSONDecodeError as error:
            raise RowsInvalid(f"{path}: line {number}: not JSON ({error.msg}); write one object a line") from error
    return rows


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _show_voices(console: Console, report: VoicesReport) -> None:
    table = Table(title=f"{report.version}: {report.overall.messages} messages, {report.seen_in_training} worded as in training")
    for heading in ("", "all", *report.voices):
        table.add_column(heading)
    for field, name in SHOWN:
        table.add_row(name, _percent(getattr(report.overall, field)), *(_percent(getattr(report.by_voice[voice], field)) for voice in report.voices))
    console.print(table)


def _show_rows(console: Console, report: RowsReport) -> None:
    table = Table("label", "messages", "found", "first", "not sure", "first instead", title=f"{report.version}: {report.left_out} rows left out")
    for label, found in sorted(report.by_label.items()):
        instead = ", ".join(f"{name} {count}" for name, count in found.first_instead.items())
        table.add_row(label, str(found.messages), str(found.found), str(found.first), str(found.not_sure), instead)
    console.print(table)


def main(arguments: list[str] | None = None) -> int:
    """Prints the figures and writes them where `--json` says. Answers the exit code: 2 for a wrong input file or model."""
    parser = argparse.ArgumentParser(prog="python -m nlu.evaluate", description="Measure the encoder on voices or on labelled rows.")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    parser.add_argument("--corpus", type=Path, default=CORPORA)
    parser.add_argument("--voices", default="test", help="train, validation, test or a voice's name")
    parser.add_argument("--jsonl", type=Path, help='rows of {"id", "text", "label"} instead of voices; labels are intents')
    parser.add_argument("--as", dest="expected", choices=[str(intent) for intent in Intent], help="the intent that every row should have")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args(arguments)
    console = Console()
    report: VoicesReport | RowsReport
    try:
        encoder = Encoder.load(options.model)
        if options.jsonl:
            report = evaluate_rows(encoder, options.jsonl, Intent(options.expected) if options.expected else None)
            _show_rows(console, report)
        else:
            corpus = read_corpus(options.corpus)
            report = evaluate_voices(encoder, corpus, examples_of(corpus, options.voices))
            _show_voices(console, report)
    except (ModelMismatch, CorpusInvalid, RowsInvalid) as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        options.json.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
