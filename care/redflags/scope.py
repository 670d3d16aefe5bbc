"""What is said of whom and when: findings that are denied, of another person, of the past, or only supposed. After ConText (see scope.yaml)."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from care.knowledge import knowledge
from care.knowledge.patterns import Clause
from care.redflags.normalise import plain_clauses, readings_of
from care.redflags.values import readings

Span = tuple[int, int]
_LIST_ITEM = 3
"""A part between commas of at most this many words goes on with a list."""
_NEAR_REACH = 4
_ITEM = 4
"""What a bare "no" answers has at most this many words."""
_BARE_NO = frozenset(["no", "nope", "none", "nah", "nil", "neg", "nada", "ninguno", "ninguna"])
_ASKED = frozenset(["asked", "asks", "asking"])
_NEITHER = _BARE_NO | {"neither", "not", "at", "all", "to", "both", "of", "them"}
"""A sentence of these alone denies all that somebody asked in the one before."""
_BLANK = "_"


class Aside(StrEnum):
    """Why a finding is set aside."""

    DENIED = "denied"
    ANOTHER = "another"
    PAST = "past"
    SUPPOSED = "supposed"
    EXPECTED = "expected"


@dataclass(frozen=True)
class Scope:
    """Words that set aside what stands between `start` and `end`; they themselves stand at `cue`."""

    aside: Aside
    cue: Span
    start: int
    end: int


@dataclass
class ReadClause:
    """A clause with what sets its words aside, which is read only once a finding stands in it."""

    words: Clause
    """The clause as if no denial kept its words apart: what is not found in it is not in the clause."""
    after: Clause | None = None
    """The clause that comes next."""

    @cached_property
    def clause(self) -> Clause:
        """The clause; no finding leaps over a denial."""
        barriers = frozenset(scope.cue[0] for scope in _denials(self.words, self._found))
        return replace(self.words, barriers=barriers, memo={}) if barriers else self.words

    @cached_property
    def scopes(self) -> tuple[Scope, ...]:
        """The words that set others aside."""
        read = (_denials, _denied_after, _of_another, _of_the_past, _supposed, _expected)
        found = [scope for each in read for scope in each(self.words, self._found)]
        if self.after and _ASKED & set(self.words.words) and _NEITHER.issuperset(self.after.words):  # "asked if I had passed out. Neither."
            found.append(Scope(Aside.DENIED, (0, 0), 0, len(self.words.words)))
        if self.after and not self._found.get("recent") and not self._found.get("not_past") and _tells_of_what_was(self.words.words):
            found += [
                Scope(Aside.PAST, (0, 0), 0, len(self.words.words))
                for name, (start, _) in knowledge().rules.scope.find(self.after)
                if name == "over_since" and not start
            ][:1]
        return tuple(found)

    @cached_property
    def _found(self) -> Mapping[str, list[Span]]:
        found: dict[str, list[Span]] = defaultdict(list)
        for name, span in sorted(set(knowledge().rules.scope.find(self.words))):
            found[name].append(span)
        return found

    def aside(self, start: int, end: int) -> Aside | None:
        """Why the words from `start` to `end` are set aside, if they are. Words that deny within them are part of the finding."""
        for scope in self.scopes:
            within = start <= scope.cue[0] < end
            if scope.aside is Aside.DENIED and self._measured_apart(scope, start, end):
                continue
            ended = scope.aside is Aside.DENIED and scope.cue[0] == scope.end and scope.cue[1] < end  # "vomiting stopped two days ago"
            if (ended or not (within and scope.aside is Aside.DENIED)) and scope.start <= start < scope.end:
                return scope.aside
        return None

    def _measured_apart(self, denial: Scope, start: int, end: int) -> bool:
        """Whether it is a reading of an item of its own, which a denial before that does not reach: "no cough, temp 38.5"; but "not over 180, under 70"."""
        words = self.words.words
        first = max((comma for comma in self.words.commas if denial.cue[1] <= comma <= start), default=None)
        kinds = {value.kind for value in self.words.values if (value.start, value.end) == (start, end)}
        if first is None or not kinds or words[start - 1] in _COMPARED:
            return False
        last = min((comma for comma in self.words.commas if comma >= end), default=len(words))
        return kinds <= {value.kind for value in readings(words[first:last]) if value.start == start - first}


_COMPARED = frozenset(["over", "above", "under", "below", "than", "past"])
"""The number after one of these is a border, not a reading."""


def read_clauses(text: str) -> list[ReadClause]:
    """The clauses of a text in every reading of its words, idioms blanked out, each with its values and scopes. Never raises."""
    parts = [[_clause(clause.words, clause.commas) for clause in part] for part in readings_of(text)]
    after = [part[0] for part in parts[1:]]
    return [ReadClause(clause, next_one) for part, next_one in itertools.zip_longest(parts, after) for clause in part]


def literal_clauses(text: str) -> list[ReadClause]:
    """The clauses of a text with every word as it stands, each with its scopes. Never raises."""
    return [ReadClause(knowledge().rules.language.clause(clause.words, (), clause.commas)) for clause in plain_clauses(text)]


def _clause(words: tuple[str, ...], commas: frozenset[int]) -> Clause:
    words, commas = _compounded(words, commas)
    rules = knowledge().rules
    blank = {place for _, (start, end) in rules.idioms.find(rules.language.clause(words)) for place in range(start, end)}
    shown = tuple(_BLANK if place in blank else word for place, word in enumerate(words)) if blank else words
    return rules.language.clause(shown, readings(shown), commas)


def _compounded(words: tuple[str, ...], commas: frozenset[int]) -> tuple[tuple[str, ...], frozenset[int]]:
    """Pairs of words that mean another thing together ("blood pressure") written as one."""
    compounds = knowledge().rules.compounds
    joined: list[str] = []
    moved: set[int] = set()
    at = 0
    while at < len(words):
        if at in commas:
            moved.add(len(joined))
        pair = compounds.get(" ".join(words[at : at + 2])) if at + 1 not in commas else None
        joined.append(pair or words[at])
        at += 2 if pair else 1
    return tuple(joined), frozenset(moved)


def _denials(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    undone = found.get("not_denial", [])
    ends = [start for start, _ in found.get("reach_ends", [])] + _affirmed(clause) + _turns_to_now(clause)
    new = _new_statements(clause, found)
    for name, reach in (("denial", len(clause.words)), ("denial_near", _NEAR_REACH)):
        for start, end in _longest(found.get(name, [])):
            if any(first <= start < last for first, last in undone):
                continue
            stops = [place for place in (*ends, *new) if place >= end] + [len(clause.words), end + reach]
            yield Scope(Aside.DENIED, (start, end), start + 1, min(stops))
    for start, end in found.get("denial_all", []):
        yield Scope(Aside.DENIED, (start, end), end, min([place for place in ends if place >= end] + [len(clause.words)]))
    yield from _answered_no(clause)


def _affirmed(clause: Clause) -> list[int]:
    """Where items begin that a "yes" behind them affirms: no denial reaches them ("no fever, chest pain yes")."""
    words = clause.words
    begins = []
    for place, word in enumerate(words):
        ended = place + 1 == len(words) or place + 1 in clause.commas
        if word not in _YES or not (ended or words[place + 1] in _AFTER_YES):
            continue
        first = place
        while first and first - 1 not in clause.commas and place - first < _ITEM + 1 and (words[first - 1] not in _JOINS or first == place):
            first -= 1
        if first and first - 1 in clause.commas and place - first < _ITEM + 1 and words[first - 1] not in _JOINS:
            first -= 1
        begins.append(first if first < place else max(0, place - 1))
    return begins


_YES = frozenset({"yes", "yeah", "yep", "yup", "aye", "yea"})
_AFTER_YES = frozenset({
    "there", "it", "i", "ive", "that", "a", "since", "today", "now", "really", "bad", "very", "this", "all", "still", "and", "lots", "plenty", "its",
    "im", "sadly", "crushing", "sharp", "severe", "terrible", "awful", "badly", "loads", "every", "constantly", "definitely", "twice", "often", "on",
    "when", "from",
})  # fmt: skip
"""What may stand behind a yes that affirms what is before it."""
_JOINS = frozenset({"and", "plus", "um", "uh", "er", "then", "or", "well", "also"})


def _answered_no(clause: Clause) -> Iterator[Scope]:
    """ "fever: no, chills no": a bare no at the end of an item denies the item, unless the item speaks of the writer."""
    borders = sorted({0, *clause.commas, len(clause.words)})
    for first, last in itertools.pairwise(borders):
        if clause.words[last - 1] not in _BARE_NO:
            continue
        if last - 1 > first:
            item = first
        elif first:
            item = max(border for border in borders if border < first)
        else:
            continue
        if last - 1 - item <= _ITEM and _FIRST_PERSON.isdisjoint(clause.words[item:last]):
            yield Scope(Aside.DENIED, (last - 1, last), item, last - 1)


def _denied_after(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    undone = found.get("not_denial_after", [])
    for start, end in _longest(found.get("denial_after", [])):
        if start == 0 or any(first < end and start < last for first, last in undone) or _turns(clause, end):
            continue
        yield Scope(Aside.DENIED, (start, end), _statement(clause, found, start)[0], start)


def _turns(clause: Clause, end: int) -> bool:
    """Whether a "gone" before `end` tells what something became ("gone dusky") and not that it is over."""
    return clause.words[end - 1] == "gone" and end < len(clause.words) and end not in clause.commas and clause.words[end] not in _AFTER_GONE


_AFTER_GONE = frozenset({
    "now", "away", "today", "completely", "altogether", "since", "by", "and", "so", "yesterday", "this", "overnight", "after", "when", "already", "too",
    "thank", "thanks", "thankfully", "for", "with", "once", "within", "as", "i", "it", "then", "tonight", "all", "entirely", "fully", "again", "in", "last",
    "mostly", "w",
})  # fmt: skip


def _of_another(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    if found.get("not_another"):
        return
    if found.get("another_all") and found.get("relatives"):
        yield Scope(Aside.ANOTHER, found["another_all"][0], 0, len(clause.words))
    statements = _new_statements(clause, found)
    new = [place for place in statements if clause.words[place] not in _THIRD_PERSON]
    of_others = [span for span in found.get("another", []) if not _comes_back_to_self(clause, span)]
    for start, end in _longest(of_others):
        own = [place for place in range(end, len(clause.words)) if _speaks_of_self(clause, place)]
        ends = statements if clause.words[start] in _WHOSE else new  # "his brother has dementia, he talks nonsense now": he is the patient
        yield Scope(Aside.ANOTHER, (start, end), start, min([*own, *(place for place in ends if place >= end), len(clause.words)]))


def _comes_back_to_self(clause: Clause, span: Span) -> bool:
    """ "my friend had a clot and now my calf is": the words of a cue that run on into what the writer has."""
    places = range(span[0] + 1, span[1])
    return any(clause.words[place] in _SELF for place in places) or not set(places).isdisjoint(_turns_to_now(clause))


def _turns_to_now(clause: Clause) -> list[int]:
    """Where the writer begins to say how they are now, with or without a comma before it: "no fever my chest is tight", "a stroke in 2015 I cant breathe"."""
    words = clause.words
    turns = []
    for place in range(1, len(words)):
        if words[place] in {"my", "mi"} and words[place - 1] not in _OF_A_PLACE | _JOINS:
            verb = next((at for at in range(place + 2, min(place + 5, len(words))) if words[at] in _IS_NOW), None)
            if verb is not None and _JOINS.isdisjoint(words[place:verb]):
                turns.append(place)
        elif words[place - 1] not in _JOINS and (words[place] in _I_AM or (words[place] == "i" and not _DO_NOW.isdisjoint(words[place + 1 : place + 2]))):
            turns.append(place)
    return turns


_JOINS = frozenset([
    "where", "while", "when", "if", "that", "which", "whether", "after", "before", "until", "till", "since", "because", "as", "than", "what", "how", "who",
    "whenever", "unless", "once", "or", "not", "says", "said", "think", "thought", "donde", "cuando", "que",
])  # fmt: skip
"""After these, "my" and "I" go on with what was said."""
_IS_NOW = frozenset([
    "is", "are", "has", "have", "feels", "feel", "hurts", "hurt", "keeps", "keep", "looks", "look", "wont", "cant", "cannot", "burns", "aches", "throbs",
    "pours", "esta", "duele", "estan", "duelen", "s",
])  # fmt: skip
_I_AM = frozenset(["im", "ive", "tengo", "estoy"])
_DO_NOW = frozenset(["am", "cant", "cannot", "feel", "keep", "have", "want", "need"])
_THIRD_PERSON = frozenset(["he", "she", "they", "his", "her", "hes", "shes", "who", "and", "el", "ella"])
_WHOSE = frozenset(["his", "her", "their"])
_WAS = frozenset(
    ["had", "was", "were", "got", "did", "couldnt", "passed", "fainted", "vomited", "bled", "coughed", "felt", "came", "went", "tuve", "estuve", "tenia"]
)
"""Without one of these, nothing is told of what was."""
_SELF = frozenset(["i", "im", "myself", "ive", "ill", "id", "we", "yo", "tengo", "estoy", "我"])
_FIRST_PERSON = _SELF | {"my", "me", "mine", "mi"}
_OF_A_PLACE = frozenset({
    "in", "at", "on", "of", "from", "with", "near", "next", "to", "by", "behind", "like", "en", "de", "if", "when", "whether", "does", "do", "could", "can",
    "should", "would", "will", "si",
})  # fmt: skip
"""After these, "my" tells where or whose, and begins nothing new."""


def _speaks_of_self(clause: Clause, place: int) -> bool:
    word = clause.words[place]
    return word in _SELF or (word in {"my", "mi"} and clause.words[place - 1] not in _OF_A_PLACE)


def _begins_with_my(clause: Clause, place: int) -> bool:
    return _speaks_of_self(clause, place) and clause.words[place - 1] not in _DONE_TO


_DONE_TO = frozenset(["bang", "bump", "knock", "twist", "nick", "scratch", "jar"])
"""What is supposed to befall the "my" after these: "if I bang my head"."""


def _of_the_past(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    yield from (Scope(Aside.PAST, (start, end), start, end) for start, end in found.get("past_item", []))
    over = found.get("over_since", [])
    recent = _outside(over, found.get("recent", []))
    borders = set(_new_statements(clause, found))
    for start, end in over:
        if start in borders and not recent and _tells_of_what_was(clause.words[:start]):
            yield Scope(Aside.PAST, (start, end), 0, start)
    if _outside(over, found.get("not_past", [])):
        return
    turns = _turns_to_now(clause)
    for start, end in _longest(found.get("past", [])):
        first, last = _statement(clause, found, start)
        now = min((turn for turn in turns if turn >= end), default=len(clause.words))
        if start > first:  # "a stroke in 2010, crushing chest pain": what follows the year's own part is not of that year
            last = min([last, *(comma for comma in clause.commas if comma >= end)])
        if last - first <= _LIST_ITEM + 1:
            alone = (first, last) == (start, end)  # "in 2010, I had a stroke"; but "a stroke in 2010, my chest is tight" tells of now
            before = _statement(clause, found, first - 1)[0] if first else 0
            first, last = before, (_statement(clause, found, last)[1] if alone and last < len(clause.words) else last)
        if first and clause.words[first] in _POINTS_BACK:
            first = _statement(clause, found, first - 1)[0]
        if not any(first <= place < last for place, _ in recent):
            yield Scope(Aside.PAST, (start, end), first, min(last, now))


def _outside(wholes: list[Span], spans: list[Span]) -> list[Span]:
    """The spans that are no part of one of `wholes`: "ever since" in "quiet ever since" tells of nothing that goes on."""
    return [(start, end) for start, end in spans if not any(first <= start and end <= last for first, last in wholes)]


def _tells_of_what_was(words: tuple[str, ...]) -> bool:
    return not _WAS.isdisjoint(words) or any(word.endswith("ed") for word in words)


_POINTS_BACK = frozenset(["that", "this", "it", "which", "thats", "its"])
"""A statement that begins so speaks of the one before: "I passed out, that was weeks ago"."""


def _supposed(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    undone = found.get("not_supposed", [])
    if _at_start("asks", found) and not _at_start("tells", found) and not found.get("reported"):
        yield Scope(Aside.SUPPOSED, (0, 1), 0, _statement(clause, found, 0)[1])
    for start, end in found.get("supposed_all", []):
        yield Scope(Aside.SUPPOSED, (start, end), 0, len(clause.words))
    ends = [start for start, _ in found.get("supposed_ends", []) if clause.words[start] != "my" or _begins_with_my(clause, start)]
    for start, end in _longest(found.get("supposed", [])):
        if clause.words[start : start + 2] != _TO_COME and any(first < end and start < last for first, last in undone):
            continue
        stops = [place for place in ends if place >= end] + [_statement(clause, found, start)[1]]
        yield Scope(Aside.SUPPOSED, (start, end), start, min(stops))


_TO_COME = ("how", "will")
"""A question that begins so asks of what is not yet there, also with "know if"."""


def _at_start(name: str, found: Mapping[str, list[Span]]) -> bool:
    return any(start == 0 for start, _ in found.get(name, []))


def _longest(spans: list[Span]) -> list[Span]:
    """Of spans that begin together, the longest."""
    return list(dict(spans).items())


def _new_statements(clause: Clause, found: Mapping[str, list[Span]]) -> list[int]:
    """Where a part after a comma says something new: it is longer than an item of a list, or speaks of somebody or something anew."""
    begins = {start for start, _ in found.get("begins_new", [])}
    borders = [*sorted(clause.commas), len(clause.words)]
    return [border for border, after in itertools.pairwise(borders) if _is_new(clause.words[border:after], {place - border for place in begins})]


def _is_new(words: tuple[str, ...], begins: set[int]) -> bool:
    """The last item of a list may be two that an "or" joins; what is a noun there as often as a verb begins nothing ("bleeding or fainting")."""
    joined = next((place for place, pair in enumerate(itertools.pairwise(words)) if pair[0] in _OR and pair[1] not in _VAGUE), None)
    if joined is None:
        return len(words) > _LIST_ITEM or any(place in begins for place in range(len(words)))
    return max(joined, len(words) - joined - 1) > _LIST_ITEM or any(place in begins and word not in _IN_A_LIST for place, word in enumerate(words))


_OR = frozenset(["or", "nor", "ni", "o"])
"""Before a last item, or between the two of one."""
_VAGUE = frozenset(["something", "so", "whatever", "maybe", "what"])
"""After an "or" that joins nothing: "chest pain or something" is told, not denied."""
_IN_A_LIST = frozenset(["bleeding", "vomiting", "blood", "feeling"])


def _statement(clause: Clause, found: Mapping[str, list[Span]], place: int) -> Span:
    """The words that say one thing, around `place`."""
    borders = [0, *_new_statements(clause, found), len(clause.words)]
    first = max(border for border in borders if border <= place)
    return first, min((border for border in borders if border > place), default=len(clause.words))


def _expected(clause: Clause, found: Mapping[str, list[Span]]) -> Iterator[Scope]:
    expected = found.get("expected", [])
    if not _outside(expected, found.get("unexpected", [])):  # the "new" of "nothing new" is not unexpected
        for start, end in expected:
            yield Scope(Aside.EXPECTED, (start, end), 0, len(clause.words))
