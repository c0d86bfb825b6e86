"""Steps of any length by a model that is told how long they are: one, two, four, as many as there is time for.

Source: Frans et al. 2024, shortcut models, arXiv:2410.12557; Geng et al. 2025, mean flows, arXiv:2505.13447.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from hallucade.models.base import DiffusionModel, WorldModel
from hallucade.models.step_size import step_told
from hallucade.samplers.base import Generators, SamplerConfig, check_steps, denoising, normal, sampling_levels
from hallucade.samplers.ddim import ddim_step
from hallucade.shapes import Action, Latent


@dataclass(frozen=True, kw_only=True)
class ShortcutSamplerConfig(SamplerConfig):
    """How many equal steps; after training on shortcuts a power of two, up to the finest that training told."""

    steps: int = 1

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def build(self) -> "ShortcutSampler":
        return ShortcutSampler(self)

    def view(self, model: WorldModel[Any]) -> WorldModel[Any]:
        network = denoising(model, "shortcut sampler")
        step_told(network, "the shortcut sampler")
        return network


class ShortcutSampler:
    """Follows the mean velocity of each step from noise to data."""

    def __init__(self, config: ShortcutSamplerConfig) -> None:
        self.config = config

    def __call__(self, model: DiffusionModel[Any], state: Any, action: Action, generators: Generators) -> Latent:
        told = step_told(model, "the shortcut sampler")
        x = normal((action.shape[0], model.block, *model.latent_shape), generators, action.device)
        for now, after in pairwise(sampling_levels(self.config.steps)):
            level, end = (torch.full((x.shape[0],), at, device=x.device) for at in (now, after))
            x = ddim_step(model.schedule, told.denoise(state, action, x, level, level - end), x, level, end)
        return x
