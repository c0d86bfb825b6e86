"""All that one look at a dream can tell, with truth beside it or without: what validation during training logs.

Of real play the same is measured wherever it is there, as ``..._real``: what a perfect dream would score.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from hallucade.actions import ActionSpace
from hallucade.evaluation.camera_flow import CameraModel
from hallucade.evaluation.flow_score import flow_score
from hallucade.evaluation.metrics.consistency import consistency, palette
from hallucade.evaluation.metrics.dynamic_degree import dynamic_degree
from hallucade.evaluation.metrics.features import PictureNetwork
from hallucade.evaluation.metrics.motion_smoothness import motion_smoothness
from hallucade.evaluation.metrics.optical_flow import ENLARGED, SMALLEST
from hallucade.evaluation.metrics.picture_statistics import flicker, flickering
from hallucade.evaluation.picture_scores import PictureScores
from hallucade.evaluation.tally import Tally
from hallucade.shapes import FrameArray

HORIZONS = (1, 4, 16, 64, 256, 1024)  # frames at which a dream is compared with the truth


@dataclass(frozen=True)
class Judge:
    """What videos are measured with.

    Args:
        actions: of the game.
        fps: frames a second.
        camera: of the game; None leaves the optical-flow score out.
        network: whose features tell consistency beside the colours; None for these alone.
    """

    actions: ActionSpace
    fps: float
    camera: CameraModel | None = None
    network: PictureNetwork | None = None
    _real: dict[bytes, dict[str, float]] = field(
        default_factory=dict[bytes, dict[str, float]], init=False, repr=False, compare=False
    )

    def real_values(self, frames: FrameArray, rows: Float32[np.ndarray, "n c"]) -> dict[str, float]:
        """Measure real play, which is the same at every validation, once."""
        key = hashlib.sha256(frames.tobytes() + rows.tobytes()).digest()
        if key not in self._real:
            self._real[key] = self.values(frames, rows)
        return self._real[key]

    def values(self, frames: FrameArray, rows: Float32[np.ndarray, "n c"]) -> dict[str, float]:
        """Measure one video of n + 1 frames; what does not apply to it is NaN or absent."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames))
        found = {
            "flickering": float(flickering(pixels)),
            "flicker": float(flicker(pixels).mean()) if len(frames) > 2 else float("nan"),
            "consistency_palette": consistency(palette(pixels)),
        }
        if self.network is not None:
            found["consistency_lite0"] = consistency(self.network.features(pixels[None])[0])
        if min(frames.shape[1:3]) * ENLARGED < SMALLEST:
            return found
        found |= {"motion_smoothness": motion_smoothness(frames), "dynamic_degree": dynamic_degree(frames, self.fps)}
        if self.camera is not None:
            found |= flow_score(self.camera, self.actions, frames, rows).values()
        return found


class RolloutScores:
    """Gathers what a judge says of dreams, one after the other and over ranks."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self._pictures, self._videos = PictureScores(HORIZONS), Tally()

    def add(
        self,
        before: UInt8[np.ndarray, "1 h w 3"],
        dreamed: UInt8[np.ndarray, "n h w 3"],
        rows: Float32[np.ndarray, "n c"],
        truth: UInt8[np.ndarray, "n h w 3"] | None = None,
    ) -> dict[str, float]:
        """Add one dream and return what was measured of it alone.

        Args:
            before: the last frame of the prompt.
            dreamed: what was dreamed after it.
            rows: the actions that led to it.
            truth: what really followed.
        """
        values = self.judge.values(np.concatenate([before, dreamed]), rows)
        if truth is not None:
            real = np.concatenate([before, truth])
            values |= {f"{name}_real": value for name, value in self.judge.real_values(real, rows).items()}
            self._pictures.add(dreamed[None], real[None])
        self._videos.add(values)
        return {name: value for name, value in values.items() if np.isfinite(value)}

    def across_ranks(self) -> "RolloutScores":
        """Return the scores of all ranks' dreams, on every rank."""
        together = RolloutScores(self.judge)
        together._pictures, together._videos = self._pictures.across_ranks(), self._videos.across_ranks()
        return together

    def metrics(self, prefix: str = "") -> dict[str, float]:
        """Return means over dreams, named ``{prefix}psnr@16`` and ``{prefix}flow_epe``."""
        return self._pictures.metrics(prefix) | {prefix + name: mean for name, mean in self._videos.means().items()}
