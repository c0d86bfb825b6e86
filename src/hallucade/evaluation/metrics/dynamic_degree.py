"""Does anything move at all? A dream that stands still is steady, smooth and consistent, and worth nothing.

Source: VBench (Huang et al. 2024, arXiv:2311.17982), which measures flow with RAFT.
"""

import numpy as np
from jaxtyping import Float64

from hallucade.evaluation.metrics.optical_flow import FlowEstimator, Flows, dis_flow
from hallucade.shapes import FrameArray

RATE = 8  # pictures a second that are compared
FASTEST = 0.05  # share of the places that counts
THRESHOLD = 6 / 256  # of the shorter side; from here on a pair of pictures moves
MOVING = 4 / 16  # of the pictures: a video with so many moving pairs is dynamic


def dynamic_degree(frames: FrameArray, fps: float, estimator: FlowEstimator = dis_flow) -> float:
    """Return 1 for a video that moves and 0 for one that does not; NaN of less than two pictures at `RATE`."""
    compared = frames[:: max(1, round(fps / RATE))]
    if len(compared) < 2:
        return float("nan")
    moving = fastest_motion(estimator(compared)) > THRESHOLD * min(frames.shape[1:3])
    return float(moving.sum() >= max(1, round(MOVING * len(compared))))


def fastest_motion(flows: Flows) -> Float64[np.ndarray, "n"]:
    """Return the mean length of the fastest twentieth of each flow, in pixels."""
    lengths = np.sort(np.linalg.norm(flows.astype(np.float64), axis=-1).reshape(len(flows), -1), 1)
    return lengths[:, -max(1, int(lengths.shape[1] * FASTEST)) :].mean(1)
