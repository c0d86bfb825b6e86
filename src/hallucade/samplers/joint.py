"""Samplers of whole clips: every latent of a clip is denoised at once, each at its own level.

Each block of the model, one latent mostly, trails the one before it by `lag` steps. With 0 all share one level (full
sequence); with 1 what is further off is noisier (pyramid); with `steps` one is finished before the next begins, which
is what `rollout` over a `DDIMSampler` does with a cache and far fewer operations. For films and planning: live play is
autoregressive.

Source: Chen et al. 2024, diffusion forcing, arXiv:2407.01392, section 3.2 and figure 2.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.config import Config
from hallucade.diffusion.schedules import check_shift, expand
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.samplers.base import Generators, check_steps, normal, sampling_levels
from hallucade.samplers.ddim import check_eta, ddim_step
from hallucade.shapes import Actions, Latents


@dataclass(frozen=True, kw_only=True)
class JointSamplerConfig(Config):
    """How to take a whole clip from level 1 to level 0, by DDIM."""

    steps: int = 10  # of each latent
    lag: int = 0  # steps by which each block trails the one before: 0 full sequence, 1 pyramid, `steps` one by one
    eta: float = 0.0  # share of fresh noise: 0 none, 1 as much as DDPM
    shift: float = 1.0  # above 1 spends more steps near noise

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_shift(self.shift)
        check_eta(self.eta)
        if not 0 <= self.lag <= self.steps:
            raise ValueError(f"lag is {self.lag}; it lies between 0, full sequence, and steps = {self.steps}")

    def build(self) -> "JointSampler":
        return JointSampler(self)


class JointSampler:
    """Continues a clip by several latents that are denoised together."""

    def __init__(self, config: JointSamplerConfig) -> None:
        self.config = config

    def __call__(
        self, model: DiffusionModel[Any], prompt: LatentClip, actions: Actions, generators: Generators, stride: int = 1
    ) -> Latents:
        """Return the `n / stride` latents to which `actions` lead.

        Args:
            model: asked for all latents, prompt included, at every step; or a view of it, for guidance.
            prompt: given latents and the actions between them.
            actions: n encoded actions, the first held while the last latent of the prompt is on screen.
            generators: one a row of the batch.
            stride: frames, and so actions, a latent.

        Raises:
            ValueError: the prompt is shorter than the model's context, or actions do not fill whole latents.
        """
        given, count = prompt.latents.shape[1], actions.shape[1] // stride
        if given < max(1, model.lead):
            raise ValueError(f"a prompt of {given} latents; {type(model).__name__} needs {max(1, model.lead)} or more")
        if count < 1 or actions.shape[1] % stride:
            raise ValueError(f"{actions.shape[1]} actions for latents of {stride}; give {stride} a latent")
        pressed = torch.cat([prompt.actions, actions], 1)
        blocks = [model.block] * (count // model.block)  # what fills none comes first, as in the model
        sizes = [count % model.block, *blocks] if count % model.block else blocks
        drawn = ((actions.shape[0], size, *model.latent_shape) for size in sizes)
        x = torch.cat([normal(shape, generators, actions.device) for shape in drawn], 1)
        known = torch.zeros(prompt.latents.shape[:2], device=x.device)
        levels = self.levels(count, model.block).to(x.device)[:, None].expand(-1, x.shape[0], -1)
        for now, after in pairwise(levels):
            clip = torch.cat([prompt.latents, x], 1)
            x0 = model.restore(clip, torch.cat([known, now], 1), pressed, seeds=prompt.seeds)[:, -count:]
            fresh = normal(x.shape, generators, x.device) if self.config.eta > 0 else None
            moved = ddim_step(model.schedule, x0, x, now, after, fresh, self.config.eta)
            x = torch.where(expand(after < now, x), moved, x)
        return x

    def levels(self, count: int, block: int = 1) -> Float[Tensor, "rows n"]:
        """Return the level of each of n latents, those of a block alike, before the first and after every step."""
        steps, lag = self.config.steps, self.config.lag
        place = (torch.arange(count) + -count % block) // block
        done = torch.arange(steps + (math.ceil(count / block) - 1) * lag + 1)[:, None] - lag * place
        return torch.tensor(sampling_levels(steps, self.config.shift))[done.clamp(0, steps)]
