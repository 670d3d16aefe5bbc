from __future__ import annotations

import random
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import yaml
from rapidfuzz import fuzz, process

from care.acuity import Acuity
from care.understanding import Intent, SpanLabel
from nlu.agreement import agreement
from nlu.augment import Augmentation, Augmenter
from nlu.corpus import CorpusInvalid, Example, MarkupInvalid, Task, read_corpus, read_markup, read_voice, words_of
from nlu.templates import read_templates
from nlu.text import prepare, without_surrogates


def _voice(folder: Path, name: str, *messages: object) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"voice": name, "about": "a test", "messages": list(messages)}), encoding="utf-8")
    return path


def _entry(text: str = "hello", acuity: str = "self_care") -> dict[str, object]:
    return {"text": text, "intents": ["greet"], "acuity": acuity}


def test_markup_becomes_text_and_character_spans() -> None:
    text, spans = read_markup("[knee](site) still [swole up](symptom) but [no](negation) [fever](symptom)")
    assert text == "knee still swole up but no fever"
    assert [(span.label, text[span.start : span.end]) for span in spans] == [
        (SpanLabel.SITE, "knee"),
        (SpanLabel.SYMPTOM, "swole up"),
        (SpanLabel.NEGATION, "no"),
        (SpanLabel.SYMPTOM, "fever"),
    ]


@pytest.mark.parametrize("marked", ["[knee](sight)", "[[knee](site) pain](symptom)", "[knee (site)", "[ knee](site)", "[](site)"])
def test_wrong_markup_is_refused_with_its_remedy(marked: str) -> None:
    with pytest.raises(MarkupInvalid, match=r"use one of|move the space|without nesting"):
        read_markup(marked)


def test_every_broken_entry_is_named_with_file_entry_and_field(tmp_path: Path) -> None:
    path = _voice(tmp_path, "gran", _entry(), _entry(acuity="soonish"), _entry("[ow](pain)"), {"text": "x", "intents": [], "acuity": "routine"})
    with pytest.raises(CorpusInvalid) as caught:
        read_voice(path)
    problems = caught.value.problems
    assert len(problems) == 3
    assert problems[0].startswith("gran.yaml: message 2: field acuity")
    assert problems[1].startswith("gran.yaml: message 3: field text")
    assert problems[2].startswith("gran.yaml: message 4: field intents")


def test_a_held_out_voice_without_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "voices").mkdir()
    _voice(tmp_path / "voices", "gran", _entry())
    (tmp_path / "splits.yaml").write_text("validation: [gran]\ntest: [nobody]\n", encoding="utf-8")
    with pytest.raises(CorpusInvalid, match="'nobody' has no file"):
        read_corpus(tmp_path)


def test_the_shipped_corpus_is_whole_and_no_voice_is_in_two_splits() -> None:
    corpus = read_corpus()
    voices = [{example.voice for example in part} for part in (corpus.train, corpus.validation, corpus.test)]
    assert not voices[0] & voices[1] and not voices[0] & voices[2] and not voices[1] & voices[2]
    assert len({example.text for part in (corpus.train, corpus.validation, corpus.test) for example in part}) >= 3_000
    assert len(set.union(*voices)) >= 20
    assert {intent for example in corpus.train for intent in example.intents} == set(Intent)
    assert {example.acuity for example in corpus.test} == set(Acuity)


def test_no_message_of_five_words_or_more_is_nearly_one_of_another_split() -> None:
    corpus = read_corpus()
    for one, other in combinations((corpus.train, corpus.validation, corpus.test), 2):
        held_out = [words_of(example.text) for example in other]
        near = [text for text in {words_of(example.text) for example in one} if len(text.split()) >= 5 and _is_near(text, held_out)]
        assert not near


def _is_near(text: str, others: list[str]) -> bool:
    return process.extractOne(text, others, scorer=fuzz.ratio, score_cutoff=88) is not None


def test_a_second_reader_agrees_with_the_labels() -> None:
    found = agreement(read_corpus())
    assert found is not None and found.messages >= 150
    assert found.same_intents >= 0.9 and found.acuity_kappa >= 0.8
    assert found.span_f1 >= 0.85 and found.span_overlap_f1 >= 0.95


def _all_chances(chance: float) -> Augmentation:
    return Augmentation.model_validate(dict.fromkeys(Augmentation.model_fields, chance))


def test_augmentation_keeps_every_span_inside_its_text() -> None:
    corpus = read_corpus()
    augmenter = Augmenter(corpus.train, _all_chances(1), read_templates(), random.Random(5))
    for example in corpus.train[::4]:
        changed: Example = augmenter.changed(example)
        own = changed.spans[len(changed.spans) - len(example.spans) :]
        assert [(span.label, span.status) for span in own] == [(span.label, span.status) for span in example.spans]
        assert all(0 <= span.start < span.end <= len(changed.text) for span in changed.spans)
        assert all(one.end <= other.start for one, other in pairwise(changed.spans))


def test_exchanged_words_leave_no_acuity_to_train_on_and_no_chance_changes_nothing() -> None:
    corpus, templates = read_corpus(), read_templates()
    exchange = Augmenter(corpus.train, _all_chances(0).model_copy(update={"exchange": 1.0}), templates, random.Random(6))
    reports = [example for example in corpus.train if [span.label for span in example.spans] == [SpanLabel.SYMPTOM]]
    changed = [exchange.changed(example) for example in reports]
    assert sum(one.text != other.text for one, other in zip(reports, changed, strict=True)) > len(reports) / 2
    assert not any(Task.ACUITY in example.known for example in changed)
    still = Augmenter(corpus.train, _all_chances(0), templates, random.Random(6))
    assert sorted(example.text for example in still.epoch()) == sorted(example.text for example in corpus.train)


@pytest.mark.parametrize("raw", ["", "ch\u200best pa\u200bin", "\ufb01ne \u202ethanks", "👍🏽 ok", "e\u0301 bien", "ＦＥＶＥＲ", "a\x00b", "\ud800x", "१०१"])
def test_prepared_text_leads_back_into_the_original(raw: str) -> None:
    prepared = prepare(raw)
    prepared.text.encode()
    assert len(prepared.text) == len(prepared.starts) == len(prepared.ends)
    for at in range(len(prepared.text)):
        start, end = prepared.original(at, at + 1)
        assert 0 <= start < end <= len(raw)


def test_hidden_characters_do_not_hide_words() -> None:
    assert prepare("ch\u200best pa\u200bin").text == "chest pain"
    assert "thumbs up" in prepare("👍🏽").text
    assert without_surrogates("a\ud800b") == "a\ufffdb"
