"""Teacher forcing: every block is denoised after what really came before it, as a game asks of the model.

Beside diffusion forcing, whose earlier frames are noisy too, it trains on no context that play does not have; what it
does not show is the model's own mistakes. Self-forcing goes on from here, and so do the distillations that ask a causal
teacher (Zhu et al. 2026, causal forcing, arXiv:2602.02214). Source: Williams and Zipser 1989.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from hallucade.diffusion.targets import LossSpace, loss_scale
from hallucade.diffusion.timesteps import LevelConfig, LogitNormalLevels, over_blocks
from hallucade.diffusion.weighting import EqualWeight, LevelWeightConfig, check_weight, motion_weight
from hallucade.models.base import DiffusionModel, LatentClip, forced_latents
from hallucade.objectives.base import ObjectiveConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class TeacherForcingConfig(ObjectiveConfig):
    """Noise levels, loss space and weights of teacher forcing."""

    levels: LevelConfig = field(default_factory=LogitNormalLevels)  # one a block
    loss_space: LossSpace = "v"
    level_weight: LevelWeightConfig = field(default_factory=EqualWeight)
    motion_weight: float = 0.0  # additional weight on pixels that move
    action_dropout: float = 0.0  # share of blocks whose actions are replaced by the learned "no action", for guidance

    def __post_init__(self) -> None:
        if not 0 <= self.action_dropout <= 1:
            raise ValueError(f"action_dropout is {self.action_dropout}; it lies between 0 and 1")
        if self.motion_weight < 0:
            raise ValueError(f"motion_weight is {self.motion_weight}; use 0 for none, or more")
        check_weight(self.level_weight, self.levels)

    def build(self) -> "TeacherForcing":
        return TeacherForcing(self)


class TeacherForcing:
    """``(model, clip, generator) -> {"denoising": loss}``, the mean over the blocks that have a past, and elements."""

    def __init__(self, config: TeacherForcingConfig) -> None:
        self.config = config

    def __call__(self, model: DiffusionModel[Any], clip: LatentClip, generator: torch.Generator) -> dict[str, Scalar]:
        config, device = self.config, clip.latents.device
        graded = forced_latents(model, clip.latents.shape[1])
        x0 = clip.latents[:, -graded:]
        levels = over_blocks(config.levels.draw((len(x0), graded // model.block), generator), graded, model.block)
        levels, eps = levels.to(device), torch.randn(x0.shape, generator=generator).to(device)
        dropped = dropped_blocks(clip, graded, model.block, config.action_dropout, generator)
        predicted = model.teacher_forced(clip, model.schedule.mix(x0, eps, levels), levels, dropped)
        error = (predicted - x0).square()
        if config.motion_weight > 0:
            error = error * motion_weight(clip.latents, config.motion_weight)[:, -graded:]
        space = config.loss_space
        scale = loss_scale(space, levels, model.schedule) * config.level_weight.weight(space, levels, model.schedule)
        return {"denoising": (error.flatten(2).mean(2) * scale).mean()}


def dropped_blocks(
    clip: LatentClip, graded: int, block: int, share: float, generator: torch.Generator
) -> Bool[Tensor, "b n"] | None:
    """Draw which of the last `graded` latents' blocks are not told of their actions; None where all are."""
    if share == 0:
        return None
    rolls = torch.rand((len(clip.latents), graded // block), generator=generator) < share
    dropped = torch.zeros(clip.actions.shape[:2], dtype=torch.bool)
    dropped[:, clip.actions.shape[1] - graded * clip.stride :] = rolls.repeat_interleave(block * clip.stride, 1)
    return dropped.to(clip.actions.device)
