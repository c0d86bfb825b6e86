"""What is held against what: runs of actions and motion, laid out row by row for regression.

A control that turns the view is held against the shift of the view, whose direction is known. For any other control
the motion that tells it best is learned first: ridge regression of the action, averaged over all lags so that none is
preferred, on everything that was measured. Each half of the data is read with weights learned on the other half.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from hallucade.data.checks.action_signals import Signal
from hallucade.data.checks.lag_response import REACH, lagged
from hallucade.data.checks.motion import Motion
from hallucade.data.checks.summary import spread
from hallucade.shapes import ActionRows

PARTS = 4  # equal parts of an episode that are compared with each other
BLOCK = 32  # successive rows that count as one observation
JUMP = 0.25  # of `Motion.unlike`: from here on it is no motion but another scene
CHANGES = 16  # times that a signal must change to tell anything
TAIL = 0.005  # share at either end at which motion is clipped: a wrong flow is far off
ROWS = 200_000  # at most, about: for memory; certainty comes long before
RIDGE = 0.02  # of the number of rows
TURN_SIGN = {"right": (0, 1), "left": (0, -1), "up": (1, 1), "down": (1, -1)}  # (column of `views`, sign)


@dataclass(frozen=True)
class Run:
    """Successive frames of one episode: what was held, and what moved."""

    episode: int
    first: int  # frame of the episode at which the run starts
    length: int  # actions of the whole episode
    rows: ActionRows  # n
    motion: Motion  # n pairs


@dataclass(frozen=True)
class Evidence:
    """Rows of all runs: pairs of frames whose action is known at every lag."""

    signals: tuple[Signal, ...]
    terms: Float64[np.ndarray, "n f 7"]  # the signals at each lag
    views: Float64[np.ndarray, "n 2"]  # shift of the view to the right and upwards, in pixels
    features: Float64[np.ndarray, "n d"]  # everything measured, standardised
    episode: Int64[np.ndarray, "n"]
    part: Int64[np.ndarray, "n"]  # of the episode, 0 to `PARTS` - 1
    block: Int64[np.ndarray, "n"]  # ascending; rows of one block are of one run and part

    def __len__(self) -> int:
        return len(self.episode)

    def where(self, rows: Bool[np.ndarray, "n"]) -> "Evidence":
        """Return some of the rows."""
        columns = (self.terms, self.views, self.features, self.episode, self.part, self.block)
        return Evidence(self.signals, *(column[rows] for column in columns))

    def changes(self, signal: int) -> int:
        """Count the rows in which a signal is not what it was a frame before."""
        return int((self.terms[:, signal, REACH] != self.terms[:, signal, REACH + 1]).sum())

    def motion(self, signal: int) -> Float64[np.ndarray, "n"]:
        """Return the series that should answer a signal; a right answer is positive."""
        turns = self.signals[signal].turns
        if turns is not None:
            column, sign = TURN_SIGN[turns]
            return sign * self.views[:, column]
        return _told(self.features, self.terms[:, signal].mean(axis=1), self._half())

    def _half(self) -> Bool[np.ndarray, "n"]:
        """Split by episode, or where there is one only by blocks far enough from each other."""
        episodes = np.unique(self.episode)
        if len(episodes) > 1:
            return np.isin(self.episode, episodes[::2])
        return np.arange(len(self)) < len(self) // 2


def gather(signals: Sequence[Signal], runs: Sequence[Run]) -> Evidence:
    """Lay out runs row by row, at most `ROWS`, without the pairs across a missed cut and those that show a frame twice.

    Only whole runs are left out, evenly.
    """
    runs = [run for run in runs if len(run.rows) > 2 * REACH]
    total = sum(len(run.rows) for run in runs)
    runs = [runs[i] for i in spread(len(runs), max(1, len(runs) * ROWS // max(1, total)))] if runs else []
    inner = slice(REACH, -REACH)
    series = [np.stack([signal.of(run.rows) for signal in signals], axis=1) for run in runs]
    terms = [lagged(s) for s in series]
    measured = [_measured(run.motion)[inner] for run in runs]
    places = [run.first + np.arange(len(run.rows))[inner] for run in runs]
    parts = [p * PARTS // run.length for p, run in zip(places, runs, strict=True)]
    sizes = [len(place) for place in places]
    if not sum(sizes):
        none = np.zeros(0, np.int64)
        return Evidence(
            tuple(signals), np.zeros((0, len(signals), 7)), np.zeros((0, 2)), np.zeros((0, 1)), *(none,) * 3
        )
    features = np.concatenate(measured)
    evidence = Evidence(
        tuple(signals),
        np.concatenate(terms),
        _clipped(features[:, :2]),
        _standardised(_clipped(features)),
        np.repeat([run.episode for run in runs], sizes),
        np.concatenate(parts),
        _blocks(parts),
    )
    usable = np.concatenate([_usable(run.motion)[inner] for run in runs])
    return evidence.where(usable & np.isfinite(evidence.terms).all(axis=(1, 2)))


def _usable(motion: Motion) -> Bool[np.ndarray, "n"]:
    return (motion.unlike < JUMP) & ~motion.copied & ~motion.plain


def _measured(motion: Motion) -> Float64[np.ndarray, "n d"]:
    whole = np.stack([motion.right, motion.up, motion.forward, motion.change], axis=1)
    return np.concatenate([whole, motion.parts], axis=1).astype(np.float64)


def _blocks(parts: Sequence[Int64[np.ndarray, "_"]]) -> Int64[np.ndarray, "n"]:
    """Number stretches of at most `BLOCK` rows that lie in one run and part."""
    starts: list[np.ndarray] = []
    for part in parts:
        new = np.diff(part, prepend=-1) != 0
        since = np.arange(len(part)) - np.maximum.accumulate(np.where(new, np.arange(len(part)), 0))
        starts.append(since % BLOCK == 0)
    return np.cumsum(np.concatenate(starts))


def _clipped(values: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    low, high = np.quantile(values, (TAIL, 1 - TAIL), axis=0)
    return np.clip(values, low, high)


def _standardised(values: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    return (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-9)


def _told(
    features: Float64[np.ndarray, "n d"], action: Float64[np.ndarray, "n"], half: Bool[np.ndarray, "n"]
) -> Float64[np.ndarray, "n"]:
    told = np.zeros(len(action))
    for learn in (half, ~half):
        x, y = features[learn], action[learn] - action[learn].mean()
        gram = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
        weights = np.asarray(np.linalg.solve(gram, x.T @ y), np.float64)
        told[~learn] = features[~learn] @ weights
    return told
