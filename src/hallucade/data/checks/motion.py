"""How the picture moves from each frame to the next: of the view as a whole, and in each part of the picture.

The view's shift is the weighted median of dense optical flow (Kroeger et al. 2016, arXiv:1603.03590). Weights are edges
that the motion can be read from and that are not painted on the screen: a map or a weapon that stays where it is has
edges and never changes. Games whose view never moves are read from the parts: there the flow is one step of Lucas and
Kanade's, a sum over each cell, which a paddle of three pixels still shows in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from hallucade.shapes import FrameArray

AREA = 72 * 72  # pixels of the pictures that are measured, about: 1 ms a pair
ENLARGED = 3.0  # at most; flow needs room for its patches
SMALLEST = 16  # pixels a side; flow takes no less than 12
CELLS = 6  # a side, of the grid of parts
BLUR = 2.0  # pixels, before differences are taken: motion of a part must stay within the slope of an edge
STILL = 0.3  # of the median change over time: below it a pixel is painted on the screen
THIN = 2  # every how many pixels the median is taken from
FLAT = 2.0  # grey levels of deviation: a part with less says nothing
FEWEST = 6  # parts that say something, before a picture can be torn
THUMBNAIL = 32  # pixels, the longer side of the pictures that are compared as a whole

Grey = Float32[np.ndarray, "t h w"]


@dataclass(frozen=True)
class Motion:
    """What happens between the n + 1 frames of a run; one entry a pair."""

    right: Float32[np.ndarray, "n"]  # shift of the view in pixels of the store; what is seen moves left
    up: Float32[np.ndarray, "n"]  # shift of the view; what is seen moves down
    forward: Float32[np.ndarray, "n"]  # growth of what is seen: 0.01 is 1 % a frame
    change: Float32[np.ndarray, "n"]  # mean absolute difference in grey levels
    unlike: Float32[np.ndarray, "n"]  # 0 the same picture, moved by up to a quarter; 1 nothing in common
    torn: Float32[np.ndarray, "n"]  # 0 each part of the picture is found again where it moved to; 1 hardly any is
    copied: Bool[np.ndarray, "n"]  # the second frame is the first, bit for bit
    plain: Bool[np.ndarray, "n"]  # the second frame is of one colour
    parts: Float32[np.ndarray, "n d"]  # of each cell: motion across, motion down, change

    def __len__(self) -> int:
        return len(self.right)

    @staticmethod
    def joined(runs: "Sequence[Motion]") -> "Motion":
        """Return several runs end to end."""
        return Motion(*(np.concatenate([getattr(run, f.name) for run in runs]) for f in fields(Motion)))


def measure_motion(frames: FrameArray) -> Motion:
    """Measure the motion between successive frames; `frames` of one run, at least two."""
    grey, scale = working_pictures(frames)
    shift = _view_motion(grey)
    flat = frames.reshape(len(frames), -1, 3)
    return Motion(
        right=shift[:, 0] / np.float32(scale),
        up=shift[:, 1] / np.float32(scale),
        forward=shift[:, 2],
        change=np.array([_difference(a, b).mean() for a, b in pairwise(grey)], np.float32),
        unlike=np.minimum(shift[:, 3], _unlikeness(grey)),
        torn=shift[:, 4],
        copied=np.array([np.array_equal(a, b) for a, b in pairwise(frames)]),
        plain=(flat[1:] == flat[1:, :1]).all(axis=(1, 2)),
        parts=_part_motion(grey),
    )


def working_pictures(frames: FrameArray) -> tuple[UInt8[np.ndarray, "t h2 w2"], float]:
    """Return grey pictures of about `AREA` pixels, and their size over that of `frames`."""
    _, height, width, _ = frames.shape
    scale = min(ENLARGED, (AREA / (height * width)) ** 0.5)
    size = max(SMALLEST, round(width * scale)), max(SMALLEST, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.stack([_resized(_grey(frame), size, how) for frame in frames]), scale


def _grey(frame: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY), np.uint8)


def _resized(picture: UInt8[np.ndarray, "h w"], size: tuple[int, int], how: int) -> UInt8[np.ndarray, "h2 w2"]:
    return np.asarray(cv2.resize(np.ascontiguousarray(picture), size, interpolation=how), np.uint8)


def _difference(before: UInt8[np.ndarray, "h w"], after: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    return np.asarray(cv2.absdiff(np.ascontiguousarray(before), np.ascontiguousarray(after)), np.uint8)


def _blurred(picture: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    return np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), BLUR), np.float32)


def _view_motion(grey: UInt8[np.ndarray, "t h w"]) -> Float32[np.ndarray, "n 5"]:
    """Return for each pair shift to the right, upwards, growth, in working pixels, and what no flow explains: at all,
    and in most parts."""
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    flow.setFinestScale(1)
    view = _View(grey)
    rows: list[tuple[float, float, float, float, float]] = []
    for before, after in pairwise(grey):
        field = np.asarray(flow.calc(before, after, np.zeros((*before.shape, 2), np.float32)))
        rows.append(view.motion(before, after, field))
    return np.array(rows, np.float32)


class _View:
    """Reads the motion of the whole view from flow, by the edges that move with it."""

    def __init__(self, grey: UInt8[np.ndarray, "t h w"]) -> None:
        height, width = grey.shape[1:]
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        self._grid = np.stack([x, y], axis=2)
        self._radius = self._grid - np.array([(width - 1) / 2, (height - 1) / 2], np.float32)
        self._seen = _moving(grey)

    def motion(
        self, before: UInt8[np.ndarray, "h w"], after: UInt8[np.ndarray, "h w"], flow: Float32[np.ndarray, "h w 2"]
    ) -> tuple[float, float, float, float, float]:
        mean = (before.astype(np.float32) + after) / 2
        edges = [np.abs(cv2.Sobel(mean, -1, *axis)) * self._seen for axis in ((1, 0), (0, 1))]
        weights = np.stack(edges, axis=2)
        x, y = (_weighted_median(flow[::THIN, ::THIN, i], weights[::THIN, ::THIN, i]) for i in (0, 1))
        outward = (flow - np.array([x, y], np.float32)) * self._radius * weights
        growth = outward.sum() / ((self._radius**2 * weights).sum() + 1e-6)
        back_x, back_y = cv2.split(self._grid + flow)
        back = np.asarray(cv2.remap(after, back_x, back_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
        return -x, y, float(growth), 1 - _correlation(before, back), _tornness(before, back)


def _moving(grey: UInt8[np.ndarray, "t h w"]) -> Float32[np.ndarray, "h w"]:
    """Return 1 where the picture changes over the run, 0 (nearly) where something is painted on the screen."""
    change = np.zeros(grey.shape[1:], np.float32)
    for before, after in pairwise(grey):
        change += _difference(before, after)
    return np.where(change > STILL * np.median(change), 1, 1e-4).astype(np.float32)


def _weighted_median(values: Float32[np.ndarray, "h w"], weights: Float32[np.ndarray, "h w"]) -> float:
    order = np.argsort(values, axis=None)
    total = np.cumsum(weights.ravel()[order] + np.float32(1e-6), dtype=np.float64)
    return float(values.ravel()[order[np.searchsorted(total, total[-1] / 2)]])


def _part_motion(grey: UInt8[np.ndarray, "t h w"]) -> Float32[np.ndarray, "n d"]:
    smooth = np.stack([_blurred(picture) for picture in grey])
    time, mean = np.diff(smooth, axis=0), (smooth[1:] + smooth[:-1]) / 2
    across, down = np.gradient(mean, axis=2), np.gradient(mean, axis=1)
    floor = grey.shape[1] * grey.shape[2] / CELLS**2 / 10  # grey levels squared: noise of a flat cell is no motion
    x = -_cell_sums(across * time) / (_cell_sums(across**2) + floor)
    y = -_cell_sums(down * time) / (_cell_sums(down**2) + floor)
    return np.concatenate([x, y, np.sqrt(_cell_sums(time**2))], axis=1, dtype=np.float32)


def _cell_sums(pictures: Grey) -> Float32[np.ndarray, "t cells"]:
    rows, columns = (np.arange(CELLS) * n // CELLS for n in pictures.shape[1:])
    return np.add.reduceat(np.add.reduceat(pictures, rows, 1), columns, 2).reshape(len(pictures), -1)


def _tornness(picture: UInt8[np.ndarray, "h w"], other: UInt8[np.ndarray, "h w"]) -> float:
    """Return 1 - the median over parts of how two pictures correlate there.

    A flash, a lamp that goes out or a wall that comes close changes a picture as much as a cut does, but not most of
    its parts.
    """
    a, b = picture.astype(np.float32), other.astype(np.float32)
    pixels, *sums = _cell_sums(np.stack([np.ones_like(a), a, b, a * a, b * b, a * b])).astype(np.float64)
    mean_a, mean_b, squares_a, squares_b, products = (each / pixels for each in sums)
    deviation = np.sqrt(np.maximum([squares_a - mean_a**2, squares_b - mean_b**2], 0))
    told = (deviation > FLAT).all(axis=0)
    if told.sum() < FEWEST:
        return 0.0
    return 1 - float(np.median((products - mean_a * mean_b)[told] / deviation.prod(axis=0)[told]))


def _unlikeness(grey: UInt8[np.ndarray, "t h w"]) -> Float32[np.ndarray, "n"]:
    """Compare the middle half of each picture with every place of its neighbour, both ways."""
    height, width = grey.shape[1:]
    scale = THUMBNAIL / max(height, width)
    size = max(4, round(width * scale)), max(4, round(height * scale))
    small = [_resized(picture, size, cv2.INTER_AREA) for picture in grey]
    return np.array([1 - max(_best_match(a, b), _best_match(b, a)) for a, b in pairwise(small)], np.float32)


def _best_match(picture: UInt8[np.ndarray, "h w"], other: UInt8[np.ndarray, "h w"]) -> float:
    """Return the correlation of the middle of `other` with the place in `picture` that it fits best, at least 0."""
    height, width = other.shape
    middle = other[height // 4 : height - height // 4, width // 4 : width - width // 4]
    if middle.std() < 1 or picture.std() < 1:  # a wall or the sky says nothing
        return 1.0
    return max(0.0, float(cv2.matchTemplate(picture, middle, cv2.TM_CCOEFF_NORMED).max()))


def _correlation(picture: UInt8[np.ndarray, "h w"], other: UInt8[np.ndarray, "h w"]) -> float:
    if picture.std() < 1 or other.std() < 1:
        return 1.0
    return float(np.corrcoef(picture.ravel(), other.ravel())[0, 1])
