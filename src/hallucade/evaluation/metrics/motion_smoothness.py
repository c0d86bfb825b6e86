"""Does motion go on evenly? Every second frame is guessed from its neighbours along the flow between them.

After VBench (Huang et al. 2024, arXiv:2311.17982), which guesses with a network; here the flow does.
"""

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from hallucade.evaluation.metrics.optical_flow import FlowEstimator, dis_flow
from hallucade.shapes import FrameArray


def motion_smoothness(frames: FrameArray, estimator: FlowEstimator = dis_flow) -> float:
    """Return 1 less the mean difference of guessed and shown frames, in shares of 255: 1 is the smoothest.

    NaN of fewer than three frames.
    """
    kept = frames[::2]
    if len(kept) < 2:
        return float("nan")
    ahead, back = estimator(kept), estimator(np.ascontiguousarray(kept[::-1]))[::-1]
    errors = [
        np.abs(_between(a, b, to, fro) - shown).mean()
        for a, b, to, fro, shown in zip(kept[:-1], kept[1:], ahead, back, frames[1::2], strict=False)
    ]
    return 1 - float(np.mean(errors)) / 255


def _between(
    before: UInt8[np.ndarray, "h w 3"],
    after: UInt8[np.ndarray, "h w 3"],
    ahead: Float32[np.ndarray, "h w 2"],
    back: Float32[np.ndarray, "h w 2"],
) -> Float32[np.ndarray, "h w 3"]:
    """Return the picture half way: the mean of both neighbours, each moved half of its way to the other."""
    return (_moved(before, ahead / 2) + _moved(after, back / 2)) / 2


def _moved(picture: UInt8[np.ndarray, "h w 3"], flow: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 3"]:
    """Return a picture whose every pixel comes from where the flow there says that it was."""
    height, width, _ = picture.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    found = cv2.remap(
        np.ascontiguousarray(picture, np.float32),
        x - flow[..., 0],
        y - flow[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(found, np.float32)
