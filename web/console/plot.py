"""A patient's numeric answers over time, as an SVG drawn on the server."""

from __future__ import annotations

from dataclasses import dataclass

from care.escalations.board import AnswerPoint

WIDTH, HEIGHT, MARGIN = 320, 120, 24


@dataclass(frozen=True)
class Plot:
    """The question, the line's points in the picture, and the range shown."""

    question: str
    points: list[tuple[float, float, str]]
    low: float
    high: float

    @property
    def path(self) -> str:
        """The points as SVG reads them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in self.points)


def plot(question: str, series: list[AnswerPoint]) -> Plot:
    """Lays the answers of a question out from left (first) to right (last)."""
    low, high = min(point.value for point in series), max(point.value for point in series)
    start, end = series[0].at, series[-1].at
    span_s, span = (end - start).total_seconds() or 1, (high - low) or 1
    points = [
        (
            MARGIN + (point.at - start).total_seconds() / span_s * (WIDTH - 2 * MARGIN),
            HEIGHT - MARGIN - (point.value - low) / span * (HEIGHT - 2 * MARGIN),
            f"{point.value:g} on {point.at:%b %d %H:%M}",
        )
        for point in series
    ]
    return Plot(question, points, low, high)
