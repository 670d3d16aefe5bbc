"""Clinical knowledge, read once from the YAML files beside this module and checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from care.knowledge.files import KnowledgeInvalid, Place, read, validated
from care.knowledge.model import (
    Advice,
    Clarifier,
    Complication,
    Entry,
    GuardWords,
    Medicine,
    Procedure,
    Protocol,
    Question,
    QuietHours,
    RedFlag,
    Symptom,
)
from care.knowledge.references import Entries, references
from care.knowledge.rules import SCOPE, WORDS, Rules, RulesInvalid, compile_rules
from care.knowledge.wishes import WishPatterns

__all__ = ["Knowledge", "KnowledgeInvalid", "knowledge", "load"]

_HERE = Path(__file__).parent
_TEXTS = TypeAdapter(dict[str, dict[str, str]])
_WORD_LISTS = TypeAdapter(dict[str, list[str]])
_SPELLINGS = TypeAdapter(dict[str, str])
_WISHES = TypeAdapter(WishPatterns)
_Entry = TypeVar("_Entry", bound=Entry)
_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Knowledge(Entries):
    """The entries with what is no entry. `version` is a hash of the files."""

    texts: dict[str, dict[str, str]]
    spelling: dict[str, str]
    wishes: WishPatterns
    rules: Rules
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
    reader = _Reader(folder)
    reader.entries("guard.yaml", GuardWords)  # the guard reads them for itself
    entries = Entries(
        questions=reader.entries("questions/*.yaml", Question),
        clarifiers=reader.entries("clarifiers.yaml", Clarifier),
        protocols=reader.entries("protocols/*.yaml", Protocol),
        red_flags=reader.entries("redflags/*.yaml", RedFlag),
        advice=reader.entries("advice/*.yaml", Advice),
        symptoms=reader.entries("symptoms/*.yaml", Symptom),
        complications=reader.entries("complications/*.yaml", Complication),
        medicines=reader.entries("medicines/*.yaml", Medicine),
        procedures=reader.entries("procedures/*.yaml", Procedure),
        quiet_hours=reader.entries("quiet_hours.yaml", QuietHours),
    )
    reader.check_references(entries)
    if "default" not in entries.quiet_hours:
        raise KnowledgeInvalid("quiet_hours.yaml: line 1: entry default is missing; add it")
    return Knowledge(
        **vars(entries),
        texts=reader.texts("texts.yaml"),
        spelling=reader.file("spelling.yaml", _SPELLINGS)[0],
        wishes=reader.file("wishes.yaml", _WISHES)[0],
        rules=reader.rules(entries.red_flags),
        version=sha256(b"\x00".join(path.read_bytes() for path in sorted(folder.rglob("*.yaml")))).hexdigest()[:12],
    )


class _Reader:
    """Reads the files of a folder, and keeps where each entry stands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[tuple[type[Entry], str], Place] = {}

    def entries(self, pattern: str, kind: type[_Entry]) -> dict[str, _Entry]:
        """The entries of the files by id: a list in each, or one alone."""
        paths = sorted(self._folder.glob(pattern))
        if not paths:
            raise KnowledgeInvalid(f"{pattern}: no such file; restore it")
        return {identifier: entry for path in paths for identifier, entry in self._of_file(path, kind).items()}

    def _of_file(self, path: Path, kind: type[_Entry]) -> dict[str, _Entry]:
        content, place = read(path, self._folder)
        if isinstance(content, dict) and kind is Protocol:
            listed = [(content, place)]
        elif isinstance(content, list):
            listed = [(item, place.at(number)) for number, item in enumerate(content)]
        else:
            raise place.invalid("must be a list of entries; begin each with '- id:'")
        entries: dict[str, _Entry] = {}
        shape = TypeAdapter(kind)
        for number, (item, where) in enumerate(listed, 1):
            name = item.get("id", f"number {number}") if isinstance(item, dict) else f"number {number}"
            entry = validated(shape, item, where, f"entry {name}: ")
            if (kind, name) in self._places:
                raise where.at("id").invalid(f"entry {name!r} stands twice; rename or remove one")
            self._places[kind, name] = where
            entries[name] = entry
        return entries

    def file(self, name: str, shape: TypeAdapter[_Read]) -> tuple[_Read, Place]:
        """A file that is no list of entries."""
        content, place = read(self._folder / name, self._folder)
        return validated(shape, content, place), place

    def texts(self, name: str) -> dict[str, dict[str, str]]:
        """The scripted texts."""
        texts, place = self.file(name, _TEXTS)
        for key, languages in texts.items():
            if "en" not in languages:
                raise place.at(key).invalid(f"entry {key}: field en: every text needs its English words; add them")
        return texts

    def rules(self, red_flags: dict[str, RedFlag]) -> Rules:
        """The rules, compiled."""
        (words, words_place), (scope, scope_place) = self.file(WORDS, _WORD_LISTS), self.file(SCOPE, _WORD_LISTS)
        try:
            return compile_rules(red_flags.values(), words, scope)
        except RulesInvalid as error:
            place = {WORDS: words_place, SCOPE: scope_place}.get(error.owner)
            entry = "" if place else f"entry {error.owner}: "
            place = place or self._places[RedFlag, error.owner]
            raise place.at(error.field).naming(error.source).invalid(f"{entry}{error}") from error

    def check_references(self, entries: Entries) -> None:
        """Raises `KnowledgeInvalid` where an entry names another that is not there."""
        for reference in references(entries):
            for name in reference.names:
                if name not in reference.of.ids:
                    identifier = str(getattr(reference.owner, "id"))  # noqa: B009
                    place = self._places[type(reference.owner), identifier].at(reference.field).naming(name)
                    told = f"entry {identifier}: field {reference.field}: {name!r} is no {reference.of.what}"
                    raise place.invalid(f"{told}; correct its spelling, or add it there")
