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

Flows: TypeAlias = Float32[np.ndarray, "n h w 2"]  # pixels to the right and down, from each frame to the next
FlowEstimator: TypeAlias = Callable[[FrameArray], Flows]

ROOM = 128  # pixels of the shorter side that small pictures are enlarged to: patches of 8 need room
ENLARGED = 4.0  # at most
SMALLEST = 16  # pixels a side; dense inverse search takes no less than 12


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
