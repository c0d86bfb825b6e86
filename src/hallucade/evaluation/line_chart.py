"""Line charts as inline SVG: no script, no font, no picture from elsewhere; colours come from the page's style."""

import math
from dataclasses import dataclass
from html import escape

from hallucade.evaluation.result import Curve, Plot

WIDTH, HEIGHT = 460, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 40  # margins around the plotted area
FLOOR = 0.01  # smallest value that a logarithmic axis shows
TICKS = 6
STYLES = 6  # line styles that the page defines, `.c0` to `.c5`


def line_chart(plot: Plot) -> str:
    """Return an ``<svg>`` with axes, grid, curves and their names; curves without points are left out."""
    curves = tuple(curve for curve in plot.curves if curve.x)
    if not curves:
        return '<p class="quiet">Nothing was measured.</p>'
    frame = _Frame.around(plot, curves)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(plot.title)}">',
        *_axis_x(frame, plot.x_label),
        *_axis_y(frame, plot.y_label),
    ]
    if plot.target is not None:
        y = frame.at_y(plot.target)
        parts.append(f'<line class="target" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    # The first curve is what the chart is about: drawn last, so that it lies on top.
    parts += [_path(frame, curve, i) for i, curve in reversed(list(enumerate(curves)))]
    legend = "".join(f'<span><i class="c{i % STYLES}"></i>{escape(c.name)}</span>' for i, c in enumerate(curves))
    return "".join(parts) + f'</svg><div class="legend">{legend}</div>'


@dataclass(frozen=True)
class _Frame:
    """Maps values to pixels."""

    x0: float
    x1: float
    y0: float
    y1: float
    log: bool

    @classmethod
    def around(cls, plot: Plot, curves: tuple[Curve, ...]) -> "_Frame":
        xs = [x for curve in curves for x in curve.x]
        ys = [y for curve in curves for y in curve.y] + ([] if plot.target is None else [plot.target])
        x0, x1 = min(xs), max(xs)
        if plot.log:
            low, high = max(min(ys), FLOOR), max(*ys, 10 * FLOOR)
            y0, y1 = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        else:
            step = _step(min(*ys, 0.0), max(ys))
            y0, y1 = math.floor(min(*ys, 0.0) / step) * step, math.ceil(max(ys) / step - 1e-9) * step
        return cls(x0, x1 if x1 > x0 else x0 + 1, y0, y1 if y1 > y0 else y0 + 1, plot.log)

    def at_x(self, x: float) -> float:
        return LEFT + (x - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def at_y(self, y: float) -> float:
        if self.log:
            share = (math.log10(max(y, self.y0)) - math.log10(self.y0)) / (math.log10(self.y1) - math.log10(self.y0))
        else:
            share = (y - self.y0) / (self.y1 - self.y0)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def named(self, tick: float) -> str:
        """Label a tick; the lowest of a logarithmic axis stands for everything below it too."""
        return f"≤ {tick:g}" if self.log and tick == self.y0 == FLOOR else f"{tick:g}"

    def ticks_y(self) -> list[float]:
        if self.log:
            first, last = round(math.log10(self.y0)), round(math.log10(self.y1))
            return [10.0**power for power in range(first, last + 1)]
        return _round_values(self.y0, self.y1)


def _axis_x(frame: _Frame, label: str) -> list[str]:
    base = HEIGHT - BOTTOM
    ticks = _round_values(frame.x0, frame.x1)
    marks = [f'<text x="{frame.at_x(t):.1f}" y="{base + 16}" text-anchor="middle">{t:g}</text>' for t in ticks]
    middle = (LEFT + WIDTH - RIGHT) / 2
    axis = f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>'
    return [axis, *marks, f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(label)}</text>']


def _axis_y(frame: _Frame, label: str) -> list[str]:
    parts = list[str]()
    for tick in frame.ticks_y():
        y = frame.at_y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{frame.named(tick)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(label)}</text>'
    return [*parts, turned]


def _path(frame: _Frame, curve: Curve, index: int) -> str:
    points = " ".join(f"{frame.at_x(x):.1f},{frame.at_y(y):.1f}" for x, y in zip(curve.x, curve.y, strict=True))
    return f'<polyline class="curve c{index % STYLES}" points="{points}"/>'


def _round_values(low: float, high: float) -> list[float]:
    """Return about `TICKS` round numbers between two values."""
    step = _step(low, high)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def _step(low: float, high: float) -> float:
    """Return 1, 2 or 5 times a power of ten that cuts the range into about `TICKS` parts."""
    raw = (high - low) / TICKS or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(power * nice for nice in (1, 2, 5, 10) if power * nice >= raw * 0.999)
