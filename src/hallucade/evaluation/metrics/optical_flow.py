"""Dense optical flow between successive frames, without weights: dense inverse search.

Source: Kroeger et al. 2016, arXiv:1603.03590. Another estimator, such as a network's, is a function of the same shape.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from hallucade.shapes import FrameArray

# Pixels to the right and down, from each frame to the next; NaN at places of which it is not known.
Flows: TypeAlias = Float32[np.ndarray, "n h w 2"]
FlowEstimator: TypeAlias = Callable[[FrameArray], Flows]

ROOM = 128  # pixels of the shorter side that small pictures are enlarged to: patches of 8 need room
PATCH = 8  # pixels of those that flow is told from
PLAIN = 3.0  # grey levels: less contrast within a patch tells no flow
ENLARGED = 4.0  # at most
SMALLEST = 16  # pixels a side; dense inverse search takes no less than 12
LOST = 0.3  # pixels by which a place may miss itself on the way there and back, and
LOST_SHARE = 0.05  # of the length of that way


def dis_flow(frames: FrameArray) -> Flows:
    """Measure how what is seen moves between n + 1 frames, in pixels of these frames.

    Raises:
        ValueError: fewer than two frames, or frames of fewer than 4 pixels a side.
    """
    t, height, width, _ = frames.shape
    if t < 2 or min(height, width) * ENLARGED < SMALLEST:
        raise ValueError(f"{t} frames of {height}x{width} pixels; flow needs two or more, of 4 pixels a side or more")
    scale = min(ENLARGED, max(1.0, ROOM / min(height, width)))
    size = round(width * scale), round(height * scale)
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pictures = (_grey(frame, size) for frame in frames)
    return np.stack([_flow(estimator, a, b, (width, height)) for a, b in pairwise(pictures)])


def reliable_flow(frames: FrameArray, estimator: FlowEstimator = dis_flow) -> Flows:
    """Measure flow both ways in time, and keep it where the way back leads to where the way there began.

    What leaves the picture, comes from behind something or moves too far to be found is NaN.

    Raises:
        ValueError: see `dis_flow`.
    """
    ahead, back = estimator(frames), estimator(np.ascontiguousarray(frames[::-1]))[::-1]
    return np.stack([_kept(there, again) for there, again in zip(ahead, back, strict=True)])


def on_texture(frames: FrameArray, flows: Flows) -> Flows:
    """Forget the flow of what is plain, such as a bare floor, which looks as if it stood still however it moves.

    Args:
        frames: n + 1 of them.
        flows: of these.
    """
    side = max(3, round(PATCH * min(frames.shape[1:3]) / ROOM))
    contrast = [_contrast(_grey(frame, (frame.shape[1], frame.shape[0])), side) for frame in frames[:-1]]
    return np.where((np.stack(contrast) >= PLAIN)[..., None], flows, np.float32(np.nan))


def _contrast(grey: UInt8[np.ndarray, "h w"], side: int) -> Float32[np.ndarray, "h w"]:
    """Return the standard deviation of grey levels in a square about each place."""
    values = grey.astype(np.float32)
    mean, square = cv2.blur(values, (side, side)), cv2.blur(values * values, (side, side))
    return np.sqrt(np.maximum(square - mean * mean, 0))


def _kept(ahead: Float32[np.ndarray, "h w 2"], back: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 2"]:
    height, width, _ = ahead.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = x + ahead[..., 0], y + ahead[..., 1]
    again = np.asarray(cv2.remap(np.ascontiguousarray(back), x, y, cv2.INTER_LINEAR), np.float32)
    way = np.linalg.norm(ahead, axis=-1) + np.linalg.norm(again, axis=-1)
    found = np.linalg.norm(ahead + again, axis=-1) <= LOST + LOST_SHARE * way
    found &= (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return np.where(found[..., None], ahead, np.float32(np.nan))


def _flow(
    estimator: cv2.DISOpticalFlow,
    before: UInt8[np.ndarray, "h2 w2"],
    after: UInt8[np.ndarray, "h2 w2"],
    size: tuple[int, int],
) -> Float32[np.ndarray, "h w 2"]:
    """Return the flow at `size` (width, height), in pixels of it."""
    large = np.asarray(estimator.calc(before, after, np.zeros((*before.shape, 2), np.float32)), np.float32)
    small = np.asarray(cv2.resize(large, size, interpolation=cv2.INTER_AREA), np.float32)
    return small * np.array([size[0] / large.shape[1], size[1] / large.shape[0]], np.float32)


def _grey(frame: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "h2 w2"]:
    grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
    if size == grey.shape[::-1]:
        return np.asarray(grey, np.uint8)
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_CUBIC), np.uint8)
