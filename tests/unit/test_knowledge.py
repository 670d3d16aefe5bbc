"""Clinical knowledge is complete, plain, consistent, and refused where it is broken."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import textstat
import yaml

import care.knowledge
from care.acuity import Acuity
from care.answers import is_skip, read_answer
from care.knowledge import KnowledgeInvalid, knowledge, load
from care.knowledge.model import Advice, Clarifier, Protocol, Question, QuestionKind
from care.messages.sms_text import segments
from care.redflags import check
from care.triage.model import PatientContext

KNOWN = knowledge()
PROTOCOLS = [
    "abdominal_surgery",
    "anticoagulant",
    "caesarean_birth",
    "cardiac_surgery",
    "chemotherapy",
    "child_asthma",
    "copd",
    "diabetes",
    "heart_failure",
    "hip_replacement",
    "hypertension",
    "knee_replacement",
    "pneumonia",
    "stroke",
    "vaginal_birth",
]
_NEVER_SAID = re.compile(
    r"\b\d+ ?(?:mg|mcg|ml)\b|\byou (?:probably )?have an? \w+ (?:infection|clot|disease)|\bnothing to worry|\bdon'?t worry"
    r"|\b(?:double|increase|raise|lower|halve|reduce) (?:your|the) dose|\bdoctors? (?:is|are) wrong",
    re.IGNORECASE,
)

_DIGITS = re.compile(r"\d+(?:[.,-]\d+)*")
_COUNTS = {
    "two": 2, "twice": 2, "three": 3, "four": 4, "five": 5, "six": 6, "ten": 10, "twelve": 12,
    "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "diez": 10, "doce": 12,
    "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "十": 10, "十二": 12,
}  # fmt: skip
_COUNTED = re.compile(r"[a-záéíóúñü]+|十二|[二两三四五六十]")
_ENGLISH = re.compile(
    r"\b(?:the|and|or|of|to|you|your|is|are|it|if|not|with|for|from|this|that|when|while|until|us|we|do|at|on|in|take|call|tell|day|days|week|weeks)\b",
    re.IGNORECASE,
)
_HAN = re.compile(r"[\u4e00-\u9fff]")


def numbers_in(text: str) -> tuple[list[str], list[int]]:
    """The numbers of a statement, those in digits and those in words; a quarter and a half are no count."""
    words = _COUNTED.findall(text.lower().replace("四分之一", ""))
    return sorted(_DIGITS.findall(text)), sorted(_COUNTS[word] for word in words if word in _COUNTS)


def named(entry: Question | Advice | Protocol | Clarifier) -> str:
    return entry.id


def test_the_protocols_and_enough_advice_are_there() -> None:
    assert set(PROTOCOLS) <= set(KNOWN.protocols)
    assert len(KNOWN.advice) >= 200


@pytest.mark.parametrize("advice", KNOWN.advice.values(), ids=named)
def test_advice_is_short_plain_and_within_its_bounds(advice: Advice) -> None:
    assert len(advice.text) <= 300
    assert textstat.flesch_kincaid_grade(advice.text) <= 6
    assert not _NEVER_SAID.search(advice.text)
    assert advice.topics


@pytest.mark.parametrize("advice", KNOWN.advice.values(), ids=named)
def test_advice_is_said_in_every_language_with_the_same_numbers(advice: Advice) -> None:
    assert set(advice.translations) == {"es", "zh"}
    spanish, chinese = advice.said("es"), advice.said("zh")
    assert numbers_in(spanish) == numbers_in(advice.text) == numbers_in(chinese)
    assert not _ENGLISH.search(spanish)
    assert not _HAN.search(spanish)
    assert _HAN.search(chinese)


@pytest.mark.parametrize("advice", KNOWN.advice.values(), ids=named)
def test_advice_is_never_both_for_a_thing_and_barred_from_it(advice: Advice) -> None:
    barred = set(advice.not_for)
    assert ("emergency" in barred) != (Acuity.EMERGENCY in advice.acuities)
    assert not barred.intersection(advice.symptoms)
    assert not barred.intersection(advice.protocols)
    assert barred <= {"emergency", *KNOWN.symptoms, *KNOWN.protocols}


@pytest.mark.parametrize("protocol", KNOWN.protocols.values(), ids=named)
def test_a_protocol_follows_the_patient_for_a_month(protocol: Protocol) -> None:
    assert protocol.days[0] in (1, 2)
    assert protocol.days[-1] >= 28
    assert all(len(set(day.questions)) == len(day.questions) <= 5 for day in protocol.schedule)
    assert all(0 <= first <= last for first, last in protocol.expected.values())
    assert len(protocol.advice) >= 10
    assert all(not KNOWN.advice[each].protocols or protocol.id in KNOWN.advice[each].protocols for each in protocol.advice)
    assert not any(protocol.id in KNOWN.advice[each].not_for for each in protocol.advice)


def test_every_question_is_asked_by_some_protocol() -> None:
    asked = {question for protocol in KNOWN.protocols.values() for day in protocol.schedule for question in day.questions}
    assert set(KNOWN.questions) == asked | {"appointment_confirm"}


@pytest.mark.parametrize("question", KNOWN.questions.values(), ids=named)
def test_a_question_fits_in_two_segments_in_each_language(question: Question) -> None:
    assert len(question.text["en"]) <= 150
    assert len(question.text["es"]) <= 130
    assert segments(question.text["en"]).segments == 1
    assert segments(question.text["es"]).segments <= 2


@pytest.mark.parametrize("question", KNOWN.questions.values(), ids=named)
def test_every_button_and_every_word_of_a_choice_is_read_as_meant(question: Question) -> None:
    for button in question.buttons:
        assert set(button.label) == {"en", "es", "zh"} or re.fullmatch(r"[\d-]+", button.label["en"])
        assert is_skip(button.text) or read_answer(question, button.text) is not None
    for choice in question.choices:
        for word in choice.words + choice.alone:
            answer = read_answer(question, word)
            assert answer is not None
            assert (word, answer.value) == (word, choice.value)


@pytest.mark.parametrize("question", [each for each in KNOWN.questions.values() if each.kind is QuestionKind.MEASURE], ids=named)
def test_the_bounds_of_a_measure_hold_its_thresholds(question: Question) -> None:
    low, high = question.minimum or 0.0, question.maximum or 0.0
    for threshold in question.thresholds:
        edge = threshold.at_least if threshold.at_least is not None else threshold.at_most
        if edge is not None:
            crossed = question.crossed(edge)
            assert low < edge < high
            assert crossed is not None
            assert crossed.acuity.rank >= threshold.acuity.rank


@pytest.mark.parametrize("clarifier", KNOWN.clarifiers.values(), ids=named)
def test_a_yes_to_a_clarifier_raises_the_acuity_as_it_says(clarifier: Clarifier) -> None:
    hits = check(clarifier.finding, PatientContext(protocol="abdominal_surgery", day=5))
    assert max((hit.acuity.rank for hit in hits), default=-1) >= clarifier.raises_to.rank
    assert all(segments(text).segments <= 2 for text in clarifier.text.values())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "knowledge"
    shutil.copytree(Path(care.knowledge.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    return copy


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("questions/general.yaml", "  kind: scale\n", "", ["general.yaml", "line 2", "pain_score", "field kind", "add it"]),
        ("questions/general.yaml", "kind: scale", "kind: scales", ["general.yaml", "line 3", "pain_score", "field kind", "use one of these", "'scale'"]),
        ("questions/general.yaml", "minimum: 0\n", "minimum: 20\n", ["general.yaml", "line 2", "pain_score", "field minimum", "give both"]),
        ("questions/heart.yaml", "{gain: 0.9, ", "{gain: 0.9, at_most: 3, ", ["heart.yaml", "line ", "weight", "thresholds.0", "exactly one of"]),
        (
            "questions/birth.yaml",
            "equals: open",
            "equals: opne",
            ["birth.yaml", "birth_wound", "field thresholds", "'opne'", "use one of clean, draining, open, red"],
        ),
        ("questions/lungs.yaml", "decimals:", "decimal:", ["lungs.yaml", "oxygen_copd", "field decimal", "remove it or correct its spelling"]),
        ("advice/recovery.yaml", 'text: "Put', f'text: "{"very " * 60}', ["recovery.yaml", "line 3", "ice_knee", "field text", "shorten it"]),
        ("protocols/copd.yaml", "stop: {day: 30", "stop: {day: 3", ["copd.yaml", "entry copd", "field stop: day 3 comes before the last check-in"]),
        ("protocols/copd.yaml", "[breath_change", "[breath_chnge", ["copd.yaml", "field schedule", "'breath_chnge'", "no question"]),
        ("protocols/copd.yaml", "pursed_lips", "pursd_lips", ["copd.yaml", "field advice", "'pursd_lips'", "no advice"]),
        ("protocols/copd.yaml", "chest_pain", "chest_pane", ["copd.yaml", "field red_flags", "'chest_pane'", "no rule"]),
        ("protocols/copd.yaml", "  cough:", "  coff:", ["copd.yaml", "field expected", "'coff'", "no symptom"]),
        ("protocols/copd.yaml", "schedule:", "schedule: [", ["copd.yaml", "not YAML", "line"]),
        (
            "advice/recovery.yaml",
            "[knee_replacement,",
            "[knee_replacment,",
            ["advice/recovery.yaml", "line ", "ice_knee", "field protocols", "'knee_replacment'", "no protocol"],
        ),
        ("wishes.yaml", "stop_whole:", "stop_hole:", ["wishes.yaml", "stop_whole", "add it"]),
        ("wishes.yaml", "asks: '^(?:", "asks: '^((?:", ["wishes.yaml", "asks", "no regular expression"]),
        ("advice/recovery.yaml", "not_for: [", "not_for: [feaver, ", ["advice/recovery.yaml", "line ", "field not_for", "'feaver'", "correct its spelling"]),
        ("protocols/copd.yaml", "cough: [0, 30]", "cough: [60]", ["protocols/copd.yaml", "line 21", "entry copd", "field expected.cough"]),
        ("protocols/copd.yaml", "cough: [0, 30]", "cough: [60, 0]", ["protocols/copd.yaml", "line 21", "field expected.cough", "the first day"]),
        ("protocols/copd.yaml", "chest_pain,", "chest_pane,", ["protocols/copd.yaml", "line 31", "entry copd", "field red_flags", "'chest_pane'"]),
        ("protocols/copd.yaml", "name: COPD", "name: COPD\nname: copd", ["protocols/copd.yaml", "line 4", "'name' stands twice", "remove one"]),
        (
            "complications/birth.yaml",
            "caesarean_birth: [0, 84]",
            "caesarean_birth: [84, 0]",
            ["birth.yaml", "line 22", "protocols.caesarean_birth", "first day"],
        ),
        ("complications/birth.yaml", "dizziness:", "dizzyness:", ["complications/birth.yaml", "line 11", "field symptoms", "'dizzyness'", "no symptom"]),
        (
            "redflags/bleeding.yaml",
            '- "{blood} ~ {much}"',
            '- "{blod} ~ {much}"',
            ["redflags/bleeding.yaml", "line 6", "heavy_bleeding", "field when", "add it"],
        ),
        ("redflags/bleeding.yaml", "@anticoagulant @stroke", "@anticoagulant @strok", ["redflags/bleeding.yaml", "thinner_bleeding", "'strok'", "no protocol"]),
        ("redflags/bleeding.yaml", '["(sweat*', '["a & b", "(sweat*', ["redflags/bleeding.yaml", "line ", "heavy_bleeding", "field unless", "write one"]),
        ("words.yaml", "head: [head,", "head: [5, head,", ["words.yaml", "line ", "field head.0", "write it as text, in quotes"]),
        ("words.yaml", "head: [head,", "5: [head,", ["words.yaml", "line ", "field 5", "write it as text, in quotes"]),
        ("words.yaml", "head: [head,", 'head: ["(head",', ["words.yaml", "line ", "field head", "not closed", "add the ')'"]),
        ("scope.yaml", "idioms:", "idiom:", ["scope.yaml", "line ", "field idioms", "missing", "add the list"]),
        ("spelling.yaml", "chst: chest", "chst: [chest]", ["spelling.yaml", "line 3", "field chst", "write it as text"]),
        ("spelling.yaml", "chst: chest", "chst: on", ["spelling.yaml", "line 3", "field chst", "write it as text, in quotes"]),
        ("guard.yaml", "words: [a,", "wordz: [a,", ["guard.yaml", "line ", "entry fillers_en", "field words", "add it"]),
        ("texts.yaml", "en:", "english:", ["texts.yaml", "line ", "field en", "English words"]),
    ],
)
def test_a_broken_file_is_refused_with_file_entry_field_and_remedy(folder: Path, file: str, old: str, new: str, told: list[str]) -> None:
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(KnowledgeInvalid) as caught:
        load(folder)
    assert [part for part in told if part not in str(caught.value)] == []


@pytest.mark.parametrize("file", ["words.yaml", "texts.yaml", "scope.yaml", "spelling.yaml"])
def test_a_list_where_names_are_wanted_is_refused(folder: Path, file: str) -> None:
    (folder / file).write_text("- one\n- two\n", encoding="utf-8")
    with pytest.raises(KnowledgeInvalid, match=rf"^{file}: line 1: .*(?:dictionary|English)"):
        load(folder)


@pytest.mark.parametrize("content", [b"id: caf\xe9\n", b"id: \x00\n", b"version: 2026-13-40\n", b"[" * 5_000, b""])
def test_what_is_no_yaml_at_all_is_refused_in_one_line(folder: Path, content: bytes) -> None:
    (folder / "guard.yaml").write_bytes(b"\n" + content)
    with pytest.raises(KnowledgeInvalid, match=r"^guard.yaml: line \d+: "):
        load(folder)


def test_every_class_of_words_is_named_by_something() -> None:
    folder = Path(care.knowledge.__file__).parent
    files = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.yaml"))
    assert [name for name in yaml.safe_load((folder / "words.yaml").read_text(encoding="utf-8")) if f"{{{name}}}" not in files] == []


def test_a_missing_file_is_refused(folder: Path) -> None:
    (folder / "guard.yaml").unlink()
    with pytest.raises(KnowledgeInvalid, match=r"^guard\.yaml: no such file; restore it"):
        load(folder)


def test_a_broken_file_stops_the_build() -> None:
    root = Path(care.knowledge.__file__).parents[2]
    assert "python -m care.knowledge" in (root / "deploy/Dockerfile").read_text(encoding="utf-8")
    assert "python -m care.knowledge" in (root / "Makefile").read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-m", "care.knowledge"], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_documents_say_whether_a_clinician_has_approved_the_content() -> None:
    reviewed = (*KNOWN.red_flags.values(), *KNOWN.advice.values(), *KNOWN.questions.values(), *KNOWN.protocols.values(), *KNOWN.symptoms.values())
    said = "`reviewer` is null in every entry" in (Path(care.knowledge.__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert said == all(each.reviewer is None for each in reviewed)


def test_the_same_files_have_the_same_version(folder: Path) -> None:
    assert load(folder).version == load(folder).version
