"""Intervals and tests for a handful of seeds: Student's t, paired where seeds are shared, and Holm's correction.

With n pairs a sign-flip test cannot give a p-value below 2 / 2^n, 0.25 for three: without an assumption three seeds
show nothing. The t-test assumes that what differs between seeds is normal, and can then tell large differences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from scipy import stats

LEVEL = 0.05  # of error, over all comparisons of one metric


@dataclass(frozen=True)
class Mean:
    """A mean over seeds and half the width of its 95 % interval; None of one seed."""

    value: float
    half: float | None
    seeds: int


@dataclass(frozen=True)
class Difference:
    """One arm less another on one metric."""

    value: float
    half: float  # of the 95 % interval, not corrected
    p: float  # of no difference, two-sided, not corrected
    paired: bool
    seeds: int  # of the arm, where paired of both


def mean_of(values: Sequence[float]) -> Mean:
    """Return the mean of one value a seed with Student's interval.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("a mean of no values; leave the arm out")
    n = len(values)
    half = None if n < 2 else _quantile(n - 1) * float(np.std(values, ddof=1)) / sqrt(n)
    return Mean(float(np.mean(values)), half, n)


def difference(arm: Mapping[int, float], other: Mapping[int, float]) -> Difference | None:
    """Compare two arms by their values a seed.

    Seeds that both have are paired: they share the order of the data and all noise. Arms that share fewer than two are
    compared by Welch's test. None where nothing can be tested: too few seeds, or no spread to hold a difference
    against.
    """
    shared = sorted(set(arm) & set(other))
    if len(shared) >= 2:
        change = np.array([arm[seed] - other[seed] for seed in shared])
        return _tested(float(change.mean()), float(change.std(ddof=1)) / sqrt(len(shared)), len(shared) - 1, shared)
    if min(len(arm), len(other)) < 2:
        return None
    parts = [np.var(list(side.values()), ddof=1) / len(side) for side in (arm, other)]
    error = sqrt(sum(parts))
    if error == 0:
        return None
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, (arm, other), strict=True)
    )  # Welch and Satterthwaite
    value = float(np.mean(list(arm.values())) - np.mean(list(other.values())))
    return _tested(value, error, float(freedom), None, len(arm))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that may be held against one level together.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def least_sign_flip(pairs: int) -> float:
    """Return the smallest two-sided p-value that flipping the signs of so many differences can give."""
    return 2.0 ** (1 - pairs)


def _tested(value: float, error: float, freedom: float, shared: list[int] | None, seeds: int = 0) -> Difference | None:
    if error == 0 and value != 0:
        return None
    t = abs(value) / error if error else 0.0
    half = _quantile(freedom) * error
    return Difference(value, half, float(2 * stats.t.sf(t, freedom)), shared is not None, len(shared or ()) or seeds)


def _quantile(freedom: float) -> float:
    return float(stats.t.ppf(1 - LEVEL / 2, freedom))
