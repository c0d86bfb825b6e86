"""Bins of a value that are narrow near rest and wide far from it: small turns of a view are many, and matter.

Source: Baker et al. 2022, arXiv:2206.11795, appendix B (mu-law bins of a mouse); ITU-T G.711.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.config import Config


@dataclass(frozen=True, kw_only=True)
class MuLawConfig(Config):
    """How values from -1 to 1 are binned; beyond, they belong to the outermost bins.

    Raises:
        ValueError: a number of bins without one for rest, or a curve that is none.
    """

    bins: int = 11  # odd: the middle one is rest
    mu: float = 10.0  # how much narrower bins are near rest

    def __post_init__(self) -> None:
        if self.bins < 3 or self.bins % 2 == 0:
            raise ValueError(f"bins is {self.bins}; use an odd number from 3 up, so that the middle one is rest")
        if not 0 < self.mu < math.inf:
            raise ValueError(f"mu is {self.mu}; it must be positive, near 0 for bins of equal width")

    def bin_of(self, values: Float[Tensor, "*n"]) -> Int64[Tensor, "*n"]:
        """Return the bins of values."""
        values = values.clamp(-1, 1)
        bent = values.sign() * torch.log1p(self.mu * values.abs()) / math.log1p(self.mu)
        return ((bent + 1) / 2 * (self.bins - 1)).round().long()

    def centres(self) -> Float[Tensor, "bins"]:
        """Return the value that each bin stands for, from -1 to 1."""
        bent = torch.linspace(-1, 1, self.bins, dtype=torch.float64)
        return (bent.sign() * torch.expm1(bent.abs() * math.log1p(self.mu)) / self.mu).float()
