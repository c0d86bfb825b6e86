"""Adaptive layer norm: shifts, scales and gates of every frame from what is known about it.

Source: Peebles and Xie 2023, arXiv:2212.09748, section 3.2.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

LEVEL_STEPS = 999  # levels 0..1 spread over a sinusoid's positions 0..999, the field's convention
LONGEST = 10_000.0  # positions of the slowest sinusoid


class LevelEmbedding(nn.Module):
    """Embed noise levels: cosines and sines of `width` / 2 frequencies, then a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mix = nn.Linear(width, width)

    def forward(self, level: Float[Tensor, "b t"]) -> Float[Tensor, "b t c"]:
        half = self.width // 2
        # Made here and not kept in a buffer: casting the model to bfloat16 would round the frequencies.
        speeds = LONGEST ** (-torch.arange(half, device=level.device) / half)
        angles = LEVEL_STEPS * level.float().unsqueeze(-1) * speeds
        return self.mix(torch.cat([angles.cos(), angles.sin()], -1).to(self.mix.weight.dtype))


class Modulation(nn.Module):
    """`parts` vectors a frame from its condition; zero at first if `zero`, so that a gated block starts as identity."""

    def __init__(self, width: int, parts: int, *, zero: bool) -> None:
        super().__init__()
        self.parts = parts
        self.activation = nn.SiLU()
        self.project = nn.Linear(width, parts * width)
        if zero:
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def forward(self, condition: Float[Tensor, "b t c"]) -> tuple[Float[Tensor, "b t 1 c"], ...]:
        return self.project(self.activation(condition)).unsqueeze(2).chunk(self.parts, -1)


def modulate(
    x: Float[Tensor, "b t n c"], shift: Float[Tensor, "b t 1 c"], scale: Float[Tensor, "b t 1 c"]
) -> Float[Tensor, "b t n c"]:
    """Shift and scale normalised tokens; zero for both is the identity."""
    return x * (1 + scale) + shift
