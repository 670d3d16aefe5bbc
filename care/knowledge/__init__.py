"""Clinical knowledge, read once from the YAML files beside this module and checked."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from care.knowledge.model import Advice, Clarifier, Complication, Entry, Medicine, Procedure, Protocol, Question, QuietHours, RedFlag, Symptom
from care.knowledge.rules import Rules, RulesInvalid, compile_rules

_HERE = Path(__file__).parent
_REMEDIES = {
    "missing": "add it",
    "extra_forbidden": "remove it or correct its spelling",
    "string_type": "write it as text, in quotes",
    "string_too_long": "shorten it",
    "enum": "use one of these",
}
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's reads the files five times as fast."""
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
    complications: dict[str, Complication]
    medicines: dict[str, Medicine]
    procedures: dict[str, Procedure]
    quiet_hours: dict[str, QuietHours]
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
    files = sorted(folder.rglob("*.yaml"))
    red_flags = _entries(sorted((folder / "redflags").glob("*.yaml")), RedFlag)
    read = Knowledge(
        texts=_texts(folder / "texts.yaml"),
        questions=_entries(sorted((folder / "questions").glob("*.yaml")), Question),
        clarifiers=_entries([folder / "clarifiers.yaml"], Clarifier),
        protocols={protocol.id: protocol for path in sorted((folder / "protocols").glob("*.yaml")) for protocol in _parsed(path, Protocol, [_yaml(path)])},
        red_flags=red_flags,
        advice=_entries(sorted((folder / "advice").glob("*.yaml")), Advice),
        symptoms=_entries(sorted((folder / "symptoms").glob("*.yaml")), Symptom),
        complications=_entries(sorted((folder / "complications").glob("*.yaml")), Complication),
        medicines=_entries(sorted((folder / "medicines").glob("*.yaml")), Medicine),
        procedures=_entries(sorted((folder / "procedures").glob("*.yaml")), Procedure),
        quiet_hours=_entries([folder / "quiet_hours.yaml"], QuietHours),
        rules=_rules(folder, red_flags),
        version=sha256(b"\x00".join(path.read_bytes() for path in files)).hexdigest()[:12],
    )
    _check_references(read)
    if "default" not in read.quiet_hours:
        raise KnowledgeInvalid("quiet_hours.yaml: entry default is missing; add it")
    return read


def _yaml(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - it is the safe one
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
            field = "".join(f"{part}." for part in problem["loc"])[:-1]
            message = problem["msg"].removeprefix("Value error, ")
            told = f"{field}: {message}; {_REMEDIES.get(problem['type'], 'correct it')}" if field else message
            raise KnowledgeInvalid(f"{path.name}: line {_line(path, number - 1, problem['loc'])}: entry {name}: field {told}") from error


def _line(path: Path, entry: int, field: tuple[int | str, ...]) -> int:
    """The line of the field, or of the nearest thing about it that the file has."""
    node = yaml.compose(path.read_text(encoding="utf-8"))
    if isinstance(node, yaml.SequenceNode):
        node = node.value[entry]
    for part in field:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == part), node)
    return int(node.start_mark.line) + 1 if node else 1


def _texts(path: Path) -> dict[str, dict[str, str]]:
    raw = _yaml(path)
    for key, languages in raw.items():
        if not isinstance(languages, dict) or not isinstance(languages.get("en"), str):
            raise KnowledgeInvalid(f"{path.name}: entry {key}: field en: every text needs its English words")
    return {str(key): dict(languages) for key, languages in raw.items()}


def _rules(folder: Path, red_flags: dict[str, RedFlag]) -> Rules:
    try:
        return compile_rules(red_flags.values(), _yaml(folder / "words.yaml"), _yaml(folder / "scope.yaml"))
    except RulesInvalid as error:
        raise KnowledgeInvalid(str(error)) from error


def _check_references(read: Knowledge) -> None:
    for protocol in read.protocols.values():
        for question in (name for day in protocol.schedule for name in day.questions):
            if question not in read.questions:
                raise KnowledgeInvalid(f"protocols/{protocol.id}.yaml: field schedule: question {question!r} is no question of questions/")
        for advice in (day.advice for day in protocol.schedule if day.advice):
            if advice not in read.advice:
                raise KnowledgeInvalid(f"protocols/{protocol.id}.yaml: field schedule: {advice!r} is no advice of advice/")
        for flag in protocol.red_flags:
            if flag not in read.red_flags:
                raise KnowledgeInvalid(f"protocols/{protocol.id}.yaml: field red_flags: {flag!r} is no rule of redflags/")
        for advice in protocol.advice:
            if advice not in read.advice:
                raise KnowledgeInvalid(f"protocols/{protocol.id}.yaml: field advice: {advice!r} is no advice of advice/")
        for symptom in protocol.expected:
            if symptom not in read.symptoms:
                raise KnowledgeInvalid(f"protocols/{protocol.id}.yaml: field expected: {symptom!r} is no symptom of symptoms/")
    for each in read.advice.values():
        for name in each.protocols:
            if name not in read.protocols:
                raise KnowledgeInvalid(f"entry {each.id}: field protocols: {name!r} is no protocol of protocols/")
    for owner, named in [(a.id, a.symptoms) for a in read.advice.values()] + [(c.id, c.symptoms) for c in read.clarifiers.values()]:
        for symptom in named:
            if symptom not in read.symptoms:
                raise KnowledgeInvalid(f"entry {owner}: field symptoms: {symptom!r} is no symptom of symptoms/")
    for path, names, known in _graph_references(read):
        for name in names:
            if name not in known:
                raise KnowledgeInvalid(f"{path}: {name!r} is not known; correct its spelling, or add it there")


def _graph_references(read: Knowledge) -> Iterator[tuple[str, Collection[str], Collection[str]]]:
    """What the entries of the graph name: folder, entry and field, the names, and what they may be."""
    for symptom in read.symptoms.values():
        yield f"symptoms/: entry {symptom.id}: field broader", [symptom.broader] if symptom.broader else [], read.symptoms
    for complication in read.complications.values():
        entry = f"complications/: entry {complication.id}: field"
        yield f"{entry} symptoms", complication.symptoms, read.symptoms
        yield f"{entry} protocols", complication.protocols, read.protocols
        yield f"{entry} procedures", complication.procedures, read.procedures
        yield f"{entry} medicines", complication.medicines, read.medicines
        yield f"{entry} red_flags", complication.red_flags, read.red_flags
        yield f"{entry} advice", complication.advice, read.advice
    for medicine in read.medicines.values():
        yield f"medicines/: entry {medicine.id}: field common", medicine.common, read.symptoms
        yield f"medicines/: entry {medicine.id}: field dangerous", medicine.dangerous, read.symptoms
        yield f"medicines/: entry {medicine.id}: field protocols", medicine.protocols, read.protocols
    for flag in read.red_flags.values():
        yield f"redflags/: entry {flag.id}: field symptoms", flag.symptoms, read.symptoms
        yield f"redflags/: entry {flag.id}: field advice", flag.advice, read.advice
    for procedure in read.procedures.values():
        yield f"procedures/: entry {procedure.id}: field protocol", [procedure.protocol], read.protocols
