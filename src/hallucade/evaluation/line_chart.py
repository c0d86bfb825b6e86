"""Line charts as inline SVG: no script, no font, no picture from elsewhere; colours come from the page's style."""

import math
from collections.abc import Sequence
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
    for draw in (_band, _path):
        parts += [draw(frame, curve, i) for i, curve in reversed(list(enumerate(curves)))]
    legend = "".join(f'<span><i class="c{i % STYLES}"></i>{escape(c.name)}</span>' for i, c in enumerate(curves))
    return "".join(parts) + f'</svg><div class="legend">{legend}</div>'


@dataclass(frozen=True)
class _Scale:
    """Maps values of one axis to shares of its length."""

    low: float
    high: float
    log: bool

    @classmethod
    def over(cls, values: Sequence[float], log: bool) -> "_Scale":
        """Return the round values around some values, 0 among them on a linear axis."""
        if log:
            low, high = max(min(values), FLOOR), max(*values, 10 * FLOOR)
            low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        else:
            step = _step(min(*values, 0.0), max(values))
            low = math.floor(min(*values, 0.0) / step) * step
            high = math.ceil(max(values) / step - 1e-9) * step
        return cls(low, high if high > low else low + 1, log)

    @classmethod
    def between(cls, values: Sequence[float], log: bool) -> "_Scale":
        """Return the axis from the least to the largest of some values."""
        low, high = min(values), max(values)
        assert low > 0 or not log, f"{low} has no place on a logarithmic axis"
        return cls(low, high if high > low else low + 1, log)

    def share(self, value: float) -> float:
        """Return where a value stands: 0 at the lower end, 1 at the upper."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        if not self.log:
            return _round_values(self.low, self.high)
        first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
        return [10.0**power for power in range(first, last + 1)]


@dataclass(frozen=True)
class _Frame:
    """Maps values to pixels."""

    x: _Scale
    y: _Scale

    @classmethod
    def around(cls, plot: Plot, curves: tuple[Curve, ...]) -> "_Frame":
        xs = [x for curve in curves for x in curve.x]
        ys = [y for curve in curves for y in (*curve.y, *curve.low, *curve.high)]
        targets = [] if plot.target is None else [plot.target]
        return cls(_Scale.between(xs, plot.log_x), _Scale.over(ys + targets, plot.log))

    def at_x(self, x: float) -> float:
        return LEFT + self.x.share(x) * (WIDTH - LEFT - RIGHT)

    def at_y(self, y: float) -> float:
        return HEIGHT - BOTTOM - self.y.share(y) * (HEIGHT - TOP - BOTTOM)

    def named(self, tick: float) -> str:
        """Label a tick of y; the lowest of a logarithmic axis stands for everything below it too."""
        return f"≤ {tick:g}" if self.y.log and tick == self.y.low == FLOOR else f"{tick:g}"

    def points(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        return " ".join(f"{self.at_x(x):.1f},{self.at_y(y):.1f}" for x, y in zip(xs, ys, strict=True))


def _axis_x(frame: _Frame, label: str) -> list[str]:
    base = HEIGHT - BOTTOM
    ticks = frame.x.ticks()
    marks = [f'<text x="{frame.at_x(t):.1f}" y="{base + 16}" text-anchor="middle">{t:g}</text>' for t in ticks]
    middle = (LEFT + WIDTH - RIGHT) / 2
    axis = f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>'
    return [axis, *marks, f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(label)}</text>']


def _axis_y(frame: _Frame, label: str) -> list[str]:
    parts = list[str]()
    for tick in frame.y.ticks():
        y = frame.at_y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{frame.named(tick)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(label)}</text>'
    return [*parts, turned]


def _band(frame: _Frame, curve: Curve, index: int) -> str:
    """Draw the interval around a curve."""
    around = (*curve.x, *reversed(curve.x)), (*curve.low, *reversed(curve.high))
    return f'<polygon class="band c{index % STYLES}" points="{frame.points(*around)}"/>' if curve.low else ""


def _path(frame: _Frame, curve: Curve, index: int) -> str:
    return f'<polyline class="curve c{index % STYLES}" points="{frame.points(curve.x, curve.y)}"/>'


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
