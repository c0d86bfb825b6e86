"""How sure a figure over games or clips is: 95 % intervals."""

import math

import numpy as np
from jaxtyping import Float, Float64
from scipy import stats

LEVEL = 0.95


def exact_mean(values: Float[np.ndarray, "n"]) -> float:
    """Return the mean of one or more values, whose sum is rounded once: no order of them changes a bit."""
    return math.fsum(values.tolist()) / len(values)


def mean_interval(values: Float64[np.ndarray, "n"]) -> tuple[float, float, float]:
    """Return the mean of independent values and the ends of its interval by Student's t.

    No order of the values changes a bit. Of one value there is no interval: both ends are the value.
    """
    n, mean = len(values), exact_mean(values)
    if n < 2:
        return mean, mean, mean
    spread = math.sqrt(math.fsum(((values - mean) ** 2).tolist()) / (n - 1))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * spread / math.sqrt(n)
    return mean, mean - half, mean + half


def share_interval(share: float, n: int) -> tuple[float, float]:
    """Return the score interval of a share of n independent games (Wilson 1927), which is honest near 0 and 1.

    Where `share` is a mean of shares within games it is wider than need be.
    """
    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def resampled_sums(
    counts: Float[np.ndarray, "n k"], resamples: int, rng: np.random.Generator
) -> Float64[np.ndarray, "r k"]:
    """Return the sums of n independent rows, drawn n times with replacement, r times over (Efron 1979).

    A figure that is computed of sums, such as F1, is computed of each of these in turn; see ``percentile_interval``.
    """
    n = len(counts)
    return rng.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64) @ counts


def percentile_interval(values: Float64[np.ndarray, "r"]) -> tuple[float, float] | None:
    """Return the interval of a figure by its values over resamples; None where most of them are undefined (NaN)."""
    known = values[np.isfinite(values)]
    if 2 * len(known) < len(values):
        return None
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
