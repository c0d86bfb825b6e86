"""Finite scalar quantisation: every channel is rounded to one of a few levels, and a code says which in each.

There is no codebook that could collapse or fall behind. Source: Mentzer et al. 2023, arXiv:2309.15505.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.tokenizers.bottlenecks.base import Bottleneck, BottleneckConfig, Passed

ROOM = 1e-3  # share by which the bounded range exceeds the outermost levels, so that these can be reached


@dataclass(frozen=True, kw_only=True)
class FSQConfig(BottleneckConfig):
    """As many channels as there are numbers; the product of the numbers is the number of codes.

    Raises:
        ValueError: fewer than two levels in a channel, or more codes than 16 bits tell apart.
    """

    levels: tuple[int, ...] = (8, 5, 5, 5)  # of each channel: 1,000 codes

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2:
            raise ValueError(f"levels are {self.levels}; give each channel 2 or more, such as (8, 5, 5, 5)")
        if math.prod(self.levels) > 2**16:
            raise ValueError(f"levels {self.levels} make {math.prod(self.levels):,} codes; use 65,536 or fewer")

    def build(self) -> "FSQ":
        return FSQ(self.levels)


class FSQ(Bottleneck):
    """Rounds bounded channels; the gradient passes as if they had not been rounded."""

    levels: Tensor
    places: Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.width, self.codes = len(levels), math.prod(levels)
        places = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("levels", torch.tensor(levels)[:, None, None], persistent=False)
        self.register_buffer("places", torch.tensor(places)[:, None, None], persistent=False)

    def forward(self, encoded: Float[Tensor, "n d h w"]) -> Passed:
        bounded = self._bounded(encoded)
        rounded = bounded.round()
        through = bounded + (rounded - bounded).detach()
        return Passed(through / (self.levels // 2), self._code(rounded.detach()))

    def latents(self, encoded: Float[Tensor, "n d h w"]) -> Int64[Tensor, "n h w"]:
        return self._code(self._bounded(encoded).round())

    def features(self, latents: Int64[Tensor, "n h w"]) -> Float[Tensor, "n d h w"]:
        digits = latents.unsqueeze(1) // self.places % self.levels
        return (digits - self.levels // 2).float() / (self.levels // 2)

    def _bounded(self, encoded: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
        """Squash each channel to the span of its levels, of which an even number has one more below 0."""
        half = (self.levels - 1) * (1 + ROOM) / 2
        offset = (self.levels % 2 == 0) * 0.5
        return torch.tanh(encoded.float() + torch.atanh(offset / half)) * half - offset

    def _code(self, rounded: Float[Tensor, "n d h w"]) -> Int64[Tensor, "n h w"]:
        return ((rounded.long() + self.levels // 2) * self.places).sum(1)
