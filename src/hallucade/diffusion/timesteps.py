"""Which noise levels training sees."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from hallucade.config import Config
from hallucade.diffusion.schedules import check_shift, shift_levels


@dataclass(frozen=True, kw_only=True)
class LevelConfig(Config):
    """Distribution of training noise levels on [0, 1]."""

    pure_noise_share: float = 0.0  # share of levels set to exactly 1, where one-step sampling starts
    per: Literal["frame", "clip"] = "frame"  # independent levels in one clip, one a block, or one for all of its frames

    def __post_init__(self) -> None:
        if not 0 <= self.pure_noise_share <= 1:
            raise ValueError(f"pure_noise_share is {self.pure_noise_share}; it is a share between 0 and 1")

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "*shape"]:
        """Draw levels on the generator's device; the first axis of `shape` counts clips."""
        if self.per == "clip":
            return self._share(shape[:1] + (1,) * (len(shape) - 1), generator).expand(shape)
        return self._share(shape, generator)

    def _share(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        levels = self._draw(shape, generator)
        if self.pure_noise_share == 0:
            return levels
        pure = torch.rand(shape, generator=generator, device=generator.device) < self.pure_noise_share
        return torch.where(pure, 1.0, levels)

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class UniformLevels(LevelConfig):
    """Every level equally often, or every level of a schedule that is shifted."""

    shift: float = 1.0  # above 1 leans towards noise, as a sampler's shift does

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shift(self.shift)

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return shift_levels(torch.rand(shape, generator=generator, device=generator.device), self.shift)


@dataclass(frozen=True, kw_only=True)
class LogitNormalLevels(LevelConfig):
    """``sigmoid(N(mean, std))``: mid levels most often; a positive mean leans towards noise.

    Source: Esser et al. 2024, arXiv:2403.03206, section 3.1.
    """

    mean: float = 0.0
    std: float = 1.0

    def _draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.sigmoid(torch.randn(shape, generator=generator, device=generator.device) * self.std + self.mean)


def over_blocks(values: Shaped[Tensor, "b blocks"], latents: int, block: int) -> Shaped[Tensor, "b t"]:
    """Give each of `latents` latents its block's value; those that fill no block come first, in a shorter one."""
    return values.repeat_interleave(block, 1)[:, values.shape[1] * block - latents :]
