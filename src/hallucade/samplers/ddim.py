"""DDIM: step by step to cleaner levels, deterministic or with fresh noise, on any schedule and for any target.

Source: Song et al. 2020, arXiv:2010.02502, equations 12 and 16, written for pairs (alpha, sigma).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from hallucade.diffusion.schedules import TINY, NoiseSchedule, check_shift, expand
from hallucade.models.base import DiffusionModel, WorldModel
from hallucade.samplers.base import Generators, SamplerConfig, check_steps, denoising, normal, sampling_levels
from hallucade.shapes import Action, Latent


@dataclass(frozen=True, kw_only=True)
class DDIMSamplerConfig(SamplerConfig):
    """How to step from level 1 to level 0."""

    steps: int = 10
    eta: float = 0.0  # share of fresh noise: 0 none, 1 as much as DDPM
    shift: float = 1.0  # above 1 spends more steps near noise

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_shift(self.shift)
        check_eta(self.eta)

    def build(self) -> "DDIMSampler":
        return DDIMSampler(self)

    def view(self, model: WorldModel[Any]) -> WorldModel[Any]:
        return denoising(model, "DDIM sampler")


class DDIMSampler:
    """Predicts data and noise, and mixes them again at the next level.

    With `eta` = 0 on a rectified flow each step is Euler's.
    """

    def __init__(self, config: DDIMSamplerConfig) -> None:
        self.config = config

    def __call__(self, model: DiffusionModel[Any], state: Any, action: Action, generators: Generators) -> Latent:
        x = normal((action.shape[0], model.block, *model.latent_shape), generators, action.device)
        for now, after in pairwise(sampling_levels(self.config.steps, self.config.shift)):
            level = torch.full((x.shape[0],), now, device=x.device)
            x0 = model.denoise(state, action, x, level)
            fresh = normal(x.shape, generators, x.device) if self.config.eta > 0 and after > 0 else None
            x = ddim_step(model.schedule, x0, x, level, torch.full_like(level, after), fresh, self.config.eta)
        return x


def ddim_step(
    schedule: NoiseSchedule,
    x0: Tensor,
    noisy: Tensor,
    now: Tensor,
    after: Tensor,
    fresh: Tensor | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Take `noisy` from the levels `now` to the cleaner `after`; both have the leading axes of `noisy`.

    Args:
        schedule: of the model that predicted `x0`.
        x0: the prediction.
        noisy: what it was made from.
        now: levels of `noisy`.
        after: levels of the result.
        fresh: standard normal noise, or None for none.
        eta: standard deviation of the fresh part, as a share of DDPM's.
    """
    alpha, sigma = schedule.alpha(now), schedule.sigma(now).clamp_min(TINY)
    next_alpha, next_sigma = schedule.alpha(after), schedule.sigma(after)
    eps = schedule.noise_of(x0, noisy, now)
    if fresh is None:
        return expand(next_alpha, x0) * x0 + expand(next_sigma, x0) * eps
    gain = alpha * next_sigma / (next_alpha.clamp_min(TINY) * sigma)  # of the ratio alpha / sigma, at most 1
    spread = eta * next_sigma * (1 - gain.square()).clamp_min(0).sqrt()
    kept = (next_sigma.square() - spread.square()).clamp_min(0).sqrt()
    return expand(next_alpha, x0) * x0 + expand(kept, x0) * eps + expand(spread, x0) * fresh


def check_eta(eta: float) -> None:
    """Refuse a share of fresh noise outside [0, 1].

    Raises:
        ValueError: names the value.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}; it lies between 0, deterministic, and 1, DDPM")
