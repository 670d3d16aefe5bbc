"""Stage 1, data: labelled messages from our voices, the red-flag rules, the graph and files; de-identified, normalised, checked, and split without leakage."""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from care.acuity import Acuity, highest
from care.graph import complications_for
from care.knowledge import knowledge
from care.lexicon import present_symptoms
from care.redflags import check
from care.triage.model import PatientContext

CORPORA = Path(__file__).resolve().parent.parent / "nlu" / "corpora"
_MARKED = re.compile(r"\[([^\[\]]*)\]\([^()]*\)")
_LEADING = 0.3
"""A complication with this share among those that fit decides the acuity of a report composed of its signs."""
Split = Literal["train", "validation", "test"]


class CorpusInvalid(Exception):
    """The training data cannot be used; the message names the file, the line or entry, the field and the remedy."""


@dataclass(frozen=True)
class Labelled:
    """A message: its plain text, intents and acuity, and whose it is. `voice` is the writer: nobody's messages are in two splits."""

    voice: str
    text: str
    intents: tuple[str, ...]
    acuity: Acuity
    context: PatientContext = field(default_factory=PatientContext)


@dataclass(frozen=True)
class Corpus:
    """The messages of a run, split by writer."""

    train: list[Labelled]
    validation: list[Labelled]
    test: list[Labelled]

    def check(self) -> None:
        """Raises `CorpusInvalid` where a writer, or the very words of a longer message, stand in two splits, or a split is empty."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        for name, messages in splits.items():
            if not messages:
                raise CorpusInvalid(f"no message is left for {name}; give more writers, or correct nlu/corpora/splits.yaml")
        writers: dict[str, str] = {}
        for name, messages in splits.items():
            for message in messages:
                if writers.setdefault(message.voice, name) != name:
                    raise CorpusInvalid(f"{message.voice} is in {writers[message.voice]} and in {name}; a writer belongs to one split")
        worded: dict[str, str] = {}
        for name, messages in splits.items():
            for message in messages:
                words = words_of(message.text)
                if words.count(" ") >= _LONG and worded.setdefault(words, name) != name:
                    raise CorpusInvalid(f"{message.voice}: a message of {name} is worded as one of {worded[words]}; take it out of one of them")


_LONG = 4
"""Blanks in a message that cannot be the same by chance: "yes" and "no pain" may stand in every split."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")
    text: str = Field(min_length=1)
    acuity: Acuity
    patient: str = Field(min_length=1)
    intents: list[str] = ["report_symptom"]
    protocol: str | None = None
    day: int | None = None
    age: int | None = Field(None, ge=0, le=130)
    sex: Literal["female", "male", "other"] | None = None
    language: str = "en"


def read_voices(folder: Path = CORPORA) -> Corpus:
    """This project's messages, split by `splits.yaml`. Raises `CorpusInvalid`."""
    try:
        splits = yaml.safe_load((folder / "splits.yaml").read_text(encoding="utf-8"))
        where: dict[str, Split] = {**dict.fromkeys(splits["validation"], "validation"), **dict.fromkeys(splits["test"], "test")}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise CorpusInvalid(f"{folder / 'splits.yaml'}: not readable ({type(error).__name__}); list voices under validation and test") from error
    corpus = Corpus([], [], [])
    for path in sorted((folder / "voices").glob("*.yaml")):
        messages: list[Labelled] = getattr(corpus, where.get(path.stem, "train"))
        messages += _voice(path)
    return corpus


def _voice(path: Path) -> list[Labelled]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = list(raw["messages"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise CorpusInvalid(f"{path.name}: not a voice with messages ({type(error).__name__})") from error
    read = []
    for number, entry in enumerate(entries, 1):
        try:
            text, age = _MARKED.sub(r"\1", str(entry["text"])), entry.get("age", raw.get("age"))
            context = PatientContext(protocol=entry.get("protocol"), age=None if age is None else int(age), sex=entry.get("sex", raw.get("sex")))
            read.append(Labelled(path.stem, text, tuple(entry["intents"]), Acuity(entry["acuity"]), context))
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusInvalid(f"{path.name}: message {number}: {error}") from error
    return read


def read_lines(path: Path, validation: float, test: float, seed: int) -> Corpus:
    """A file's messages, split by patient. Raises `CorpusInvalid`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusInvalid(f"{path}: not readable ({error}); give a UTF-8 file of JSON lines") from error
    read = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = _Line.model_validate_json(line)
            except ValidationError as error:
                problem = error.errors(include_input=False)[0]
                where = ".".join(str(part) for part in problem["loc"]) or "the line"
                raise CorpusInvalid(f'{path}: line {number}: {where}: {problem["msg"]}; each line is {{"text", "acuity", "patient"}}') from error
            context = PatientContext(protocol=row.protocol, day=row.day, age=row.age, sex=row.sex, language=row.language)
            read.append(Labelled(row.patient, row.text, tuple(row.intents), row.acuity, context))
    patients = sorted({message.voice for message in read})
    random.Random(seed).shuffle(patients)  # noqa: S311 - a split, not a secret
    cut = [round(len(patients) * share) for share in (validation, validation + test)]
    place = {patient: "validation" if at < cut[0] else "test" if at < cut[1] else "train" for at, patient in enumerate(patients)}
    return Corpus(*([message for message in read if place[message.voice] == split] for split in ("train", "validation", "test")))


def rule_messages() -> list[Labelled]:
    """The texts on which the red-flag rules say they must fire, with the highest acuity that fires."""
    texts = [(flag, text) for flag in knowledge().red_flags.values() for text in flag.must_fire if isinstance(text, str)]
    return [Labelled("rules", text, ("report_symptom",), highest([flag.acuity, *(hit.acuity for hit in check(text))])) for flag, text in texts]


_SAID = (
    "{}",
    "I have {}",
    "got {} now",
    "{} since yesterday",
    "there's {}",
    "{} for 2 days",
    "woke up with {}",
    "having {} again",
    "tengo {}",
)
_DENIED = ("no {}", "no more {}", "I don't have {}", "not had any {}", "{} is gone", "sin {}")
_ELSEWHERE = ("my neighbour has {}", "my sister had {} in 2010", "years ago I had {}")


def graph_messages(number: int, rng: random.Random) -> list[Labelled]:
    """Reports composed from the graph: signs of a complication in a layperson's words, some denied or another's; labelled by rules and graph."""
    known = knowledge()
    complications = list(known.complications.values())
    made: list[Labelled] = []
    while len(made) < number:
        complication = rng.choice(complications)
        signs = rng.sample(list(complication.symptoms), k=min(rng.choice([1, 1, 2, 2, 3]), len(complication.symptoms)))
        ways = [rng.choices([_SAID, _DENIED, _ELSEWHERE], [0.75, 0.17, 0.08])[0] for _ in signs]
        said = [rng.choice(way).format(rng.choice(known.symptoms[sign].synonyms)) for sign, way in zip(signs, ways, strict=True)]
        text = rng.choice([", ", ". ", " and "]).join(said)
        protocol = rng.choice([*complication.protocols, None])
        made.append(Labelled("graph", text, ("report_symptom",), _reckoned(text, protocol), PatientContext(protocol=protocol)))
    return made


def _reckoned(text: str, protocol: str | None) -> Acuity:
    """The acuity of a composed report: its red flags', and that of a complication which the graph finds likely."""
    present = present_symptoms(text)
    if not present:
        return highest([Acuity.SELF_CARE, *(hit.acuity for hit in check(text))])
    likely = [each.acuity for each in complications_for(present, protocol) if each.score >= _LEADING]
    calm = Acuity.SELF_CARE if protocol and set(present) <= set(knowledge().protocols[protocol].expected) else Acuity.ROUTINE
    return highest([calm, *(hit.acuity for hit in check(text)), *(min(each, Acuity.URGENT, key=lambda level: level.rank) for each in likely)])


def normalised(text: str) -> str:
    """`text` in one Unicode form, with single blanks, quotes and dashes as a phone's keyboard writes them."""
    plain = unicodedata.normalize("NFC", text).translate(str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014\u00a0", "''\"\"-- "))
    return re.sub(r"[ \t]+", " ", plain).strip()


def words_of(text: str) -> str:
    """The text's words alone, in lower case with single blanks."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def cleaned(messages: Iterable[Labelled], deidentify: Callable[[str], str] | None) -> list[Labelled]:
    """The messages normalised and, with `deidentify`, without what names a person. Empty and repeated ones of a writer are left out."""
    seen: set[tuple[str, str]] = set()
    kept = []
    for message in messages:
        text = normalised(deidentify(message.text) if deidentify else message.text)
        key = (message.voice, words_of(text) or text)
        if text and key not in seen:
            seen.add(key)
            kept.append(replace(message, text=text))
    return kept


def contradictions(messages: Iterable[Labelled]) -> list[Labelled]:
    """The label check: messages that are labelled below what a red-flag rule sets for them. A run leaves them out and says how many."""
    return [
        message for message in messages if message.acuity.rank < highest([Acuity.SELF_CARE, *(hit.acuity for hit in check(message.text, message.context))]).rank
    ]


def describe(corpus: Corpus) -> dict[str, dict[str, int]]:
    """Writers, messages and acuities of each split, for the card."""
    told = {}
    for name, messages in (("train", corpus.train), ("validation", corpus.validation), ("test", corpus.test)):
        levels = {level.value: sum(message.acuity is level for message in messages) for level in Acuity}
        told[name] = {"writers": len({message.voice for message in messages}), "messages": len(messages), **levels}
    return told
