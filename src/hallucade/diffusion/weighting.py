"""Loss weights over pixels and noise levels."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.config import Config
from hallucade.diffusion.schedules import NoiseSchedule
from hallucade.diffusion.targets import LossSpace, loss_scale
from hallucade.diffusion.timesteps import LevelConfig


@dataclass(frozen=True, kw_only=True)
class LevelWeightConfig(Config):
    """How much a frame counts for its noise level, beside what the loss space makes of it."""

    def weight(self, space: LossSpace, level: Tensor, schedule: NoiseSchedule) -> Tensor:
        """Return the factor on the squared error in `space`, one a level."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class EqualWeight(LevelWeightConfig):
    """Each level counts for its error in the loss space."""

    def weight(self, space: LossSpace, level: Tensor, schedule: NoiseSchedule) -> Tensor:
        return torch.ones_like(level)


@dataclass(frozen=True, kw_only=True)
class MinSNRWeight(LevelWeightConfig):
    """Min-SNR: the squared error in x0 counts ``min(SNR, gamma)``, SNR = (alpha / sigma)^2 of each frame's own level.

    The error in another space is a multiple of the error in x0 (`loss_scale`), and the weight there is min(SNR, gamma)
    over that multiple. Where alpha^2 + sigma^2 = 1:

    - x: min(SNR, gamma)
    - eps: min(SNR, gamma) / SNR
    - v: min(SNR, gamma) / (SNR + 1)
    - flow: min(SNR, gamma) / (sqrt(SNR) + 1)^2, on any schedule

    So the loss is the same in each space, and the choice of space makes no difference. What the network predicts makes
    none either: the error is taken after conversion to x0. Pure noise counts nothing: prefer `EqualWeight` for models
    that sample in one step. Source: Hang et al. 2023, arXiv:2303.09556, section 3.4.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        if self.gamma <= 0:
            raise ValueError(f"gamma is {self.gamma}; it must be positive, 5 in the paper")

    def weight(self, space: LossSpace, level: Tensor, schedule: NoiseSchedule) -> Tensor:
        scale = loss_scale(space, level, schedule)
        return schedule.snr(level).clamp(max=self.gamma) / scale.clamp_min(torch.finfo(scale.dtype).tiny)


@dataclass(frozen=True, kw_only=True)
class BellWeight(LevelWeightConfig):
    """A bell over the levels of training: ``exp(-2 (s - 1/2)^2)`` less its value at the ends, scaled to a mean of 1.

    Middle levels count most, data and pure noise nothing; 1.58 times the mean at the top. For models that other
    methods go on to distil, in the space "flow" or "v". Source: the training weight of public flow-matching video
    models, as causal diffusion forcing of Wan 2.1 uses it.
    """

    def weight(self, space: LossSpace, level: Tensor, schedule: NoiseSchedule) -> Tensor:
        return ((-2 * (level - 0.5).square()).exp() - BELL_ENDS) / BELL_MEAN


BELL_ENDS = math.exp(-0.5)
BELL_MEAN = math.sqrt(math.pi / 2) * math.erf(math.sqrt(0.5)) - BELL_ENDS  # over levels from 0 to 1, less the ends


def check_weight(weight: LevelWeightConfig, levels: LevelConfig) -> None:
    """Refuse a weight that counts nothing where training is asked to look.

    Raises:
        ValueError: min-SNR, or a bell, with a share of pure noise.
    """
    if isinstance(weight, BellWeight) and levels.pure_noise_share > 0:
        raise ValueError(
            f"pure_noise_share is {levels.pure_noise_share}, but the bell gives pure noise no weight; "
            "set the share to 0, or level_weight to EqualWeight"
        )
    if isinstance(weight, MinSNRWeight) and levels.pure_noise_share > 0:
        raise ValueError(
            f"pure_noise_share is {levels.pure_noise_share}, but min-SNR gives pure noise no weight; "
            "set the share to 0, or level_weight to EqualWeight"
        )


def motion_weight(
    latents: Float[Tensor, "b t c h w"], extra: float, threshold: float = 0.05
) -> Float[Tensor, "b p 1 h w"]:
    """Weight pixels of frames 1.. that changed since the frame before by 1 + `extra`, all others by 1.

    A small moving thing is a small part of a mean over pixels: without this a ball is the last thing learned.

    Args:
        latents: t = p + 1 clean latents in [-1, 1].
        extra: additional weight on what moves; 0 switches the weight off.
        threshold: smallest change, in latent units, that counts as motion.
    """
    change = (latents[:, 1:] - latents[:, :-1]).abs().amax(2, keepdim=True)
    return 1 + extra * (change > threshold).to(latents.dtype)
