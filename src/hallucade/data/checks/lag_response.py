"""How a motion answers an action, frame by frame: a finite impulse response over lags, with its uncertainty.

Players hold keys, so the action one frame later looks much like the action now, and a plain correlation is nearly as
high at the wrong lag as at the right one. A joint regression of the motion on the action at every lag, and on all other
controls, gives each lag only what no other explains. Standard errors are summed over blocks of successive frames, which
stays right when the remainder is correlated in time (Liang and Zeger 1986).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

REACH = 3
LAGS = tuple(range(-REACH, REACH + 1))  # frames from an action to its motion; below 0 the motion comes first
ROWS_A_TERM = 10  # rows for each coefficient; with fewer the other controls are left out of the regression


@dataclass(frozen=True)
class Response:
    """The answer of one motion to one action signal; one entry a lag."""

    effect: Float64[np.ndarray, "7"]  # motion for one unit of the signal
    error: Float64[np.ndarray, "7"]  # standard error of the effect
    r2: Float64[np.ndarray, "7"]  # share of the motion's variance that this lag alone explains
    steady_error: float  # standard error of `steady`
    rows: int  # pairs of frames used

    @property
    def steady(self) -> float:
        """Motion for one unit held for long: the same where actions are shifted in a part of the data."""
        return float(self.effect.sum())

    @property
    def t(self) -> Float64[np.ndarray, "7"]:
        """Effect over its standard error."""
        return self.effect / (self.error + 1e-12)


def lagged(series: Float64[np.ndarray, "n f"]) -> Float64[np.ndarray, "m f 7"]:
    """Return for pairs `REACH` to n - `REACH` - 1 of a run the action at each of `LAGS`."""
    m = max(0, len(series) - 2 * REACH)
    return np.stack([series[REACH - lag : REACH - lag + m] for lag in LAGS], axis=2)


class LagModel:
    """Regresses motions on f signals at seven lags each; every method takes motions of the same rows."""

    def __init__(self, terms: Float64[np.ndarray, "n f 7"], blocks: Int64[np.ndarray, "n"]) -> None:
        n, f, lags = terms.shape
        self._x = (terms - terms.mean(axis=0)).reshape(n, f * lags)
        self._starts = np.flatnonzero(np.diff(blocks, prepend=-1))
        gram = self._x.T @ self._x
        self._joint = n >= ROWS_A_TERM * f * lags
        if not self._joint:
            gram *= np.kron(np.eye(f), np.ones((lags, lags)))
        # A little ridge keeps signals that are copies of each other from blowing up.
        self._inverse: np.ndarray = np.linalg.inv(gram + np.diag(1e-6 * np.diag(gram) + 1e-9))

    def response(self, signal: int, motion: Float64[np.ndarray, "n"]) -> Response:
        """Estimate how `motion` answers the signal."""
        centred, own = motion - motion.mean(), self._own(signal)
        x, inverse = self._x[:, own], self._inverse[:, own]
        left = self.without_others(signal, motion) - x @ (inverse.T @ (self._x.T @ centred))
        scores = np.add.reduceat((self._x * left[:, None]) @ inverse, self._starts, axis=0)
        blocks = len(scores)
        few = blocks / max(1, blocks - 1)
        error = np.sqrt((scores**2).sum(axis=0) * few)
        steady_error = float(np.sqrt((scores.sum(axis=1) ** 2).sum() * few))
        effect = inverse.T @ (self._x.T @ centred)
        power = (x**2).sum(axis=0) * (centred @ centred)
        return Response(effect, error, (x.T @ centred) ** 2 / (power + 1e-12), steady_error, len(motion))

    def without_others(self, signal: int, motion: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
        """Return the motion less what the other signals explain of it, where there are rows enough to tell."""
        centred, own = motion - motion.mean(), self._own(signal)
        if not self._joint:
            return centred
        coefficients = self._inverse @ (self._x.T @ centred)
        coefficients[own] = 0
        return centred - self._x @ coefficients

    @staticmethod
    def _own(signal: int) -> slice:
        return slice(signal * len(LAGS), (signal + 1) * len(LAGS))
