"""Adaptive layer norm: shifts, scales and gates of every frame from what is known about it.

Source: Peebles and Xie 2023, arXiv:2212.09748, section 3.2.
"""

from jaxtyping import Float
from torch import Tensor, nn


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
