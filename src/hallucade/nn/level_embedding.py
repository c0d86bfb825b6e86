"""Noise levels as vectors: sinusoids of a clock, then one layer or two."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hallucade.config import Config

LONGEST = 10_000.0  # positions of the slowest sinusoid

Clock = Literal["continuous", "floor", "timestep"]


@dataclass(frozen=True, kw_only=True)
class LevelEmbeddingConfig(Config):
    """How a network is told a noise level.

    The clock turns a level in [0, 1] into a position. "continuous": `steps` - 1 times the level. "floor": the same,
    rounded down (toy-wm). "timestep": t of discrete-time diffusion, where level (t + 1) / `steps` is timestep t and
    data counts as timestep 0 (NanoWM).
    """

    features: int | None = None  # cosines and sines together; None for as many as the model is wide
    hidden: bool = False  # a layer and a SiLU between them and the vector
    clock: Clock = "continuous"
    steps: int = 1000

    def __post_init__(self) -> None:
        if self.features is not None and (self.features < 2 or self.features % 2):
            raise ValueError(f"features is {self.features}; cosines and sines need an even number of 2 or more")
        if self.steps < 2:
            raise ValueError(f"steps is {self.steps}; a clock has 2 positions or more")

    def build(self, width: int) -> "LevelEmbedding":
        """Build the embedding into vectors of `width`."""
        return LevelEmbedding(self, width)


class LevelEmbedding(nn.Module):
    """Embed noise levels: cosines, then sines, of geometric frequencies; then one layer, or two around a SiLU."""

    def __init__(self, config: LevelEmbeddingConfig, width: int) -> None:
        super().__init__()
        self.config = config
        features = config.features or width
        self.frequencies = features // 2
        last = nn.Linear(width if config.hidden else features, width)
        self.mix = nn.Sequential(nn.Linear(features, width), nn.SiLU(), last) if config.hidden else last

    def forward(self, level: Float[Tensor, "b t"]) -> Float[Tensor, "b t c"]:
        # Made here and not kept in a buffer: casting the model to bfloat16 would round the frequencies.
        speeds = LONGEST ** (-torch.arange(self.frequencies, device=level.device) / self.frequencies)
        angles = self._positions(level.float()).unsqueeze(-1) * speeds
        return self.mix(torch.cat([angles.cos(), angles.sin()], -1).to(next(self.mix.parameters()).dtype))

    def _positions(self, level: Float[Tensor, "b t"]) -> Float[Tensor, "b t"]:
        steps = self.config.steps
        match self.config.clock:
            case "continuous":
                return (steps - 1) * level
            case "floor":
                return (level * (steps - 1)).floor()
            case "timestep":
                return ((level * steps).round() - 1).clamp(min=0)
