"""Messages made from patterns: paraphrases of the rarer intents, and symptoms that are denied, another person's or of the past."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from care.acuity import Acuity, highest
from care.knowledge import knowledge
from care.understanding import Intent
from nlu.borders import settled
from nlu.corpus import CORPORA, CorpusInvalid, Example, MarkupInvalid, Task, read_markup

TEMPLATES = CORPORA / "templates.yaml"
VOICE = "templates"
_NO_NOUN = frozenset(
    ["i", "me", "my", "am", "is", "isnt", "are", "was", "been", "not", "no", "cant", "couldnt", "wont", "wouldnt", "dont", "doesnt", "didnt", "keep", "keeps",
     "still", "feel", "feels", "to"]
)  # fmt: skip
"""A name with one of these cannot be denied with "no"."""
_CRISES = {"crisis_suicide", "violence_now", "violence_at_home"}
_OTHER_INTENTS = {"overdose", "severe_distress", "missed_vital_medicine", "withdrawal"}
"""Rules whose texts may be of more than one intent; so may those with numbers be."""
_SLOT = re.compile(r"\{(\w+)\}")


class Pattern(BaseModel):
    """Patterns of one set of intents. `{slot}` stands for one of the slot's phrases; spans are marked as in the voices."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    intents: list[Intent] = Field(min_length=1)
    acuity: Acuity = Acuity.SELF_CARE
    weight: float = Field(1.0, gt=0)
    patterns: list[str] = Field(min_length=1)


class Templates(BaseModel):
    """`nlu/corpora/templates.yaml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    slots: dict[str, list[str]]
    denied: list[str] = Field(min_length=1)
    mixed: list[str] = Field(min_length=1)
    messages: list[Pattern]

    @cached_property
    def _symptoms(self) -> list[str]:
        names = [name for symptom in knowledge().symptoms.values() for name in (symptom.name.lower(), *symptom.synonyms)]
        return [name for name in names if name.isascii() and len(name) < 30 and not _NO_NOUN & set(name.split())]

    def made(self, count: int, rng: random.Random) -> list[Example]:
        """`count` messages, every set of intents by its weight."""
        drawn = rng.choices(self.messages, [pattern.weight for pattern in self.messages], k=count)
        return [self._made(rng.choice(each.patterns), tuple(each.intents), each.acuity, rng) for each in drawn]

    def denials(self, count: int, rng: random.Random) -> list[Example]:
        """`count` messages with symptoms that do not raise the acuity (denied, another's, of the past), in every second one beside the patient's own."""
        made = []
        for number in range(count):
            example = self._made(rng.choice(self.mixed if number % 2 else self.denied), (Intent.REPORT_SYMPTOM,), Acuity.SELF_CARE, rng)
            made.append(replace(example, known=frozenset({Task.INTENTS, Task.SPANS})) if number % 2 else example)
        return made

    def _made(self, pattern: str, intents: tuple[Intent, ...], acuity: Acuity, rng: random.Random) -> Example:
        def filled(match: re.Match[str]) -> str:
            name = match.group(1)
            return rng.choice(self._symptoms if name == "symptom" else self.slots[name])

        while _SLOT.search(pattern):
            pattern = _SLOT.sub(filled, pattern)
        text, spans = read_markup(pattern)
        return Example(VOICE, text, intents, acuity, settled(text, spans))


def told_by_rules() -> list[Example]:
    """The texts that the red-flag rules must fire on, with the highest of their acuities. Their spans are not labelled."""
    found: dict[str, Example] = {}
    for rule in knowledge().red_flags.values():
        for told in rule.must_fire:
            text = told if isinstance(told, str) else told.text
            if not text.isascii():
                continue
            known = {Task.ACUITY} if rule.id in _OTHER_INTENTS or any(char.isdigit() for char in text) else {Task.ACUITY, Task.INTENTS}
            intent = Intent.CRISIS if rule.id in _CRISES else Intent.REPORT_SYMPTOM
            acuity = highest((rule.acuity, found[text].acuity)) if text in found else rule.acuity
            found[text] = Example(f"rule {rule.id}", text, (intent,), acuity, (), known=frozenset(known))
    return list(found.values())


def read_templates(path: Path = TEMPLATES) -> Templates:
    """The patterns, each tried once. Raises `CorpusInvalid`."""
    try:
        templates = Templates.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError) as error:
        raise CorpusInvalid([f"{path.name}: not readable ({error}); see the file in nlu/corpora"]) from error
    except ValidationError as error:
        raise CorpusInvalid([f"{path.name}: field {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]) from error
    problems = []
    for pattern in [*templates.denied, *templates.mixed, *(text for each in templates.messages for text in each.patterns)]:
        unknown = [name for name in _SLOT.findall(pattern) if name != "symptom" and name not in templates.slots]
        problems += [f"{path.name}: {pattern!r}: no slot {name!r}; add it under slots or correct the name" for name in unknown]
        try:
            read_markup(_SLOT.sub("x", pattern))
        except MarkupInvalid as error:
            problems.append(f"{path.name}: {pattern!r}: {error}")
    if problems:
        raise CorpusInvalid(problems)
    return templates
