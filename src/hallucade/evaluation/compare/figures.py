"""Figures of several runs over the same clips: intervals by bootstrap, and differences over the same resamples.

A difference between runs is far surer than either of them where the same clips are hard for both: resamples draw the
same clips for every run, so that what they share falls out. Source: Efron 1979.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from hallucade.evaluation.action_scores import ActionCounts
from hallucade.evaluation.intervals import percentile_interval, resampled_sums

Values = Float64[np.ndarray, "n"]  # one a clip or game, NaN where it is not defined


@dataclass(frozen=True)
class Figure:
    """One number of one run, and what it would have been over resampled clips."""

    value: float
    drawn: Float64[np.ndarray, "r"]

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of its 95 % interval; None where most resamples have no value."""
        return percentile_interval(self.drawn)

    def less(self, other: "Figure") -> "Figure":
        """Return the difference; both are over the same resamples of the same clips."""
        return Figure(self.value - other.value, self.drawn - other.drawn)


@dataclass(frozen=True)
class Resampling:
    """How often clips are drawn anew, and from which seed."""

    resamples: int
    seed: int

    def mean(self, values: Values) -> Figure | None:
        """Return the mean of what is defined; None of nothing."""
        known = np.isfinite(values)
        return self.ratio(np.where(known, values, 0.0), known.astype(np.float64))

    def ratio(self, parts: Values, wholes: Values) -> Figure | None:
        """Return the sum of parts over that of wholes; None where that is 0."""
        if not wholes.sum() > 0:
            return None
        sums = resampled_sums(np.stack([parts, wholes], 1), self.resamples, np.random.default_rng(self.seed))
        with np.errstate(divide="ignore", invalid="ignore"):
            drawn = np.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1], np.nan)
        return Figure(float(parts.sum() / wholes.sum()), drawn)

    def actions(self, counts: ActionCounts) -> dict[str, Figure]:
        """Return how well actions could be read off frames: F1, macro and micro, and errors of axes in bins."""
        drawn = counts.resampled(self.resamples, self.seed).figures()
        values = {name: float(value[0]) for name, value in counts.total().figures().items()}
        named = (name for name in ("f1_macro", "f1_micro", "bin_error") if np.isfinite(values.get(name, np.nan)))
        return {name: Figure(values[name], drawn[name]) for name in named}
