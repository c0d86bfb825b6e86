"""The synthetic optical-flow score: does what is seen move as the keys and the mouse say?

It needs no truth beside it, so that it judges a dream of any length. What it calls an error is also what the camera
model does not know: distances, walls that stop a player, things that move by themselves. So read it beside the score of
real play.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from hallucade.actions import ActionSpace
from hallucade.evaluation.camera_flow import CameraModel
from hallucade.evaluation.metrics.flow_error import FlowErrors, area_under, divergence_onset, flow_errors, usual_limit
from hallucade.evaluation.metrics.optical_flow import FlowEstimator, Flows, reliable_flow
from hallucade.evaluation.tally import Tally
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
        spread, most = (float(epe.std()), float(epe.max())) if len(epe) else (float("nan"),) * 2
        means = {FLOW + name: _mean(series) for name, series in self.errors.named().items()}
        return {
            **means,
            f"{FLOW}epe_std": spread,
            f"{FLOW}epe_max": most,
            f"{FLOW}epe_auc": area_under(self.errors.epe),
            f"{FLOW}diverged": float(self.onset is not None),
            f"{FLOW}onset": float(len(self.errors) if self.onset is None else self.onset),
        }


def flow_score(
    camera: CameraModel,
    actions: ActionSpace,
    frames: FrameArray,
    rows: ActionRows,
    estimator: FlowEstimator = reliable_flow,
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


class FlowScores:
    """Gathers the scores of dreams, and of the real play beside them as ``..._real``."""

    def __init__(self, camera: CameraModel, actions: ActionSpace) -> None:
        self._camera, self._actions, self._tally = camera, actions, Tally()

    def add(
        self,
        dreamed: UInt8[np.ndarray, "b t h w 3"],
        truth: UInt8[np.ndarray, "b t h w 3"],
        rows: Float32[np.ndarray, "b t-1 c"],
    ) -> None:
        """Add dreams and what really followed; both begin with the last frame of the prompt."""
        for frames, real, held in zip(dreamed, truth, rows, strict=True):
            self._tally.add(flow_score(self._camera, self._actions, frames, held).values())
            values = flow_score(self._camera, self._actions, real, held).values()
            self._tally.add({f"{name}_real": value for name, value in values.items()})

    def metrics(self, prefix: str) -> dict[str, float]:
        """Return means over dreams, named ``{prefix}flow_epe``."""
        return {prefix + name: mean for name, mean in self._tally.means().items()}

    def across_ranks(self) -> "FlowScores":
        """Return the scores of all ranks' dreams, on every rank."""
        together = FlowScores(self._camera, self._actions)
        together._tally = self._tally.across_ranks()
        return together


def _mean(series: np.ndarray) -> float:
    known = series[np.isfinite(series)]
    return float(known.mean()) if len(known) else float("nan")
