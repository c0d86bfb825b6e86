"""Feature-wise linear modulation: a scale and a shift of every channel, from what is known about a frame.

Source: Perez et al. 2018, arXiv:1709.07871.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FiLM(nn.Module):
    """Scales and shifts from vectors, by a hidden layer; the identity at first."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, width)
        self.activation = nn.SiLU()
        self.project = nn.Linear(width, 2 * width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, vectors: Float[Tensor, "*lead a"]) -> Float[Tensor, "*lead double"]:
        """Return the scale of every channel, then its shift, side by side."""
        return self.project(self.activation(self.hidden(vectors)))


def film(x: Float[Tensor, "b c h w"], parts: Float[Tensor, "b double"]) -> Float[Tensor, "b c h w"]:
    """Scale and shift channels by what ``FiLM`` returned; zeros are the identity."""
    scale, shift = parts[..., None, None].chunk(2, 1)
    return torch.addcmul(x + shift, x, scale)
