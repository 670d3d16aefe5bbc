"""The labelled messages: one YAML file a voice, `[words](label)` or `[words](symptom:status)` markup read into text and character spans."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from care.acuity import Acuity
from care.understanding import Intent, SpanLabel, SymptomStatus
from nlu.borders import LabelledSpan, settled

CORPORA = Path(__file__).parent / "corpora"
Split = Literal["train", "validation", "test"]
Sex = Literal["male", "female"]
_WRITTEN_STATUSES = [status for status in SymptomStatus if status is not SymptomStatus.PRESENT]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's reads the files five times as fast."""
_MARKED = re.compile(r"\[([^\[\]]*)\]\(([^()]*)\)")


class Task(StrEnum):
    """What is labelled in a message."""

    INTENTS = "intents"
    ACUITY = "acuity"
    SPANS = "spans"


@dataclass(frozen=True)
class Example:
    """A labelled message, its text without markup. `age` in years and `sex` are the patient's, where they are known."""

    voice: str
    text: str
    intents: tuple[Intent, ...]
    acuity: Acuity
    spans: tuple[LabelledSpan, ...]
    protocol: str | None = None
    age: float | None = None
    sex: Sex | None = None
    known: frozenset[Task] = frozenset(Task)
    """What the labels tell: a made or changed message is not trained on what it may have lost."""


@dataclass(frozen=True)
class Corpus:
    """Every message, split by voice: no voice is in two splits."""

    train: list[Example]
    validation: list[Example]
    test: list[Example]

    def of(self, split: Split) -> list[Example]:
        """The messages of one split."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[split]

    def voice(self, name: str) -> list[Example]:
        """The messages of one voice; empty where there is no such voice."""
        return [example for split in get_args(Split) for example in self.of(split) if example.voice == name]


class CorpusInvalid(Exception):
    """The corpus has mistakes; `problems` names each with its file, entry, field and remedy."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("the corpus cannot be used:\n" + "\n".join(f"  {problem}" for problem in problems))
        self.problems = problems


class _Patient(BaseModel):
    model_config = ConfigDict(extra="forbid")
    age: float | None = Field(None, ge=0, le=120)
    sex: Sex | None = None


class _Message(_Patient):
    text: str = Field(min_length=1)
    intents: list[Intent] = Field(min_length=1)
    acuity: Acuity
    protocol: str | None = None


class _Voice(_Patient):
    voice: str
    about: str
    messages: list[Any] = Field(min_length=1)


class _Splits(BaseModel):
    model_config = ConfigDict(extra="forbid")
    validation: list[str] = Field(min_length=1)
    test: list[str] = Field(min_length=1)


class MarkupInvalid(ValueError):
    """A text's span markup is wrong; the message says how to put it right."""


def read_markup(marked: str) -> tuple[str, tuple[LabelledSpan, ...]]:
    """The text without markup, and its spans. Raises `MarkupInvalid`."""
    pieces: list[str] = []
    spans: list[LabelledSpan] = []
    at = length = 0
    for match in _MARKED.finditer(marked):
        words, marking = match.groups()
        label, status = _marking(marking)
        if not words.strip() or words != words.strip():
            raise MarkupInvalid(f"the span [{words}]({label}) is empty or has a space at its border; move the space outside")
        before = marked[at : match.start()]
        spans.append(LabelledSpan(label, length + len(before), length + len(before) + len(words), status))
        pieces += [before, words]
        length += len(before) + len(words)
        at = match.end()
    text = "".join([*pieces, marked[at:]])
    if "[" in text or "]" in text:
        raise MarkupInvalid("a square bracket is left over; write [words](label), without nesting, and no other square brackets")
    return text, tuple(spans)


def _marking(marking: str) -> tuple[SpanLabel, SymptomStatus | None]:
    label, _, status = marking.partition(":")
    if label not in set(SpanLabel):
        raise MarkupInvalid(f"{label!r} is no span label; use one of {', '.join(SpanLabel)}")
    if label != SpanLabel.SYMPTOM:
        if status:
            raise MarkupInvalid(f"{marking!r}: only a symptom has a status; write {label!r}")
        return SpanLabel(label), None
    if ":" in marking and status not in _WRITTEN_STATUSES:
        raise MarkupInvalid(f"{status!r} is no symptom status; use one of {', '.join(_WRITTEN_STATUSES)}, or none for a present symptom")
    return SpanLabel.SYMPTOM, SymptomStatus(status or SymptomStatus.PRESENT)


def read_voice(path: Path) -> list[Example]:
    """One voice's messages. Raises `CorpusInvalid` with everything that is wrong in the file."""
    try:
        voice = _Voice.model_validate(yaml.load(path.read_text(encoding="utf-8"), _LOADER))  # noqa: S506 - a safe loader
    except yaml.YAMLError as error:
        raise CorpusInvalid([f"{path.name}: not readable as YAML ({' '.join(str(error).split())}); put the text in double quotes"]) from error
    except ValidationError as error:
        raise CorpusInvalid(_problems(path.name, error)) from error
    problems = [] if voice.voice == path.stem else [f"{path.name}: field voice: is {voice.voice!r}; it must be the file's name, {path.stem!r}"]
    examples: list[Example] = []
    for number, entry in enumerate(voice.messages, start=1):
        where = f"{path.name}: message {number}"
        try:
            message = _Message.model_validate(entry)
            text, spans = read_markup(message.text)
        except ValidationError as error:
            problems += _problems(where, error)
        except MarkupInvalid as error:
            problems.append(f"{where}: field text: {error}")
        else:
            examples.append(
                Example(
                    path.stem,
                    text,
                    tuple(dict.fromkeys(message.intents)),
                    message.acuity,
                    settled(text, spans),
                    message.protocol,
                    voice.age if message.age is None else message.age,
                    message.sex or voice.sex,
                )
            )
    if problems:
        raise CorpusInvalid(problems)
    return examples


def read_corpus(folder: Path = CORPORA) -> Corpus:
    """Every voice under `folder/voices`, split by `folder/splits.yaml`. Raises `CorpusInvalid`."""
    problems: list[str] = []
    voices: dict[str, list[Example]] = {}
    for path in sorted((folder / "voices").glob("*.yaml")):
        try:
            voices[path.stem] = read_voice(path)
        except CorpusInvalid as error:
            problems += error.problems
    splits = _read_splits(folder / "splits.yaml")
    held_out = [*splits.validation, *splits.test]
    problems += [f"splits.yaml: {name!r} is named twice; name it once" for name in sorted({name for name in held_out if held_out.count(name) > 1})]
    if not problems:
        problems = [f"splits.yaml: {name!r} has no file voices/{name}.yaml; write it or take the name out" for name in held_out if name not in voices]
    if problems:
        raise CorpusInvalid(problems)
    train = [example for name, examples in voices.items() if name not in held_out for example in examples]
    if not train:
        raise CorpusInvalid(["voices: no voice is left for training; write some that splits.yaml does not name"])
    return Corpus(
        train,
        [example for name in splits.validation for example in voices[name]],
        [example for name in splits.test for example in voices[name]],
    )


def voices_of(corpus: Corpus, chosen: str) -> list[Example]:
    """The messages of a split (train, validation, test) or of one voice. Raises `CorpusInvalid` where there is neither."""
    split = next((name for name in get_args(Split) if name == chosen), None)
    examples = corpus.of(split) if split else corpus.voice(chosen)
    if not examples:
        raise CorpusInvalid([f"--voices {chosen}: neither a split (train, validation, test) nor a voice"])
    return examples


def words_of(text: str) -> str:
    """The text's words alone, in lower case with single spaces: equal for messages that differ in punctuation and case."""
    return " ".join("".join(char if char.isalnum() else " " for char in text.casefold()).split()) or text


def _read_splits(path: Path) -> _Splits:
    try:
        return _Splits.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise CorpusInvalid([f"{path.name}: not readable ({error}); list the voices held out under validation and test"]) from error
    except ValidationError as error:
        raise CorpusInvalid(_problems(path.name, error)) from error


def _problems(where: str, error: ValidationError) -> list[str]:
    found = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"]) or "the whole entry"
        found.append(f"{where}: field {field}: {problem['msg']} (see LABELLING.md)")
    return found
