"""The encoder's figures on labelled voices, as its card shows them; `aftercare eval nlu` reports them in full."""

from __future__ import annotations

from pydantic import BaseModel

from care.understanding import Understanding
from nlu.corpus import Corpus, Example, words_of
from nlu.model import Encoder
from nlu.scores import Scores, score

_BATCH = 16
SHOWN = (
    ("intent_macro_f1", "intent macro-F1"),
    ("intent_micro_f1", "intent micro-F1"),
    ("span_f1", "span F1 (exact borders)"),
    ("span_overlap_f1", "span F1 (overlap)"),
    ("acuity_accuracy", "acuity accuracy"),
    ("emergency_sensitivity", "emergencies called emergency"),
    ("emergency_at_least_urgent", "emergencies called urgent or more"),
    ("over_call_rate", "self_care and routine called urgent or more"),
    ("under_call_rate", "urgent and emergency called less than urgent"),
    ("acuity_ece", "acuity calibration error"),
)


class VoicesReport(BaseModel):
    """The figures over voices. `seen_in_training` counts messages whose very words are also a training message."""

    version: str
    voices: list[str]
    seen_in_training: int
    overall: Scores
    by_voice: dict[str, Scores]


def answers_to(encoder: Encoder, texts: list[str]) -> list[Understanding]:
    """The encoder's answers, in batches of similar length, in the order of `texts`."""
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    answers: dict[int, Understanding] = {}
    for at in range(0, len(order), _BATCH):
        numbers = order[at : at + _BATCH]
        answers.update(zip(numbers, encoder.understand([texts[number] for number in numbers]), strict=True))
    return [answers[number] for number in range(len(texts))]


def evaluate_voices(encoder: Encoder, corpus: Corpus, examples: list[Example]) -> VoicesReport:
    """The figures over `examples` and for each of their voices."""
    answers = answers_to(encoder, [example.text for example in examples])
    voices = list(dict.fromkeys(example.voice for example in examples))
    trained = {words_of(example.text) for example in corpus.train}
    by_voice = {}
    for voice in voices:
        pairs = [(example, answer) for example, answer in zip(examples, answers, strict=True) if example.voice == voice]
        by_voice[voice] = score([example for example, _ in pairs], [answer for _, answer in pairs])
    return VoicesReport(
        version=encoder.version,
        voices=voices,
        seen_in_training=sum(words_of(example.text) in trained for example in examples),
        overall=score(examples, answers),
        by_voice=by_voice,
    )
