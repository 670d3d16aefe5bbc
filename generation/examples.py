"""Training examples for the triage model: our own labelled messages, as prompts and the answers wanted."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml

from care.acuity import Acuity, highest
from care.knowledge import knowledge
from care.redflags import check
from care.retrieval import advice_for
from care.triage.model import MAX_REPLY_CHARS, AdviceCandidate, PatientContext, Report, TriageDraft, TriageRequest
from care.triage.request import Findings, request_for
from generation.prompt import MAX_ADVICE_SHOWN

VOICES = Path(__file__).resolve().parent.parent / "nlu" / "corpora" / "voices"
_MARKED = re.compile(r"\[([^\[\]]*)\]\([a-z]+\)")
_MAX_FINDINGS, _MAX_ADVICE, _MAX_RED_FLAGS, _MAX_QUESTIONS = 4, 2, 2, 1
_ASKS = frozenset({"ask_advice", "ask_medicine"})


class CorpusInvalid(Exception):
    """A voice file is broken; the message names the file, the message's number and the field."""


@dataclass(frozen=True)
class Labelled:
    """A message of the corpora: its plain text, its intents and its acuity."""

    voice: str
    text: str
    intents: tuple[str, ...]
    acuity: Acuity


@dataclass(frozen=True)
class Example:
    """A request and the draft wanted for it."""

    request: TriageRequest
    draft: TriageDraft


def read_voices(folder: Path = VOICES) -> list[Labelled]:
    """Every labelled message, in the order of the files. Raises `CorpusInvalid`."""
    return [message for path in sorted(folder.glob("*.yaml")) for message in _voice(path)]


def _voice(path: Path) -> list[Labelled]:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = list(raw["messages"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise CorpusInvalid(f"{path.name}: not a voice with messages ({type(error).__name__})") from error
    read = []
    for number, entry in enumerate(entries, 1):
        try:
            text = _MARKED.sub(r"\1", str(entry["text"]))
            read.append(Labelled(path.stem, text, tuple(entry["intents"]), Acuity(entry["acuity"])))
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusInvalid(f"{path.name}: message {number}: {error}") from error
    return read


def rule_examples() -> list[Labelled]:
    """The texts on which the red-flag rules say they must fire, with the highest acuity that fires."""
    texts = [(flag, text) for flag in knowledge().red_flags.values() for text in flag.must_fire if isinstance(text, str)]
    return [Labelled("rules", text, ("report_symptom",), highest([flag.acuity, *(hit.acuity for hit in check(text))])) for flag, text in texts]


def joined(first: Labelled, second: Labelled, rng: random.Random) -> Labelled:
    """Two messages as one; the more serious acuity stands."""
    text = first.text + rng.choice([". ", ", ", " ", "\n", " and ", "... "]) + second.text
    return Labelled(first.voice, text, first.intents + second.intents, highest([first.acuity, second.acuity]))


def misspelt(text: str, rng: random.Random) -> str:
    """`text` with one to three typing slips: letters dropped, doubled or swapped, or all in one case."""
    letters = list(text)
    for _ in range(rng.randint(1, 3)):
        if len(letters) < 4:
            break
        at = rng.randrange(len(letters) - 1)
        slip = rng.randrange(3)
        if slip == 0:
            del letters[at]
        elif slip == 1:
            letters.insert(at, letters[at])
        else:
            letters[at], letters[at + 1] = letters[at + 1], letters[at]
    changed = "".join(letters)
    return rng.choice([changed, changed, changed.lower(), changed.upper()])


def some_context(rng: random.Random) -> PatientContext:
    """A context as patients have it, each part known or not."""
    sex: Literal["female", "male"] = "female" if rng.random() < 0.5 else "male"
    return PatientContext(
        protocol="knee_replacement" if rng.random() < 0.8 else None,
        day=rng.choice([1, 2, 3, 5, 7, 10, 14, 21, 30]) if rng.random() < 0.8 else None,
        age=rng.randint(25, 95) if rng.random() < 0.6 else None,
        sex=sex if rng.random() < 0.6 else None,
    )


def example(message: Labelled, context: PatientContext, rng: random.Random | None = None) -> Example:
    """The example of a message: findings by lexicon, advice by retrieval, the answer by label; with `rng` other advice is mixed in."""
    seen = Findings(message.text, context)
    findings = seen.present
    fitting = advice_for(message.text, findings, context)
    offered = list(fitting)
    if rng is not None:
        others = [AdviceCandidate(id=advice.id, text=advice.text) for advice in knowledge().advice.values() if advice.id not in {each.id for each in fitting}]
        offered += rng.sample(others, k=min(rng.randint(0, 2), MAX_ADVICE_SHOWN - len(offered)))
        rng.shuffle(offered)
    request = request_for(Report(text=message.text, context=context, understanding=None), seen, offered)
    hits = check(message.text, context)
    advice = _fitting(message, findings, fitting)
    draft = TriageDraft(
        acuity=message.acuity,
        unsure=message.acuity is not Acuity.SELF_CARE and not findings and not hits,
        red_flags=[hit.rule for hit in hits if hit.rule in {each.id for each in request.red_flags}][:_MAX_RED_FLAGS],
        findings=findings[:_MAX_FINDINGS],
        denied=seen.denied[:_MAX_FINDINGS],
        questions=[each.id for each in request.questions if knowledge().clarifiers[each.id].raises_to.rank > message.acuity.rank][:_MAX_QUESTIONS],
        advice=advice,
        reply=" ".join(each.text for each in offered if each.id in advice)[:MAX_REPLY_CHARS],
        rationale="",
    )
    return Example(request, draft)


def _fitting(message: Labelled, findings: list[str], offered: list[AdviceCandidate]) -> list[str]:
    """What should be given: statements on a finding that the acuity allows, and the best one for a question."""
    known = knowledge().advice
    allowed = [each.id for each in offered if message.acuity in known[each.id].acuities]
    asked = set(allowed[:1]) if _ASKS.intersection(message.intents) else set()
    return [each for each in allowed if each in asked or set(findings).intersection(known[each].symptoms)][:_MAX_ADVICE]
