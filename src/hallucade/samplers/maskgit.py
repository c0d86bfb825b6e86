"""Filling a frame of codes in a few steps: all cells at once, of which the surest are kept at each step.

Cells that are drawn together do not know of each other; those of a later step know all that was kept. One step draws
every cell by itself, as many token models do, and many draw nearly one at a time.

Source: Chang et al. 2022, arXiv:2202.04200.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hallucade.models.base import TokenModel, WorldModel
from hallucade.models.raster import RasterModel
from hallucade.samplers.base import Generators, SamplerConfig, check_steps
from hallucade.samplers.categorical import CodeChoice, gumbel
from hallucade.shapes import Action


@dataclass(frozen=True, kw_only=True)
class MaskGITSamplerConfig(SamplerConfig):
    """In how many steps to fill a frame, and how to choose its codes.

    Raises:
        ValueError: no step, or a weight below 0.
    """

    steps: int = 8
    choice: CodeChoice = field(default_factory=CodeChoice)
    randomness: float = 1.0  # of the order in which cells are kept, Gumbel noise on log-probabilities; fades to 0

    def __post_init__(self) -> None:
        check_steps(self.steps)
        if self.randomness < 0:
            raise ValueError(f"randomness is {self.randomness}; use 0 to keep the surest cells, or more")

    def build(self) -> "MaskGITSampler":
        return MaskGITSampler(self)

    def view(self, model: WorldModel[Any]) -> WorldModel[Any]:
        if isinstance(model, RasterModel):
            raise ValueError(
                f"the MaskGIT sampler draws cells in any order, and a {type(model).__name__} knows those before each "
                "one only; use the raster sampler (recipe token_raster_small)"
            )
        if isinstance(model, TokenModel):
            return model
        raise ValueError(
            f"the MaskGIT sampler fills in codes, and a {type(model).__name__} has none; use the sampler of its recipe"
        )


class MaskGITSampler:
    """Draws the next block of codes."""

    def __init__(self, config: MaskGITSamplerConfig) -> None:
        self.config = config

    def __call__(
        self, model: TokenModel[Any], state: Any, action: Action, generators: Generators
    ) -> Int64[Tensor, "b k h w"]:
        shape, config = (len(action), model.block, *model.latent_shape), self.config
        tokens = torch.full((shape[0], math.prod(shape[1:])), model.mask, device=action.device)
        left = cells = tokens.shape[1]
        for step in range(config.steps):
            logits = model.logits(state, action, tokens.reshape(shape)).flatten(1, -2)
            drawn, sureness = config.choice.draw(logits, generators)
            unknown = tokens == model.mask
            left = min(unknown_after(step + 1, config.steps, cells), left - 1)
            tokens = torch.where(unknown, drawn, tokens)
            if left <= 0:
                break
            fading = config.randomness * (1 - (step + 1) / config.steps)
            noisy = sureness + fading * gumbel(tuple(sureness.shape), generators, sureness.device)
            tokens = tokens.masked_fill(_least(noisy.masked_fill(~unknown, math.inf), left), model.mask)
        return tokens.reshape(shape)


def unknown_after(step: int, steps: int, cells: int) -> int:
    """Return how many cells are still unknown after so many of the steps: a quarter of a cosine."""
    return math.floor(math.cos(math.pi / 2 * step / steps) * cells + 1e-9)


def _least(values: Float[Tensor, "b cells"], count: int) -> Bool[Tensor, "b cells"]:
    """Say where the `count` least values of each row are."""
    places = values.argsort(1)[:, :count]
    return torch.zeros_like(values, dtype=torch.bool).scatter(1, places, True)
