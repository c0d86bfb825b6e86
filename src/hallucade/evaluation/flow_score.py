"""The synthetic optical-flow score: does what is seen move as the keys and the mouse say?

It needs no truth beside it, so that it judges a dream of any length. What it calls an error is also what the camera
model does not know: distances, walls that stop a player, things that move by themselves. So read it beside the score of
real play.
"""

from dataclasses import dataclass

import numpy as np

from hallucade.actions import ActionSpace
from hallucade.evaluation.camera_flow import CameraModel
from hallucade.evaluation.metrics.flow_error import FlowErrors, area_under, divergence_onset, flow_errors, usual_limit
from hallucade.evaluation.metrics.optical_flow import FlowEstimator, Flows, dis_flow
from hallucade.shapes import ActionRows, FrameArray

FLOW = "flow_"  # how the names of these metrics begin


@dataclass(frozen=True)
class FlowScore:
    """How far the motion of one video is from what its actions should cause."""

    errors: FlowErrors
    onset: int | None  # the pair of frames at which the errors begin to stand out

    def values(self) -> dict[str, float]:
        """Return means over frames, and of the endpoint error also spread, maximum and area; NaN where unknown."""
        epe = self.errors.epe[np.isfinite(self.errors.epe)]
        means = {FLOW + name: _mean(series) for name, series in self.errors.named().items()}
        return {
            **means,
            f"{FLOW}epe_std": float(epe.std()),
            f"{FLOW}epe_max": float(epe.max()),
            f"{FLOW}epe_auc": area_under(self.errors.epe),
            f"{FLOW}diverged": float(self.onset is not None),
            f"{FLOW}onset": float(len(self.errors) if self.onset is None else self.onset),
        }


def flow_score(
    camera: CameraModel,
    actions: ActionSpace,
    frames: FrameArray,
    rows: ActionRows,
    estimator: FlowEstimator = dis_flow,
) -> FlowScore:
    """Judge n + 1 frames by the n actions that join them.

    Raises:
        ValueError: another number of actions, or a camera of another game.
    """
    if len(rows) != len(frames) - 1:
        raise ValueError(f"{len(rows)} actions for {len(frames)} frames; pass {len(frames) - 1}")
    size = (frames.shape[1], frames.shape[2])
    return compared(camera, camera.expected(actions, rows, size), estimator(frames))


def compared(camera: CameraModel, expected: Flows, measured: Flows) -> FlowScore:
    """Judge measured flow by what a camera model expects of the actions."""
    errors, width = flow_errors(expected, measured), expected.shape[2]
    limit = camera.worst_error * camera.scale_at(width) or usual_limit(errors.epe, width)
    return FlowScore(errors, divergence_onset(errors.epe, limit))


def _mean(series: np.ndarray) -> float:
    known = series[np.isfinite(series)]
    return float(known.mean()) if len(known) else float("nan")
