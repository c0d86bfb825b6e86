"""Does a video flash? A loss that counts at every fifth step taught a model to show one sharp frame in five."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

LONGEST = 16  # frames of a period that is looked for
TOLD = 0.3  # share of the variance from which on a video is said to flash
NEARLY = 0.9  # of the best period's share: the shortest period that reaches it is the one, and not a multiple of it


@dataclass(frozen=True)
class Flashing:
    """How much of what a statistic does from frame to frame comes again with a period."""

    share: float  # of the variance around the statistic's own drift, corrected for chance: 0 for none, 1 for all
    period: int | None  # frames; None where the share is too small for one


def flashing(values: Float[np.ndarray, "n"], longest: int = LONGEST) -> Flashing | None:
    """Look for a period of 2 to `longest` frames in a statistic of single pictures; None where nothing can be said.

    The share is that of variance between the phases of a period, adjusted for the number of phases as a coefficient of
    determination is. Nothing can be said of fewer than three periods, or of a statistic that does not change.
    """
    n = len(values)
    own = np.asarray(values, np.float64)
    around = own - _drift(own, longest)
    total = float(np.square(around).mean())
    if n < 6 or total <= 1e-12 * max(float(np.square(own).mean()), 1e-12):
        return None
    shares = {period: _share(around, period) for period in range(2, min(longest, n // 3) + 1)}
    best = max(shares.values())
    period = next(p for p, share in shares.items() if share >= NEARLY * best)
    return Flashing(best, period if best >= TOLD else None)


def _share(around: Float[np.ndarray, "n"], period: int) -> float:
    phases = np.arange(len(around)) % period
    means = np.bincount(phases, around) / np.bincount(phases)
    explained = float(np.square(means - around.mean())[phases].mean() / around.var()) if around.var() else 0.0
    chance = (period - 1) / (len(around) - 1)
    return max((explained - chance) / (1 - chance), 0.0)


def _drift(values: Float[np.ndarray, "n"], longest: int) -> Float[np.ndarray, "n"]:
    """Return the mean over two of the longest periods around each frame, as far as there are frames."""
    window = np.ones(2 * longest + 1)
    counts = np.convolve(np.ones(len(values)), window, "same")[: len(values)]
    return np.convolve(values, window, "same")[: len(values)] / counts
