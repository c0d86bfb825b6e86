"""Logits of the cells of a frame: from what a memory expects there, and from the cells that are known already.

Without the second every cell is answered by itself, and where the future is open neighbours do not agree. With it a
frame can be drawn in a few steps, of which each sees what the ones before have settled.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class CellHead(nn.Module):
    """A prediction a cell, which `depth` convolutions over known cells correct; at first they change nothing."""

    adamw = ("to_codes",)  # read by the optimizer: not for Muon

    def __init__(self, width: int, code_width: int, codes: int, depth: int) -> None:
        """Make a head for `width` channels of memory; 0 convolutions do not look at known cells."""
        super().__init__()
        self.depth = depth
        channels = [width + code_width, *(width for _ in range(depth))]
        layers = [nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(channels)]
        self.fill = nn.ModuleList(layers)
        self.activation = nn.SiLU()
        self.to_codes = nn.Conv2d(width, codes, 1)
        for parameter in layers[-1].parameters() if layers else ():
            nn.init.zeros_(parameter)

    def forward(
        self, expected: Float[Tensor, "n c h w"], known: Float[Tensor, "n e h w"]
    ) -> Float[Tensor, "n h w codes"]:
        """Return float32 logits; `known` is the embedding of each cell's code, or of its being unknown."""
        if self.depth:
            x = torch.cat([expected, known.to(expected.dtype)], 1)
            for number, layer in enumerate(self.fill):
                x = layer(x if number == 0 else self.activation(x))
            expected = expected + x
        return self.to_codes(expected).movedim(1, -1).float()
