"""Knowledge files as YAML, with the place of each part, so that what is wrong is told with its file and line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's reads the files five times as fast."""
_REMEDIES = {
    "missing": "add it",
    "extra_forbidden": "remove it or correct its spelling",
    "string_type": "write it as text, in quotes",
    "string_too_long": "shorten it",
    "enum": "use one of these",
}
_Read = TypeVar("_Read")


class KnowledgeInvalid(Exception):
    """A knowledge file is broken; the message names the file, the line, the entry, the field and the remedy."""


@dataclass(frozen=True)
class Place:
    """A part of a knowledge file."""

    file: str
    node: yaml.Node | None

    @property
    def line(self) -> int:
        """The line that it begins on."""
        return int(self.node.start_mark.line) + 1 if self.node else 1

    def at(self, *field: int | str) -> Place:
        """The part of it at `field`, or the nearest about that which is there."""
        node = self.node
        for part in field:
            if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
                node = node.value[part] if part < len(node.value) else node
            elif isinstance(node, yaml.MappingNode):
                node = next((value for key, value in node.value if key.value == str(part)), node)
        return Place(self.file, node)

    def naming(self, text: str) -> Place:
        """The part of it that is `text`, or that holds it as a word; itself where none does."""
        scalars = _scalars(self.node)
        word = re.compile(rf"\b{re.escape(text)}\b")
        found = next((each for each in scalars if each.value == text), None) or next((each for each in scalars if word.search(each.value)), None)
        return Place(self.file, found or self.node)

    def invalid(self, told: str) -> KnowledgeInvalid:
        """The error that says what is wrong here."""
        return KnowledgeInvalid(f"{self.file}: line {self.line}: {told}")


def read(path: Path, folder: Path) -> tuple[Any, Place]:
    """What a file of `folder` holds, and its place. Raises `KnowledgeInvalid`."""
    name = path.relative_to(folder).as_posix()
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise KnowledgeInvalid(f"{name}: cannot be read; restore the file") from error
    try:
        loader = _LOADER(raw.decode("utf-8"))
        node = loader.get_single_node()
        place = Place(name, node)
        if (twice := _key_twice(node)) is not None:
            raise Place(name, twice).invalid(f"the key {twice.value!r} stands twice; rename or remove one")
        return loader.construct_document(node) if node else None, place
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise KnowledgeInvalid(f"{name}: line {line}: not UTF-8; save the file in that encoding") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise KnowledgeInvalid(f"{name}: line {mark.line + 1 if mark else 1}: not YAML ({error.problem}); correct it") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise KnowledgeInvalid(f"{name}: line 1: not YAML ({error}); correct it") from error


def validated(shape: TypeAdapter[_Read], content: Any, place: Place, entry: str = "") -> _Read:
    """`content` in its shape. Raises `KnowledgeInvalid`."""
    try:
        return shape.validate_python(content)
    except ValidationError as error:
        problem = error.errors()[0]
        loc = problem["loc"]
        message = problem["msg"].removeprefix("Value error, ")
        field = ".".join(map(str, loc))
        told = f"{field}: {message}; {_REMEDIES.get(problem['type'], 'correct it')}" if loc else message
        raise place.at(*loc).invalid(f"{entry}field {told}" if loc or entry else told) from error


def _scalars(node: yaml.Node | None) -> list[yaml.ScalarNode]:
    match node:
        case yaml.ScalarNode():
            return [node]
        case yaml.SequenceNode():
            return [scalar for each in node.value for scalar in _scalars(each)]
        case yaml.MappingNode():
            return [scalar for pair in node.value for each in pair for scalar in _scalars(each)]
    return []


def _key_twice(node: yaml.Node | None) -> yaml.ScalarNode | None:
    """A key that its mapping holds a second time."""
    below: Sequence[yaml.Node] = []
    match node:
        case yaml.SequenceNode():
            below = node.value
        case yaml.MappingNode():
            seen = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                    return key
                seen.add((key.tag, str(key.value)))
            below = [value for _, value in node.value]
    return next((twice for each in below if (twice := _key_twice(each)) is not None), None)
