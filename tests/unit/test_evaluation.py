"""What is measured is counted rightly, shown in full, and a wrong file is refused with its line and field."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aftercare.evaluation.cases import Case, CasesInvalid, read_cases
from aftercare.evaluation.figures import Judged, SpanFigures, measure
from aftercare.evaluation.report import Report, page, rows_of, write
from care.acuity import Acuity
from care.understanding import Intent, Span, SpanLabel, SymptomStatus, Understanding
from nlu.corpus import Example, LabelledSpan
from nlu.scores import score


def written(folder: Path, *rows: dict[str, object]) -> Path:
    path = folder / "cases.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return path


def judged(case: Case, called: Acuity, confidence: float = 0.9, *intents: Intent) -> Judged:
    return Judged(case, called, called, confidence, intents)


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    rows = [
        {"id": 1, "text": "crushing chest pain", "label": "emergency", "age": 70, "sex": "male", "protocol": "stroke"},
        {"id": 2, "text": "a cough for weeks", "label": "non_emergency", "age": 30, "sex": "female"},
        {"id": 3, "text": "slept well", "label": "self_care", "age": 9},
        {"id": 4, "text": "<b>what is the dow</b>", "label": "out_of_scope"},
        {"id": 5, "text": "thank you", "label": "thanks"},
    ]
    return read_cases(written(tmp_path, *rows))[0]


def test_each_figure_is_the_share_it_says(cases: list[Case]) -> None:
    figures = measure(
        [
            judged(cases[0], Acuity.URGENT, 0.8),
            judged(cases[1], Acuity.ROUTINE, 0.8),
            judged(cases[2], Acuity.EMERGENCY, 0.6),
            judged(cases[3], Acuity.SELF_CARE, 1.0),
            judged(cases[4], Acuity.SELF_CARE, 1.0, Intent.OUT_OF_SCOPE, Intent.THANKS),
        ]
    )
    acuity, scope = figures.acuity, figures.scope
    assert acuity is not None
    assert (acuity.messages, acuity.accuracy, acuity.sensitivity, acuity.at_least_urgent) == (3, pytest.approx(1 / 3), 0.0, 1.0)
    assert (acuity.false_alarms, acuity.over_called, acuity.under_called) == (0.5, 1.0, 0.0)
    assert acuity.ece == pytest.approx((2 * abs(0.8 - 0.5) + 0.6) / 3)
    assert scope is not None
    assert (scope.rejected, scope.falsely_rejected, scope.taken_for_out_of_scope, scope.not_sure) == (1.0, 1.0, 1.0, 0.5)
    assert figures.intents["thanks"].recall == 1.0
    assert figures.intents["out_of_scope"].f1 == 0.0
    assert figures.confusion["non_emergency"] == {"routine": 1}
    assert set(figures.groups["age"]) == {"65 to 79", "18 to 39", "under 18"}
    assert figures.groups["protocol"]["stroke"].sensitivity == 0.0
    assert [each.id for each in figures.missed] == ["1"]


def test_small_talk_that_is_taken_for_a_symptom_report_is_counted(tmp_path: Path) -> None:
    rows = [
        {"id": number, "text": text, "label": label} for number, (text, label) in enumerate([("hi", "greet"), ("cheers", "thanks"), ("ow", "report_symptom")])
    ]
    talk = read_cases(written(tmp_path, *rows))[0]
    answers = ((Intent.GREET,), (Intent.THANKS, Intent.REPORT_SYMPTOM), (Intent.REPORT_SYMPTOM,))
    figures = measure([judged(case, Acuity.SELF_CARE, 1.0, *intents) for case, intents in zip(talk, answers, strict=True)])
    assert figures.scope is not None
    assert (figures.scope.no_report, figures.scope.not_taken_for_report) == (2, 0.5)
    assert ("no symptom report, not taken for one", 0.5) in rows_of(figures)


def test_the_level_called_and_the_most_probable_one_are_told_apart(cases: list[Case]) -> None:
    leaning = measure([Judged(cases[0], Acuity.EMERGENCY, Acuity.URGENT, 0.8), Judged(cases[2], Acuity.SELF_CARE, Acuity.SELF_CARE, 0.8)])
    told = dict(rows_of(leaning))
    assert (told["acuity right, as called"], told["acuity right, most probable level"]) == (1.0, 0.5)
    assert leaning.acuity is not None and leaning.acuity.ece == pytest.approx(abs(0.8 - 0.5))
    decided = measure([Judged(cases[0], Acuity.URGENT, None, 0.8)])
    assert "acuity right, most probable level" not in dict(rows_of(decided))
    assert decided.acuity is not None and decided.acuity.ece == pytest.approx(0.8)


def test_whose_and_when_a_symptom_is_and_each_kind_of_span_are_reported() -> None:
    text = "no fever, knee sore"
    fever, knee, sore = (text.index(word) for word in ("fever", "knee", "sore"))
    labelled = (
        LabelledSpan(SpanLabel.NEGATION, 0, 2),
        LabelledSpan(SpanLabel.SYMPTOM, fever, fever + 5, SymptomStatus.DENIED),
        LabelledSpan(SpanLabel.SITE, knee, knee + 4),
        LabelledSpan(SpanLabel.SYMPTOM, sore, sore + 4, SymptomStatus.PRESENT),
    )
    example = Example("v", text, (Intent.REPORT_SYMPTOM,), Acuity.SELF_CARE, labelled)
    found = [(SpanLabel.NEGATION, 0, 2, None), *((SpanLabel.SYMPTOM, at, at + size, SymptomStatus.PRESENT) for at, size in ((fever, 5), (sore, 4)))]
    spans = [Span(label=label, text=text[start:end], start=start, end=end, confidence=1.0, status=status) for label, start, end, status in found]
    answer = Understanding(text=text, intents=[], spans=spans, acuity={Acuity.SELF_CARE: 1.0}, version="e")
    figures = measure([], SpanFigures.of(score([example], [answer])))
    told = dict(rows_of(figures))
    assert (told["symptoms found, whose and when right"], told["symptoms found, denied: F1"]) == (0.5, 0.0)
    assert figures.spans is not None and figures.spans.by_label["negation"] == 1.0
    assert "negation" in page(Report(title="Understanding", source="one", messages=1, left_out=0, versions={}, figures=figures))


def test_the_page_holds_every_missed_emergency_and_runs_nothing_that_a_text_says(cases: list[Case], tmp_path: Path) -> None:
    case = Case("9", "<script>alert(1)</script>", frozenset({Acuity.EMERGENCY}), "emergency", frozenset(), cases[0].context)
    report = Report(title="Triage", source="cases", messages=1, left_out=0, versions={}, figures=measure([judged(case, Acuity.ROUTINE)]))
    assert "&lt;script&gt;alert(1)" in page(report)
    assert "<script" not in page(report)
    write(report, tmp_path / "out/report.json", tmp_path / "out/report.html")
    assert Report.model_validate_json((tmp_path / "out/report.json").read_text()) == report


def test_what_has_no_label_that_is_measured_is_counted_as_left_out(tmp_path: Path) -> None:
    path = written(tmp_path, {"id": "a", "text": "x", "label": "timezone"}, {"id": "b", "text": "y", "label": "greet"})
    cases, left_out = read_cases(path)
    assert ([case.id for case in cases], left_out) == (["b"], 1)
    assert len(read_cases(path, "report_symptom")[0]) == 2


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('{"id": "a"}', "line 1: text"),
        ("not json", "line 1"),
        ('{"id": "a", "text": "x", "label": "greet", "sex": "?"}', "sex"),
        ('{"id": "a", "text": "x", "label": "nothing"}', "no line"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line_and_field(tmp_path: Path, line: str, named: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(CasesInvalid, match=named):
        read_cases(path)
