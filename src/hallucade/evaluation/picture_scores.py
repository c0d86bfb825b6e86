"""PSNR and SSIM at chosen horizons, of whole pictures and of what moves, gathered batch by batch."""

from collections import defaultdict

import numpy as np
import torch
from jaxtyping import UInt8

from hallucade.evaluation.intervals import exact_mean
from hallucade.evaluation.metrics.motion import moving_region
from hallucade.evaluation.metrics.psnr import psnr
from hallucade.evaluation.metrics.ssim import WINDOW, ssim
from hallucade.evaluation.ranks import from_every_rank


class PictureScores:
    """Gathers scores of dreamed frames against the truth; pictures too small for SSIM go without."""

    def __init__(self, horizons: tuple[int, ...]) -> None:
        self.horizons = horizons
        self._scores: dict[str, list[np.ndarray]] = defaultdict(list)

    def add(self, frames: UInt8[np.ndarray, "b t h w 3"], truth: UInt8[np.ndarray, "b t+1 h w 3"]) -> None:
        """Add rollouts; `truth` starts one frame earlier, with the last of the prompt, to show what moves first."""
        for horizon in self.horizons:
            if horizon > frames.shape[1]:
                break
            before_and_now = torch.from_numpy(truth[:, horizon - 1 : horizon + 1])
            moving = moving_region(before_and_now)[:, 0]
            dreamed, true = torch.from_numpy(frames[:, horizon - 1]), before_and_now[:, 1]
            self._scores[f"psnr@{horizon}"].append(psnr(dreamed, true).numpy())
            self._scores[f"psnr_moving@{horizon}"].append(psnr(dreamed, true, moving).numpy())
            if min(frames.shape[2:4]) >= WINDOW:
                self._scores[f"ssim@{horizon}"].append(ssim(dreamed, true).numpy())
                self._scores[f"ssim_moving@{horizon}"].append(ssim(dreamed, true, moving).numpy())

    def metrics(self, prefix: str) -> dict[str, float]:
        """Return means over rollouts, named ``{prefix}psnr@8``; where nothing ever moved there is no moving score.

        Sums are exact: no order or division of the rollouts changes a bit.
        """
        joined = {name: np.concatenate(parts) for name, parts in self._scores.items()}
        return {prefix + name: exact_mean(v[~np.isnan(v)]) for name, v in joined.items() if not np.isnan(v).all()}

    def across_ranks(self) -> "PictureScores":
        """Return the scores of all ranks' rollouts, on every rank."""
        together = PictureScores(self.horizons)
        for scores in from_every_rank(dict(self._scores)):
            for name, parts in scores.items():
                together._scores[name] += parts
        return together
