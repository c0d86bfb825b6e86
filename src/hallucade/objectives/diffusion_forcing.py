"""Diffusion forcing: every frame of a clip at its own noise level; every block, for models that advance by blocks.

A model trained so can denoise the next frame while it sees earlier ones at any level, clean ones included, and one
parallel pass grades every frame. Source: Chen et al. 2024, arXiv:2407.01392.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.diffusion.schedules import NoiseSchedule
from hallucade.diffusion.targets import LossSpace, loss_scale
from hallucade.diffusion.timesteps import LevelConfig, LogitNormalLevels, over_blocks
from hallucade.diffusion.weighting import EqualWeight, LevelWeightConfig, check_weight, motion_weight
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.objectives.base import ObjectiveConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class DiffusionForcingConfig(ObjectiveConfig):
    """Noise levels, loss space and weights of diffusion forcing."""

    levels: LevelConfig = field(default_factory=LogitNormalLevels)
    loss_space: LossSpace = "v"
    level_weight: LevelWeightConfig = field(default_factory=EqualWeight)
    clean_share: float = 0.5  # share of clips whose first frames, up to a random one, are (nearly) clean context
    context_noise: float = 0.1  # those frames' levels are uniform on [0, context_noise]
    motion_weight: float = 0.0  # additional weight on pixels that move
    action_dropout: float = 0.0  # share of actions replaced by the learned "no action", for guidance

    def __post_init__(self) -> None:
        for name in ("clean_share", "context_noise", "action_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it lies between 0 and 1")
        if self.motion_weight < 0:
            raise ValueError(f"motion_weight is {self.motion_weight}; use 0 for none, or more")
        check_weight(self.level_weight, self.levels)

    def build(self) -> "DiffusionForcing":
        return DiffusionForcing(self)


class DiffusionForcing:
    """``(model, clip, generator) -> {"denoising": loss}``, the mean over graded frames and latent elements."""

    def __init__(self, config: DiffusionForcingConfig) -> None:
        self.config = config

    def __call__(self, model: DiffusionModel[Any], clip: LatentClip, generator: torch.Generator) -> dict[str, Scalar]:
        x0 = clip.latents
        levels, graded = self._levels(x0.shape[0], x0.shape[1], model, generator)
        levels, graded = levels.to(x0.device), graded.to(x0.device)
        eps = torch.randn(x0.shape, generator=generator).to(x0.device)
        dropped = None
        if self.config.action_dropout > 0:
            rolls = torch.rand(clip.actions.shape[:2], generator=generator)
            dropped = (rolls < self.config.action_dropout).to(x0.device)
        predicted = model(model.schedule.mix(x0, eps, levels), levels, clip.actions, dropped)
        lead = x0.shape[1] - predicted.shape[1]
        error = (predicted - x0[:, lead:]).square()
        if self.config.motion_weight > 0:
            error = error * self._motion(x0)[:, lead:]
        per_frame = error.flatten(2).mean(2) * self._scale(levels[:, lead:], model.schedule)
        grade = graded[:, lead:].to(per_frame.dtype)
        return {"denoising": (per_frame * grade).sum() / grade.sum().clamp_min(1)}

    def _levels(
        self, b: int, t: int, model: DiffusionModel[Any], generator: torch.Generator
    ) -> tuple[Float[Tensor, "b t"], Float[Tensor, "b t"]]:
        """Return levels, one a block, and which frames are graded: clean context is not, nor is what is given."""
        blocks = -(-t // model.block)
        if blocks < 2:
            raise ValueError(f"clips of {t} latents are one block of {model.block}; diffusion forcing needs 2 or more")
        levels = self.config.levels.draw((b, blocks), generator)
        clean = torch.rand((b, 1), generator=generator) < self.config.clean_share
        split = torch.randint(1, blocks, (b, 1), generator=generator)
        context = clean & (torch.arange(blocks) < split)
        quiet = torch.rand((b, blocks), generator=generator) * self.config.context_noise
        levels, context, quiet = (over_blocks(part, t, model.block) for part in (levels, context, quiet))
        known = torch.arange(t) < model.given
        return torch.where(context, quiet, levels).masked_fill(known, 0), (~(context | known)).float()

    def _scale(self, levels: Float[Tensor, "b t"], schedule: NoiseSchedule) -> Float[Tensor, "b t"]:
        """Return the weight of each frame's squared error in x0, from its own level."""
        space = self.config.loss_space
        return loss_scale(space, levels, schedule) * self.config.level_weight.weight(space, levels, schedule)

    def _motion(self, x0: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t 1 h w"]:
        weight = motion_weight(x0, self.config.motion_weight)
        return torch.cat([torch.ones_like(weight[:, :1]), weight], 1)
