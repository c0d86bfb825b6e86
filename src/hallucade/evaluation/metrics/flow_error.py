"""How far measured optical flow is from what it should be, a pair of frames at a time.

Lengths are in pixels of the pictures. What counts as standing still or as an outlier is a share of their width, half a
pixel and three of 640, so that pictures of any size are judged alike.

Places are judged where the flow is known and either flow moves, without the fifth that moves most: the nearest walls.
Mean flows are judged where the picture should move as a whole, and not outwards on all sides, as when one walks ahead:
what is left of the mean there has no direction.
"""

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from hallucade.evaluation.metrics.optical_flow import Flows

STILL = 0.5 / 640  # of the width
OUTLIER = 3 / 640  # of the width, and
OUTLYING = 0.05  # of the flow that should be
FASTEST = 80  # percentile of the places of a picture beyond which flow is not judged
TOGETHER = 0.5  # of the mean length of the expected flow that its mean must have to be judged
SMOOTHED = 5  # pairs in a row, of which the mean error tells divergence
ONSET = 1 / 640  # of the width: smaller errors are no divergence
Series = Float64[np.ndarray, "n"]


@dataclass(frozen=True)
class FlowErrors:
    """One entry a pair of frames; NaN where there is nothing to judge: of both flows still, all but the first two."""

    known: Series  # share of the places whose flow could be measured
    epe: Series  # endpoint error, pixels: the mean length of the difference
    angle_rmse: Series  # degrees, of places where both move
    outliers: Series  # share of places
    mean_epe: Series  # pixels, of the mean flows of the picture
    mean_angle: Series  # degrees between them: 90 where one of them stands still
    cosine: Series  # of that angle: 1 the same way, -1 the other way
    magnitude_ratio: Series  # measured over expected length of the mean flows

    def __len__(self) -> int:
        return len(self.epe)

    def named(self) -> dict[str, Series]:
        """Return every series by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def flow_errors(expected: Flows, measured: Flows) -> FlowErrors:
    """Compare measured flow with expected flow."""
    rows = [_pair(e, m) for e, m in zip(expected, measured, strict=True)]
    table = np.array(rows, np.float64).reshape(len(rows), len(fields(FlowErrors)))
    return FlowErrors(*table.T)


def divergence_onset(errors: Series, limit: float) -> int | None:
    """Return the first pair from which on five in a row err by more than `limit` pixels in the mean, or None."""
    beyond = np.flatnonzero(smoothed(errors) > limit)
    return int(beyond[0]) if len(beyond) else None


def usual_limit(errors: Series, width: int) -> float:
    """Return the limit of a video of which nothing else is known: twice the median of its first five pairs.

    It is a pixel in 640 or more. A video that is wrong from the beginning passes it.
    """
    first = errors[:SMOOTHED]
    known = first[np.isfinite(first)]
    return max(2 * float(np.median(known)) if len(known) else 0.0, ONSET * width)


def smoothed(errors: Series) -> Float64[np.ndarray, "m"]:
    """Return the mean of every five pairs in a row, without those that are unknown; 0 where all five are."""
    if len(errors) < SMOOTHED:
        return np.zeros(0)
    windows = np.lib.stride_tricks.sliding_window_view(errors, SMOOTHED)
    known = np.isfinite(windows)
    return np.where(known, windows, 0).sum(1) / np.maximum(known.sum(1), 1)


def area_under(errors: Series) -> float:
    """Return the area under a curve over its length, by trapezoids; NaN entries are left out."""
    known = errors[np.isfinite(errors)]
    return float(np.trapezoid(known) / (len(known) - 1)) if len(known) > 1 else float("nan")


def focus_of_expansion(flow: Float[np.ndarray, "h w 2"]) -> tuple[float, float] | None:
    """Return the place (x, y) that what is seen moves away from or towards, from the middle; None without one."""
    height, width = int(flow.shape[0]), int(flow.shape[1])
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    moving = np.linalg.norm(flow, axis=-1) > STILL * width
    u, v = flow[moving].astype(np.float64).T
    lines = np.stack([v, -u], 1)  # each place lies with the focus on a line along its flow
    if len(lines) < 2 or np.linalg.cond(lines) > 100:
        return None
    right, down = np.linalg.pinv(lines) @ (v * x[moving] - u * y[moving])
    return float(right), float(down)


def _pair(expected: Float32[np.ndarray, "h w 2"], measured: Float32[np.ndarray, "h w 2"]) -> tuple[float, ...]:
    known = np.isfinite(measured).all(-1)
    share, nothing = float(known.mean()), float("nan")
    if not known.any():
        return share, *([nothing] * 7)
    still, (should, does) = STILL * expected.shape[1], (expected[known], measured[known])
    lengths = np.linalg.norm(should, axis=-1), np.linalg.norm(does, axis=-1)
    judged = _judged(np.maximum(*lengths), still)
    error = np.linalg.norm(should - does, axis=-1)
    if not judged.any():
        return share, float(error.mean()), *([nothing] * 6)
    outlying = (error > OUTLIER * expected.shape[1]) & (error > OUTLYING * lengths[0])
    means = should[judged].mean(0, dtype=np.float64), does[judged].mean(0, dtype=np.float64)
    together = float(np.linalg.norm(means[0])) >= TOGETHER * float(lengths[0][judged].mean())
    both = judged & (lengths[0] > still) & (lengths[1] > still)
    return (
        share,
        float(error[judged].mean()),
        _angle_rmse(should[both], does[both]),
        float(outlying[judged].mean()),
        *(_compared(*means, still) if together else (nothing,) * 4),
    )


def _compared(
    expected: Float64[np.ndarray, "2"], found: Float64[np.ndarray, "2"], still: float
) -> tuple[float, float, float, float]:
    """Return error, angle, cosine and ratio of lengths of two mean flows; NaN for what cannot be told of them."""
    should, does = float(np.linalg.norm(expected)), float(np.linalg.norm(found))
    if max(should, does) <= still:
        return float(np.linalg.norm(expected - found)), float("nan"), float("nan"), float("nan")
    cosine = float(np.clip(expected @ found / (should * does), -1, 1)) if min(should, does) > still else 0.0
    ratio = does / should if should > still else float("nan")
    return float(np.linalg.norm(expected - found)), float(np.degrees(np.arccos(cosine))), cosine, ratio


def _judged(lengths: Float32[np.ndarray, "p"], still: float) -> Bool[np.ndarray, "p"]:
    """Return the places where something moves, but for the fastest of the picture."""
    return (lengths >= still) & (lengths <= np.percentile(lengths, FASTEST))


def _angle_rmse(expected: Float32[np.ndarray, "p 2"], measured: Float32[np.ndarray, "p 2"]) -> float:
    """Return the root mean square angle between two flows, in degrees; NaN without places."""
    if not len(expected):
        return float("nan")
    a, b = expected.astype(np.float64), measured.astype(np.float64)
    cross = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    return float(np.degrees(np.sqrt(np.mean(np.arctan2(cross, (a * b).sum(1)) ** 2))))
