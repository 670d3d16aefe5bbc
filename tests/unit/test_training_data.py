"""What the encoder is trained with beside the voices: the gazetteer, made messages, recipes; and how tags become spans."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from rapidfuzz import fuzz, process

from care.understanding import Intent, SymptomStatus
from nlu.corpus import CorpusInvalid, Task, read_corpus, words_of
from nlu.templates import TEMPLATES, read_templates, told_by_rules


def test_every_pattern_makes_a_message_whose_spans_lie_in_its_text() -> None:
    templates, rng = read_templates(), random.Random(3)
    made = [*templates.made(800, rng), *templates.denials(200, rng)]
    assert {intent for example in made for intent in example.intents} == set(Intent)
    for example in made:
        assert "{" not in example.text
        assert all(example.text[span.start : span.end].strip() for span in example.spans)


def test_symptoms_that_are_not_the_patients_own_now_call_for_nothing() -> None:
    made = read_templates().denials(300, random.Random(4))
    assert {span.status for example in made for span in example.spans if span.status} == set(SymptomStatus)
    for example in made:
        own = any(span.status is SymptomStatus.PRESENT for span in example.spans)
        assert example.acuity == "self_care" and not (own and Task.ACUITY in example.known)


def test_the_rules_texts_tell_their_acuity_and_are_no_held_out_message() -> None:
    corpus, told = read_corpus(), told_by_rules()
    assert len(told) > 300 and {str(example.acuity) for example in told} == {"urgent", "emergency"}
    assert not any(Task.SPANS in example.known for example in told)
    held_out = [words_of(example.text) for example in (*corpus.validation, *corpus.test)]
    near = [example.text for example in told if process.extractOne(words_of(example.text), held_out, scorer=fuzz.ratio, score_cutoff=90)]
    assert not near


def test_no_pattern_of_five_words_or_more_is_a_held_out_message() -> None:
    corpus, templates = read_corpus(), read_templates()
    held_out = {words_of(example.text) for example in (*corpus.validation, *corpus.test)}
    patterns = {words_of(pattern) for each in templates.messages for pattern in each.patterns}
    assert not [pattern for pattern in held_out & patterns if len(pattern.split()) >= 5]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [("{hi} there", "{hello} there"), ('    patterns: ["help"', '    pattern: ["help"'), ("[no](negation) more", "[no](negated) more")],
)
def test_a_wrong_pattern_is_named_with_its_remedy(tmp_path: Path, wrong: str, named: str) -> None:
    text = TEMPLATES.read_text(encoding="utf-8")
    assert wrong in text
    path = tmp_path / "templates.yaml"
    path.write_text(text.replace(wrong, named, 1), encoding="utf-8")
    with pytest.raises(CorpusInvalid, match=r"templates.yaml: .*(no slot 'hello'; add it|patterns: Field required|use one of)"):
        read_templates(path)
