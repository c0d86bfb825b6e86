"""Rotary positions along any number of axes, with angles computed from integers in float64.

Keys are rotated once, at their absolute position; attention sees differences only. There is no table to run off: frame
10^6 is as exact as frame 1. The first half of a head is paired with its second half.

Source: Su et al. 2021, arXiv:2104.09864.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor


@dataclass(frozen=True)
class Rotation:
    """Cosines and sines of every token's angles; with leading axes where groups of tokens stand elsewhere."""

    cos: Float[Tensor, "*groups tokens pairs"]
    sin: Float[Tensor, "*groups tokens pairs"]

    def __call__(self, x: Float[Tensor, "*lead tokens d"]) -> Float[Tensor, "*lead tokens d"]:
        """Rotate `x`, d = 2 * pairs, in float32 at least; a rotation of one token applies to all."""
        first, second = x.chunk(2, dim=-1)
        return torch.cat([first * self.cos - second * self.sin, second * self.cos + first * self.sin], dim=-1)


def frequencies(pairs: Sequence[int], base: float) -> Float64[Tensor, "axes total"]:
    """Return the angle per step: row i drives its own ``pairs[i]`` pairs of a head at ``base ** (-j / pairs[i])``."""
    table = torch.zeros(len(pairs), sum(pairs), dtype=torch.float64)
    for row, (count, end) in enumerate(zip(pairs, itertools.accumulate(pairs), strict=True)):
        table[row, end - count : end] = base ** (-torch.arange(count, dtype=torch.float64) / count)
    return table


def rotation(
    positions: Int64[Tensor, "tokens axes"] | Float64[Tensor, "tokens axes"],
    per_step: Float64[Tensor, "axes total"],
    device: torch.device,
) -> Rotation:
    """Return the rotation of tokens at `positions`, integers or between them.

    Angles are float64 until the cosine, by default float32 after.
    """
    angles = positions.to(torch.float64) @ per_step
    kept = torch.promote_types(torch.float32, torch.get_default_dtype())
    return Rotation(angles.cos().to(kept).to(device), angles.sin().to(kept).to(device))
