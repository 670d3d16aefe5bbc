"""The red-flag rules, compiled from their patterns when the knowledge is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from care.knowledge.language import Language, plain_words
from care.knowledge.model import RedFlag
from care.knowledge.patterns import Index, Pattern, PatternInvalid, Phrase, Phrases

SCOPES = (
    "denial", "denial_all", "denial_near", "not_denial", "reach_ends", "begins_new", "denial_after", "not_denial_after",
    "another", "another_all", "relatives", "not_another", "past", "past_item", "over_since", "not_past", "recent",
    "supposed", "supposed_all", "not_supposed", "supposed_ends", "asks", "tells", "reported", "expected", "unexpected", "idioms", "compounds",
)  # fmt: skip
"""The lists of scope.yaml."""


@dataclass(frozen=True)
class Rule:
    """A red flag with its patterns: it fires where one of `when` is found and none of `unless` stands over the same words."""

    flag: RedFlag
    when: tuple[Pattern, ...]
    unless: Phrases
    """Each named by the protocols that it is for, a space between; by the empty name where it is for all."""


@dataclass(frozen=True)
class Rules:
    """The rules, the most serious first, each pattern of theirs by its words; the phrases that set words aside; and every word of the rules' language."""

    rules: tuple[Rule, ...]
    patterns: Index[tuple[Rule, Pattern]]
    idioms: Phrases
    scope: Phrases
    language: Language
    compounds: Mapping[str, str]
    words: frozenset[str]


class RulesInvalid(Exception):
    """A rule or a list of words is not in the rules' language.

    The message names the field and the remedy; `owner` is the rule, or the file of word lists, `field` where in it, `source` the words.
    """

    def __init__(self, told: str, owner: str, field: str, source: str = "") -> None:
        """Says `told` of the field."""
        super().__init__(f"field {field}: {told}")
        self.owner = owner
        self.field = field
        self.source = source


WORDS, SCOPE = "words.yaml", "scope.yaml"


def compile_rules(flags: Iterable[RedFlag], classes: Mapping[str, list[str]], scope: Mapping[str, list[str]]) -> Rules:
    """The rules ready to run. Raises `RulesInvalid`."""
    try:
        language = Language(classes)
    except PatternInvalid as error:
        holder = next((name for name, entries in classes.items() if error.source in entries), "")
        raise RulesInvalid(str(error), WORDS, holder, error.source) from error
    if missing := [name for name in SCOPES if name not in scope]:
        raise RulesInvalid("it is missing; add the list", SCOPE, missing[0])
    if unknown := [name for name in scope if name not in SCOPES]:
        raise RulesInvalid(f"it is no list of the file; use one of {', '.join(SCOPES)}", SCOPE, unknown[0])
    ordered = sorted(flags, key=lambda flag: (-flag.acuity.rank, flag.id))
    rules = tuple(
        Rule(flag, tuple(_pattern(language, flag, "when", each) for each in flag.when), Phrases(_excuse(language, flag, each) for each in flag.unless))
        for flag in ordered
    )
    written = [source for flag in ordered for source in flag.when]
    return Rules(
        rules=rules,
        patterns=Index(((phrase for together in pattern.anywhere for phrase in together), (rule, pattern)) for rule in rules for pattern in rule.when),
        idioms=Phrases(("idioms", _scope_phrase(language, "idioms", each)) for each in scope["idioms"]),
        scope=Phrases((name, _scope_phrase(language, name, each)) for name in SCOPES if name not in {"compounds", "idioms"} for each in scope[name]),
        language=language,
        compounds={each: each.replace(" ", "") for each in scope["compounds"]},
        words=language.words() | frozenset(word for source in written for word in plain_words(source)),
    )


def _pattern(language: Language, flag: RedFlag, field: str, source: str) -> Pattern:
    try:
        return language.pattern(source)
    except PatternInvalid as error:
        raise RulesInvalid(str(error), flag.id, field, source) from error


def _excuse(language: Language, flag: RedFlag, source: str) -> tuple[str, Phrase]:
    pattern = _pattern(language, flag, "unless", source)
    if pattern.first is not None or pattern.last is not None:
        raise RulesInvalid(f"{source!r} names a day; an excuse is for every day: take it out", flag.id, "unless", source)
    match pattern.anywhere:
        case ((phrase,),):
            return " ".join(sorted(pattern.protocols)), phrase
    raise RulesInvalid(f"{source!r} joins phrases; write one, without ' & ' or ' + '", flag.id, "unless", source)


def _scope_phrase(language: Language, name: str, source: str) -> Phrase:
    try:
        return language.phrase(source)
    except PatternInvalid as error:
        raise RulesInvalid(str(error), SCOPE, name, source) from error
