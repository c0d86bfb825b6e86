"""One number a game a frame, whatever it is: kept small, averaged over spans of frames, with intervals over games.

Parts of the games may be measured anywhere and in any order: `merged` puts them back by number, so that every mean is
that of one process, to the last bit.
"""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, Float64, Int64

from hallucade.evaluation.intervals import mean_interval, share_interval
from hallucade.evaluation.ranks import from_every_rank
from hallucade.evaluation.result import Curve

PER_DECADE = 12  # points of a curve that a factor of ten in time gets
FEWEST = 2  # games that an average over games needs, where there were so many to begin with


@dataclass(frozen=True)
class Span:
    """Frames `first` to `last`, both included, counted from 1."""

    first: int
    last: int  # where the span is drawn


@dataclass(frozen=True)
class Average:
    """A mean over games and its interval."""

    value: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2


@dataclass(frozen=True)
class GameCurves:
    """Series of g games over t frames by name; NaN where a game has ended or there is nothing to measure."""

    games: Int64[np.ndarray, "g"]  # their numbers
    series: Mapping[str, Float32[np.ndarray, "g t"]]
    shares: frozenset[str] = frozenset()  # series whose values are 0 or 1
    most: Mapping[str, float] = field(default_factory=dict[str, float])  # what a series cannot exceed

    @classmethod
    def empty(
        cls,
        games: int,
        frames: int,
        names: Iterable[str],
        shares: Iterable[str] = (),
        most: Mapping[str, float] | None = None,
    ) -> "GameCurves":
        """Return room for series of games 0 to `games`."""
        blank = {name: np.full((games, frames), np.nan, np.float32) for name in names}
        return cls(np.arange(games), blank, frozenset(shares), most or {})

    def put(self, name: str, first: int, values: np.ndarray) -> None:
        """Write the values `g n` of all games at the frames from number `first` on, counted from 0."""
        self.series[name][:, first : first + values.shape[1]] = values

    def across_ranks(self) -> "GameCurves":
        """Return all ranks' games, on every rank; each was measured on one of them."""
        return merged(from_every_rank(self))

    def __contains__(self, name: str) -> bool:
        return name in self.series and not np.isnan(self.series[name]).all()

    def of_games(self, name: str, span: Span) -> Float64[np.ndarray, "g"]:
        """Return each game's mean over a span; NaN where there is nothing in it."""
        part = self.series[name][:, span.first - 1 : span.last].astype(np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of a mean of nothing, which is NaN and meant so
            return np.nanmean(part, 1)

    def average(self, name: str, span: Span) -> Average | None:
        """Return the mean over games and frames of a span; None with too few games left, or without such a series."""
        if name not in self.series:
            return None
        values = self.of_games(name, span)
        values = values[~np.isnan(values)]
        if len(values) < min(FEWEST, len(self.games)):
            return None
        value, low, high = mean_interval(values)
        if name in self.shares:
            low, high = share_interval(min(max(value, 0.0), 1.0), len(values))
        return Average(value, low, min(high, max(self.most.get(name, math.inf), value)))

    def curve(self, name: str, label: str, spans: Sequence[Span], unit: float = 1.0) -> Curve:
        """Return averages over spans as a line with an interval, in multiples of `unit`."""
        found = [(float(span.last), self.average(name, span)) for span in spans]
        kept = [(x, average) for x, average in found if average is not None]
        return Curve(
            label,
            tuple(x for x, _ in kept),
            tuple(average.value / unit for _, average in kept),
            tuple(average.low / unit for _, average in kept),
            tuple(average.high / unit for _, average in kept),
        )


def merged(parts: Iterable[GameCurves]) -> GameCurves:
    """Return all games of several parts in the order of their numbers.

    Raises:
        ValueError: a game that was measured twice, or parts that measured different things.
    """
    every = list(parts)
    games = np.concatenate([part.games for part in every])
    if len(set(games.tolist())) != len(games):
        raise ValueError("a game is in more than one part; measure each game once")
    if len({frozenset(part.series) for part in every}) != 1:
        raise ValueError("parts hold different series; measure all games in the same way")
    order = np.argsort(games)
    series = {name: np.concatenate([part.series[name] for part in every])[order] for name in every[0].series}
    return replace(every[0], games=games[order], series=series)


def log_spans(frames: int) -> list[Span]:
    """Cut frames 1 to `frames` into spans that grow with time: single frames at first, `PER_DECADE` a factor of ten."""
    count = max(1, round(PER_DECADE * np.log10(frames + 1)))
    edges = sorted({round(float(edge)) for edge in np.geomspace(1, frames + 1, count + 1)})
    return [Span(first, after - 1) for first, after in pairwise(edges)]


def segments(frames: int, length: int) -> list[Span]:
    """Cut frames 1 to `frames` into equal segments; a rest of less than half of one belongs to the last."""
    count = max(1, round(frames / length))
    return [Span(i * length + 1, frames if i == count - 1 else (i + 1) * length) for i in range(count)]


def up_to(horizon: int) -> Span:
    """Return the last tenth of the frames up to a horizon: enough of them for a steady value."""
    return Span(horizon - horizon // 10 + (horizon >= 10), horizon)
