"""Normalisation of tokens and of attention heads."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Norm = Literal["layer", "rms"]
EPS = 1e-6


class RMSNorm(nn.Module):
    """Divide by the root mean square of the last axis, then weigh it (Zhang and Sennrich 2019, arXiv:1910.07467).

    Unlike torch's module, a float32 weight meets bfloat16 activations under autocast without a warning; the result is
    then float32.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Float[Tensor, "*lead c"]) -> Float[Tensor, "*lead c"]:
        return F.rms_norm(x, self.weight.shape, eps=EPS) * self.weight


def build_norm(norm: Norm, width: int) -> nn.Module:
    """Layer norm without parameters, which modulation supplies, or RMS norm with a weight."""
    return RMSNorm(width) if norm == "rms" else nn.LayerNorm(width, EPS, elementwise_affine=False)
