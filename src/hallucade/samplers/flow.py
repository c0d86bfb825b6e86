"""Euler and Heun integration of the probability-flow path, from noise to the next block."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from hallucade.diffusion.schedules import check_shift
from hallucade.models.base import DiffusionModel, WorldModel
from hallucade.samplers.base import Generators, SamplerConfig, check_steps, denoising, normal, sampling_levels
from hallucade.samplers.guidance import ActionGuided
from hallucade.shapes import Action, Latent


@dataclass(frozen=True, kw_only=True)
class FlowSamplerConfig(SamplerConfig):
    """How to integrate from level 1 to level 0."""

    steps: int = 1
    order: Literal[1, 2] = 1  # 1 Euler, 2 Heun (two model calls a step, but one in the last)
    shift: float = 1.0  # time shift; above 1 spends more steps near noise
    guidance: float = 1.0  # classifier-free guidance on the action; 1 costs nothing

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_shift(self.shift)

    def build(self) -> "FlowSampler":
        return FlowSampler(self)

    def view(self, model: WorldModel[Any]) -> WorldModel[Any]:
        return denoising(model, "flow sampler")


class FlowSampler:
    """Integrates dx/ds from noise to data in a fixed number of steps."""

    def __init__(self, config: FlowSamplerConfig) -> None:
        self.config = config

    def __call__(self, model: DiffusionModel[Any], state: Any, action: Action, generators: Generators) -> Latent:
        if self.config.guidance != 1:
            model = ActionGuided(model, self.config.guidance)
        x = normal((action.shape[0], model.block, *model.latent_shape), generators, action.device)
        for now, after in pairwise(sampling_levels(self.config.steps, self.config.shift)):
            x = self._step(model, state, action, x, now, after)
        return x

    def _step(
        self, model: DiffusionModel[Any], state: Any, action: Action, x: Tensor, now: float, after: float
    ) -> Tensor:
        slope = self._velocity(model, state, action, x, now)
        euler = x + (after - now) * slope
        if self.config.order == 1 or after == 0:  # at level 0 there is no slope to average with
            return euler
        return x + (after - now) * 0.5 * (slope + self._velocity(model, state, action, euler, after))

    def _velocity(self, model: DiffusionModel[Any], state: Any, action: Action, x: Tensor, level: float) -> Tensor:
        return model.velocity(state, action, x, torch.full((x.shape[0],), level, device=x.device))
