"""A report on measured answers: a table for the terminal, JSON, and a page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from aftercare.evaluation.figures import AcuityFigures, Bin, Figures

_SIDE = 240
_ACUITY_ROWS = {
    "accuracy": "acuity right, as called",
    "probable_accuracy": "acuity right, most probable level",
    "sensitivity": "emergencies called emergency",
    "at_least_urgent": "emergencies called urgent or more",
    "false_alarms": "others called emergency",
    "over_called": "needing nobody today, called urgent or more",
    "under_called": "needing somebody today, called less",
    "ece": "calibration error",
}


class Report(BaseModel):
    """What was measured, on what, with which versions."""

    title: str
    source: str
    messages: int
    left_out: int
    versions: dict[str, str]
    figures: Figures


@dataclass(frozen=True)
class Point:
    """A bin of the calibration curve in the picture: how sure, how often right, and how many answers."""

    x: float
    y: float
    radius: float
    told: str


def rows_of(figures: Figures) -> list[tuple[str, float | None]]:
    """The figures that lead the report, in its order."""
    rows: list[tuple[str, float | None]] = []
    if figures.intents:
        rows += [("intent macro-F1", figures.intent_macro_f1), ("intent micro-F1", figures.intent_micro_f1)]
    if figures.spans is not None:
        rows += [("span F1, exact borders", figures.spans.exact_f1), ("span F1, overlapping", figures.spans.overlap_f1)]
        rows += [("symptoms found, whose and when right", figures.spans.status_accuracy)]
        rows += [(f"symptoms found, {status}: F1", value) for status, value in figures.spans.statuses.items()]
    if figures.acuity is not None:
        shown = {field: name for field, name in _ACUITY_ROWS.items() if field != "probable_accuracy" or figures.acuity.probable_accuracy is not None}
        rows += [(name, getattr(figures.acuity, field)) for field, name in shown.items()]
    if figures.scope is not None:
        rows += [
            ("out of scope, rejected", figures.scope.rejected),
            ("in scope, rejected", figures.scope.falsely_rejected),
            ("in scope, taken for out of scope", figures.scope.taken_for_out_of_scope),
            ("no symptom report, not taken for one", figures.scope.not_taken_for_report),
            ("answered not sure", figures.scope.not_sure),
        ]
    return rows


def show(report: Report, console: Console) -> None:
    """Prints the leading figures, those by group, and the emergencies missed by their id."""
    table = Table("figure", "value", title=f"{report.title}: {report.messages} messages, {report.left_out} left out", title_justify="left")
    for name, value in rows_of(report.figures):
        table.add_row(name, _share(value))
    console.print(table)
    if report.figures.spans is not None and report.figures.spans.by_label:
        labels = Table("span", "F1, exact borders")
        for label, value in report.figures.spans.by_label.items():
            labels.add_row(label, _share(value))
        console.print(labels)
    for kind, by_name in report.figures.groups.items():
        groups = Table(kind, "messages", "acuity right, as called", "emergencies", "found", "others called emergency")
        for name, each in by_name.items():
            groups.add_row(name, str(each.messages), _share(each.accuracy), str(each.emergencies), _share(each.sensitivity), _share(each.false_alarms))
        console.print(groups)
    missed = report.figures.missed
    console.print(f"{len(missed)} emergencies missed{': ' if missed else ''}{', '.join(f'{each.id} ({each.called.value})' for each in missed)}")


def write(report: Report, json_out: Path | None, html_out: Path | None) -> None:
    """Writes the report where it is wanted; the files hold the texts of missed emergencies."""
    if json_out is not None:
        json_out.parent.mkdir(parents=True, exist_ok=True)
        json_out.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    if html_out is not None:
        html_out.parent.mkdir(parents=True, exist_ok=True)
        html_out.write_text(page(report), encoding="utf-8")


def page(report: Report) -> str:
    """The report as an HTML page."""
    pages = Environment(loader=PackageLoader("aftercare.evaluation"), autoescape=select_autoescape())
    pages.filters["share"] = _share
    figures = report.figures
    return pages.get_template("report.html").render(
        report=report,
        figures=figures,
        rows=rows_of(figures),
        acuities=_matrix(figures.confusion, list(figures.confusion)),
        intents=_matrix(figures.intent_confusion, list(figures.intent_confusion)),
        points=_points(figures.calibration),
        side=_SIDE,
        columns=list(AcuityFigures.model_fields),
    )


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: rows are what is right, columns what was answered; each cell with its share of the row."""

    columns: list[str]
    rows: list[tuple[str, list[tuple[int, float]]]]


def _matrix(counts: dict[str, dict[str, int]], order: list[str]) -> Matrix:
    columns = [*order, *sorted({name for answered in counts.values() for name in answered} - set(order))]
    rows = []
    for wanted, answered in counts.items():
        total = sum(answered.values())
        rows.append((wanted, [(answered.get(name, 0), answered.get(name, 0) / total) for name in columns]))
    return Matrix(columns, rows)


def _points(bins: list[Bin]) -> list[Point]:
    most = max((each.answers for each in bins), default=1)
    return [
        Point(
            each.confidence * _SIDE,
            _SIDE - each.right * _SIDE,
            3 + 9 * (each.answers / most) ** 0.5,
            f"{each.answers} answers, {each.confidence:.2f} sure, {each.right:.2f} right",
        )
        for each in bins
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
