"""A metric over the arms as inline SVG: a dot a seed, the mean, its interval; colours are the page's."""

import math
from dataclasses import dataclass
from html import escape

from hallucade.evaluation.seed_statistics import Mean

WIDTH, ROW, LEFT, RIGHT, TOP, BOTTOM = 460, 26, 150, 16, 8, 34
TICKS = 5


@dataclass(frozen=True)
class Row:
    """One arm."""

    label: str
    values: tuple[float, ...]  # one a seed
    mean: Mean


def interval_chart(title: str, rows: tuple[Row, ...], goal: float | None = None) -> str:
    """Return an ``<svg>``; an interval that leaves the range of all seeds by far is cut at the edge."""
    scale = _Scale.around(rows, goal)
    height = TOP + ROW * len(rows) + BOTTOM
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">']
    base = height - BOTTOM
    for tick in scale.ticks():
        x = scale.at(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{base}"/>')
        parts.append(f'<text x="{x:.1f}" y="{base + 16}" text-anchor="middle">{tick:g}</text>')
    if goal is not None:
        parts.append(
            f'<line class="target" x1="{scale.at(goal):.1f}" x2="{scale.at(goal):.1f}" y1="{TOP}" y2="{base}"/>'
        )
    for index, row in enumerate(rows):
        parts += _row(row, TOP + ROW * index + ROW / 2, scale)
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True)
class _Scale:
    """Maps values to pixels."""

    low: float
    high: float

    @classmethod
    def around(cls, rows: tuple[Row, ...], goal: float | None) -> "_Scale":
        """Hold every seed, and the intervals as far as they are no wider than the seeds of all arms."""
        values = [value for row in rows for value in row.values] + ([] if goal is None else [goal])
        least, most = min(values), max(values)
        room = (most - least) or abs(most) or 1.0
        halves = [(row.mean.value, min(row.mean.half or 0.0, room / 2)) for row in rows]
        least, most = min(least, *(v - h for v, h in halves)), max(most, *(v + h for v, h in halves))
        return cls(least - 0.03 * room, most + 0.03 * room)

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT)

    def ticks(self) -> list[float]:
        """Return about `TICKS` round values."""
        raw = (self.high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= raw * 0.999)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [round(step * i, 12) for i in range(first, last + 1)]


def _row(row: Row, y: float, scale: _Scale) -> list[str]:
    parts = [f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(row.label)}</text>']
    if row.mean.half is not None:
        x1, x2 = (scale.at(row.mean.value + sign * row.mean.half) for sign in (-1, 1))
        parts.append(f'<line class="curve c0" x1="{x1:.1f}" x2="{x2:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
    x = scale.at(row.mean.value)
    parts.append(f'<line class="curve c0" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 7:.1f}" y2="{y + 7:.1f}"/>')
    dots = (f'<circle class="curve c3" cx="{scale.at(v):.1f}" cy="{y:.1f}" r="2.5"/>' for v in row.values)
    return [*parts, *dots]
