"""The report of a simulation: a page with its plots, and the same as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape

from aftercare.simulate.account import Account, Day, Outage

_SERIES = {
    "messages": "Messages handed to Twilio",
    "begun": "Contacts begun",
    "answered": "Contacts answered to the end",
    "late": "Begun more than two hours after they were due",
    "skipped": "Contacts skipped, with their reason",
    "escalated": "Escalations",
}
_WIDTH, _HEIGHT = 640, 120


@dataclass(frozen=True)
class Bar:
    """A day's bar, in the plot's units."""

    x: float
    y: float
    width: float
    height: float
    told: str


@dataclass(frozen=True)
class Plot:
    """A series by day."""

    title: str
    highest: int
    bars: list[Bar]


def write_report(judged: Account, outages: list[Outage], out: Path) -> None:
    """Writes `report.json` and `report.html` into the folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(judged.model_dump_json(indent=1), encoding="utf-8")
    pages = Environment(loader=PackageLoader("aftercare.simulate"), autoescape=select_autoescape())
    plots = [_plot(title, [(day, int(getattr(day, name))) for day in judged.days]) for name, title in _SERIES.items()]
    page = pages.get_template("report.html").render(account=judged, outages=outages, plots=plots, width=_WIDTH, height=_HEIGHT)
    (out / "report.html").write_text(page, encoding="utf-8")


def _plot(title: str, values: list[tuple[Day, int]]) -> Plot:
    highest = max(1, *(value for _, value in values))
    wide = _WIDTH / len(values)
    bars = [
        Bar(place * wide + 1, _HEIGHT - value / highest * _HEIGHT, wide - 2, value / highest * _HEIGHT, f"day {day.day}: {value}")
        for place, (day, value) in enumerate(values)
    ]
    return Plot(title, highest, bars)
