"""Noise levels as features."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LevelFeatures(nn.Module):
    """Sines and cosines of a noise level in [0, 1], at `count` frequencies from half a turn to 32 turns."""

    frequencies: Float[Tensor, "f"]

    def __init__(self, count: int) -> None:
        super().__init__()
        turns = torch.logspace(math.log2(0.5), math.log2(32), count, base=2)
        self.register_buffer("frequencies", 2 * math.pi * turns, persistent=False)

    def forward(self, level: Float[Tensor, "m"]) -> Float[Tensor, "m g"]:
        angles = level[:, None] * self.frequencies
        return torch.cat([angles.cos(), angles.sin()], 1)
