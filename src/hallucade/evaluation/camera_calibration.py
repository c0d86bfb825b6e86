"""Fits a camera model to recorded play: which turn and shift of the camera each control causes, and the focal length.

For a given focal length the flow is linear in the motions, and least squares finds them, reweighted so that walls that
stop a player, heroes and enemies in view, and wrong flow count little. The focal length is the one that leaves least.

Controls that turn the view get turns, all others shifts. To leave both to all would make the focal length a matter of
taste: ``f (w + T)`` and ``w / f`` are all that the picture tells of a turn w with a sideways shift T.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64
from scipy import optimize

from hallucade.data.checks.action_signals import Signal, signals_of
from hallucade.data.checks.motion_sample import Span, plan_spans
from hallucade.data.store import EpisodeStore
from hallucade.evaluation.camera_flow import TERMS, CameraModel, CameraMotion, flow_basis, turning_signals
from hallucade.evaluation.metrics.optical_flow import FlowEstimator, on_texture, reliable_flow
from hallucade.evaluation.result import Progress, silent
from hallucade.shapes import ActionRows

FIELDS = (25.0, 140.0)  # degrees that a picture may be wide
GRID = 12  # places a side at which flow is looked at
ROUNDS = 12  # of reweighting
LEAST_PAIRS = 50
MOVES = 1 / 640  # of the width: less is noise of what rests
STILL = 1 / 2000  # of the width: pictures that hardly ever move more tell nothing
PART = 128  # pairs whose flow is measured at a time, for memory


@dataclass(frozen=True)
class Play:
    """Recorded play as a fit sees it: what was held, and how the picture moved."""

    rows: ActionRows  # n raw action rows
    flows: Float32[np.ndarray, "n p 2"]  # at places of `GRID`; NaN where it is not known
    frame_size: tuple[int, int]


@dataclass(frozen=True)
class Calibration:
    """A camera model, and how well it tells the flow that it was fitted to."""

    camera: CameraModel
    pairs: int
    median_error: float  # pixels, of all places
    explained: float  # share of the median flow, of what moves, that the model tells: 1 is all of it


def measure_play(
    store: EpisodeStore,
    pairs: int,
    split: str,
    estimator: FlowEstimator = reliable_flow,
    progress: Progress = silent,
) -> Play:
    """Measure the flow of about `pairs` pairs of frames of a split, spread over its episodes.

    Raises:
        ValueError: no control of the store turns the view, or there are too few frames.
    """
    _check_turns(store)
    others = set(range(len(store))) - set(store.indices(split))
    spans = [part for span in plan_spans(store, pairs, others) for part in _parts(span)]
    total, rows, flows = sum(span.pairs for span in spans), list[np.ndarray](), list[np.ndarray]()
    for span in spans:
        read = store.read(span.episode, span.first, span.pairs + 1)
        rows.append(np.asarray(read.actions, np.float32))
        frames = np.asarray(read.frames)
        flows.append(_at_places(on_texture(frames, estimator(frames))))
        progress("measuring flow", sum(map(len, rows)) / total)
    if total < LEAST_PAIRS:
        what = f"{store.path} has {total} pairs of frames for {split}"
        raise ValueError(f"{what}; a camera is fitted to {LEAST_PAIRS} or more: record or import more play")
    return Play(np.concatenate(rows), np.concatenate(flows), store.frame_size)


def calibrate(store: EpisodeStore, play: Play, focal: float | None = None) -> Calibration:
    """Fit the camera of a store's game.

    Args:
        store: says what the controls are.
        play: of that store.
        focal: the focal length in pixels, where it is known; None finds it.

    Raises:
        ValueError: no control that turns the view was used, or the pictures do not move.
    """
    signals = _used(store, play)
    focal = _best_focal(play, signals) if focal is None else focal
    fit = _Fit(play, signals, focal)
    motions = tuple(_motion(signal, terms) for signal, terms in zip(signals, fit.motions, strict=True))
    camera = CameraModel(focal=focal, frame_size=play.frame_size, motions=motions, game=store.game)
    lengths = np.linalg.norm(play.flows, axis=-1)
    lengths = lengths[np.isfinite(lengths)]
    moving = lengths >= STILL * play.frame_size[1]  # `_used` has seen to it that something does
    explained = 1 - np.median(fit.errors[moving]) / np.median(lengths[moving])
    return Calibration(camera, len(play.rows), float(np.median(fit.errors)), float(explained))


def at_an_end(camera: CameraModel) -> bool:
    """Say whether a focal length is at an end of the range that is looked through: then none really fits."""
    low, high = _focal_range(camera.frame_size[1])
    return not 1.05 * low < camera.focal < high / 1.05


def _focal_range(width: int) -> tuple[float, float]:
    wide, narrow = (width / 2 / float(np.tan(np.radians(field) / 2)) for field in reversed(FIELDS))
    return wide, narrow


def _best_focal(play: Play, signals: Sequence[Signal]) -> float:
    """Return the focal length that leaves the least error; equal ratios are looked at alike."""

    def cost(log: float) -> float:
        return _Fit(play, signals, math.exp(log)).cost

    low, high = map(math.log, _focal_range(play.frame_size[1]))
    found: Any = optimize.minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 0.005})
    return math.exp(float(found.x))


class _Fit:
    """The motions at one focal length.

    Attributes:
        motions: terms of each signal's motion.
        errors: pixels, at each place of each pair whose flow is known.
        cost: a mean that large errors add little to; what the focal length is chosen by.
    """

    def __init__(self, play: Play, signals: Sequence[Signal], focal: float) -> None:
        height, width = play.frame_size
        self._values: np.ndarray = np.stack([signal.of(play.rows) for signal in signals], 1)
        self._basis: np.ndarray = _at_places(flow_basis(height, width, focal)[None])[0]
        self._known = np.isfinite(play.flows[..., 0])
        self._flows: np.ndarray = np.nan_to_num(play.flows).astype(np.float64)
        self._free: np.ndarray = np.concatenate([_free_terms(signal) for signal in signals])
        self.motions: np.ndarray = np.zeros((len(signals), TERMS))
        moves = np.linalg.norm(self._flows, axis=-1) > MOVES * width
        for _ in range(ROUNDS):
            expected = self._expected()
            errors = np.linalg.norm(self._flows - expected, axis=-1)
            # Of what moves or should: play that mostly rests would say that all motion is an error.
            telling = self._known & (moves | (np.linalg.norm(expected, axis=-1) > MOVES * width))
            scale = max(float(np.median(errors[telling])) if telling.any() else 0.0, 1e-3 * width / 64)
            self._solve(self._known / (1 + (errors / scale) ** 2))  # Cauchy's
        self.errors = np.linalg.norm(self._flows - self._expected(), axis=-1)[self._known]
        reach = 5e-3 * width  # pixels; the same at all focal lengths, so that costs compare
        self.cost = float(np.log1p((self.errors / reach) ** 2).mean())

    def _expected(self) -> Float64[np.ndarray, "n p 2"]:
        return np.einsum("ns,sk,pdk->npd", self._values, self.motions, self._basis, optimize=True)

    def _solve(self, weights: Float64[np.ndarray, "n p"]) -> None:
        """Set the motions to those of weighted least squares."""
        squares = np.einsum("np,pdk,pdl->nkl", weights, self._basis, self._basis, optimize=True)
        seen = np.einsum("np,npd,pdk->nk", weights, self._flows, self._basis, optimize=True)
        matrix = np.einsum("ns,nt,nkl->sktl", self._values, self._values, squares, optimize=True)
        target = np.einsum("ns,nk->sk", self._values, seen)
        size, free = target.size, self._free
        matrix, found = matrix.reshape(size, size)[np.ix_(free, free)], np.zeros(size)
        found[free] = np.linalg.lstsq(matrix, target.reshape(size)[free], rcond=1e-9)[0]
        self.motions = found.reshape(target.shape)


def _used(store: EpisodeStore, play: Play) -> list[Signal]:
    """Return the signals that ever change.

    Raises:
        ValueError: see `calibrate`.
    """
    used = [signal for signal in signals_of(store.actions) if not signal.change and np.ptp(signal.of(play.rows)) > 0]
    if not any(signal.turns for signal in used):
        names = ", ".join(signal.name for signal in turning_signals(store.actions))
        raise ValueError(f"nobody turns the view ({names}) in {len(play.rows)} actions of {store.path}; record more")
    lengths = np.linalg.norm(play.flows, axis=-1)
    moved = np.where(np.isfinite(lengths), lengths, 0).sum(1) / np.maximum(np.isfinite(lengths).sum(1), 1)
    if np.quantile(moved, 0.9) < STILL * store.frame_size[1]:
        raise ValueError(
            f"the pictures of {store.path} do not move: nine pairs in ten by less than "
            f"{STILL * store.frame_size[1]:.2g} pixels; a camera cannot be read from them"
        )
    return used


def _check_turns(store: EpisodeStore) -> None:
    if not turning_signals(store.actions):
        raise ValueError(
            f"no control of {store.path} is said to turn the view (its actions: {store.actions.describe()}); "
            'give one `turns`: "left", "right", "up" or "down" where the store is made'
        )


def _free_terms(signal: Signal) -> Bool[np.ndarray, "6"]:
    turns = signal.turns is not None
    return np.array([turns] * 3 + [not turns] * 3)


def _motion(signal: Signal, terms: Float64[np.ndarray, "6"]) -> CameraMotion:
    values = [float(f"{term:.6g}") for term in terms]
    turn, shift = (values[0], values[1], values[2]), (values[3], values[4], values[5])
    return CameraMotion(signal=signal.name, turn=turn, shift=shift)


def _at_places(fields: np.ndarray) -> np.ndarray:
    """Take the middles of a grid of cells out of fields `n h w ...`, as `n p ...`."""
    rows, columns = (((np.arange(GRID) + 0.5) * side / GRID).astype(int) for side in fields.shape[1:3])
    taken = fields[:, rows[:, None], columns]
    return taken.reshape(len(fields), GRID * GRID, *fields.shape[3:])


def _parts(span: Span) -> list[Span]:
    starts = range(span.first, span.first + span.pairs, PART)
    return [Span(span.episode, start, min(PART, span.first + span.pairs - start)) for start in starts]
