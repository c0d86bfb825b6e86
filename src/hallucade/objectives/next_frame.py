"""Next-frame denoising over lightly noised context, unrolled over the model's own frames.

DIAMOND's objective (Alonso et al. 2024, arXiv:2405.12399): one frame is graded at a time; its denoised prediction then
takes the place of the true frame in the context of the next, so that the model meets its own mistakes in training.

With a `tolerance`, a prediction that is further off is replaced by the truth. What nobody could foresee (a serve, a new
room) then does not teach the model to blur everything after it, and training starts as teacher forcing and lets go
clip by clip, as predictions get good enough.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hallucade.diffusion.schedules import expand
from hallucade.diffusion.targets import LossSpace, loss_scale
from hallucade.diffusion.timesteps import LevelConfig, LogitNormalLevels
from hallucade.diffusion.weighting import EqualWeight, LevelWeightConfig, check_weight, motion_weight
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.objectives.base import ObjectiveConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class NextFrameConfig(ObjectiveConfig):
    """Noise levels, loss space and weights of next-frame denoising."""

    levels: LevelConfig = field(default_factory=LogitNormalLevels)
    loss_space: LossSpace = "v"
    level_weight: LevelWeightConfig = field(default_factory=EqualWeight)
    context_noise: float = 0.1  # level of the context, uniform on [0, context_noise], one a clip
    own_frames: bool = True  # the context of later frames holds predictions instead of true frames
    through_time: bool = False  # gradients flow through these predictions: later errors teach earlier frames
    tolerance: float | None = None  # largest error of a latent element at which a prediction may stand in for the truth
    motion_weight: float = 0.0  # additional weight on pixels that move
    action_dropout: float = 0.0  # share of actions replaced by the learned "no action", for guidance

    def __post_init__(self) -> None:
        for name in ("context_noise", "action_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it lies between 0 and 1")
        if self.motion_weight < 0:
            raise ValueError(f"motion_weight is {self.motion_weight}; use 0 for none, or more")
        check_weight(self.level_weight, self.levels)
        if self.tolerance is not None and self.tolerance <= 0:
            raise ValueError(f"tolerance is {self.tolerance}; it must be positive, or None for any error")

    def build(self) -> "NextFrame":
        return NextFrame(self)


class NextFrame:
    """``(model, clip, generator) -> {"denoising": loss}``; every frame after the model's lead is graded."""

    def __init__(self, config: NextFrameConfig) -> None:
        self.config = config

    def __call__(self, model: DiffusionModel[Any], clip: LatentClip, generator: torch.Generator) -> dict[str, Scalar]:
        c, frames = model.lead, clip.latents.shape[1]
        if c < 1:
            raise ValueError(
                f"{type(model).__name__} has no fixed context to grade one frame after; use diffusion forcing"
            )
        if frames <= c:
            raise ValueError(f"clips of {frames} frames; the model needs {c} of context and at least one to predict")
        shown = list(clip.latents.unbind(1))  # the truth, then predictions from the first that was made on
        losses: list[Tensor] = []
        for i in range(c, frames):
            true = clip.latents[:, i - c : i + 1]
            clean = torch.stack(shown[i - c : i + 1], 1) if self.config.own_frames and i > c else true
            predicted, loss = self._next(model, clean, true[:, -2:], clip.actions[:, i - c : i], generator)
            losses.append(loss)
            shown[i] = self._shown(predicted, true[:, -1])
        return {"denoising": torch.stack(losses).mean()}

    def _shown(self, predicted: Tensor, true: Tensor) -> Tensor:
        """Return what the context of later frames holds."""
        if not self.config.own_frames:
            return true
        shown = predicted if self.config.through_time else predicted.detach()
        if self.config.tolerance is None:
            return shown
        worst = (predicted.detach() - true).abs().flatten(1).amax(1)
        return torch.where(expand(worst <= self.config.tolerance, true), shown, true)

    def _next(
        self,
        model: DiffusionModel[Any],
        clean: Tensor,
        window: Tensor,
        actions: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Grade the last frame of `clean`; `window` holds the true frame before it and the frame itself."""
        b, c = clean.shape[0], clean.shape[1] - 1
        x0, device = window[:, 1], window.device
        quiet = torch.rand((b, 1), generator=generator) * self.config.context_noise
        levels = torch.cat([quiet.expand(b, c), self.config.levels.draw((b, 1), generator)], 1).to(device)
        noisy = model.schedule.mix(clean, torch.randn(clean.shape, generator=generator).to(device), levels)
        dropped = None
        if self.config.action_dropout > 0:
            dropped = (torch.rand(actions.shape[:2], generator=generator) < self.config.action_dropout).to(device)
        predicted = model(noisy, levels, actions, dropped)[:, -1]
        error = (predicted - x0).square()
        if self.config.motion_weight > 0:
            error = error * motion_weight(window, self.config.motion_weight)[:, 0]
        space, level = self.config.loss_space, levels[:, -1]
        scale = loss_scale(space, level, model.schedule) * self.config.level_weight.weight(space, level, model.schedule)
        return predicted, (error.flatten(1).mean(1) * scale).mean()
