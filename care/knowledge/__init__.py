"""Clinical knowledge, read once from the YAML files beside this module and checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from care.knowledge.model import Advice, Clarifier, Entry, Protocol, Question, RedFlag, Symptom

_HERE = Path(__file__).parent
_Entry = TypeVar("_Entry", bound=Entry)


class KnowledgeInvalid(Exception):
    """A knowledge file is broken; the message names the file, the entry, the field and the remedy."""


@dataclass(frozen=True)
class Knowledge:
    """All entries by id. `version` is a hash of the files."""

    texts: dict[str, dict[str, str]]
    questions: dict[str, Question]
    clarifiers: dict[str, Clarifier]
    protocols: dict[str, Protocol]
    red_flags: dict[str, RedFlag]
    advice: dict[str, Advice]
    symptoms: dict[str, Symptom]
    version: str

    def text(self, key: str, language: str = "en", **values: str) -> str:
        """The scripted text of `key` with its placeholders filled; English where the language has none. Raises `KeyError`."""
        languages = self.texts[key]
        return languages.get(language, languages["en"]).format(**values)


@cache
def knowledge() -> Knowledge:
    """The knowledge of this installation. Raises `KnowledgeInvalid`."""
    return load(_HERE)


def load(folder: Path) -> Knowledge:
    """Reads and checks a folder of knowledge files. Raises `KnowledgeInvalid`."""
    files = sorted(folder.rglob("*.yaml"))
    read = Knowledge(
        texts=_texts(folder / "texts.yaml"),
        questions=_entries(sorted((folder / "questions").glob("*.yaml")), Question),
        clarifiers=_entries([folder / "clarifiers.yaml"], Clarifier),
        protocols={protocol.id: protocol for path in sorted((folder / "protocols").glob("*.yaml")) for protocol in _parsed(path, Protocol, [_yaml(path)])},
        red_flags=_entries(sorted((folder / "redflags").glob("*.yaml")), RedFlag),
        advice=_entries(sorted((folder / "advice").glob("*.yaml")), Advice),
        symptoms=_entries(sorted((folder / "symptoms").glob("*.yaml")), Symptom),
        version=sha256(b"\x00".join(path.read_bytes() for path in files)).hexdigest()[:12],
    )
    _check_references(read)
    return read


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KnowledgeInvalid(f"{path.name}: cannot be read; restore the file") from error
    except yaml.YAMLError as error:
        raise KnowledgeInvalid(f"{path.name}: not YAML ({error}); correct the line it names") from error


def _entries(paths: list[Path], kind: type[_Entry]) -> dict[str, _Entry]:
    entries: dict[str, _Entry] = {}
    for path in paths:
        for entry in _parsed(path, kind, _yaml(path)):
            identifier = str(getattr(entry, "id"))  # noqa: B009
            if identifier in entries:
                raise KnowledgeInvalid(f"{path.name}: entry {identifier!r} stands twice; rename or remove one")
            entries[identifier] = entry
    return entries


def _parsed(path: Path, kind: type[_Entry], raw: Any) -> Iterator[_Entry]:
    if not isinstance(raw, list):
        raise KnowledgeInvalid(f"{path.name}: must be a list of entries")
    for number, item in enumerate(raw, 1):
        try:
            yield kind.model_validate(item)
        except ValidationError as error:
            name = item.get("id", f"number {number}") if isinstance(item, dict) else f"number {number}"
            problem = error.errors()[0]
            field = ".".join(str(part) for part in problem["loc"])
            raise KnowledgeInvalid(f"{path.name}: entry {name}: field {field}: {problem['msg']}") from error


def _texts(path: Path) -> dict[str, dict[str, str]]:
    raw = _yaml(path)
    for key, languages in raw.items():
        if not isinstance(languages, dict) or not isinstance(languages.get("en"), str):
            raise KnowledgeInvalid(f"{path.name}: entry {key}: field en: every text needs its English words")
    return {str(key): dict(languages) for key, languages in raw.items()}


def _check_references(read: Knowledge) -> None:
    for protocol in read.protocols.values():
        for question in (name for day in protocol.schedule for name in day.questions):
            if question not in read.questions:
                raise KnowledgeInvalid(f"protocols/{protocol.id}.yaml: field schedule: question {question!r} is no question of questions/")
        for advice in protocol.advice:
            if advice not in read.advice:
                raise KnowledgeInvalid(f"protocols/{protocol.id}.yaml: field advice: {advice!r} is no advice of advice/")
        for symptom in protocol.expected:
            if symptom not in read.symptoms:
                raise KnowledgeInvalid(f"protocols/{protocol.id}.yaml: field expected: {symptom!r} is no symptom of symptoms/")
    for owner, named in [(a.id, a.symptoms) for a in read.advice.values()] + [(c.id, c.symptoms) for c in read.clarifiers.values()]:
        for symptom in named:
            if symptom not in read.symptoms:
                raise KnowledgeInvalid(f"entry {owner}: field symptoms: {symptom!r} is no symptom of symptoms/")
