"""Neighbourhood: a code counts as right where the truth has it, or has it one cell away.

    -m log p[y] - (1 - m) log sum of p[c] over the distinct true codes c of the 3x3 cells around    the mean over cells

A border repeats its own cells, and a code that occurs twice around a cell counts once: the sum is a probability, and
its logarithm is never above 0. Source: project-ochre, version 4.5.2, which filled borders with code 0 and counted
codes as often as they occur.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.base import Predicted, TokenContext, TokenLossConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class NeighbourhoodLossConfig(TokenLossConfig):
    """That a true code of the 3x3 cells around is likely, and for a share that of the very cell.

    Raises:
        ValueError: a share outside 0 to 1.
    """

    exact: float = 0.3  # share of the cross-entropy of the cell's own code, m

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.exact <= 1:
            raise ValueError(f"exact is {self.exact}; it lies between 0 and 1")

    def build(self, setting: Setting | None) -> "NeighbourhoodLoss":
        return NeighbourhoodLoss(self)


class NeighbourhoodLoss:
    """Forgives a step to the side."""

    def __init__(self, config: NeighbourhoodLossConfig) -> None:
        self.config = config

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Scalar:
        around = neighbours(truth)
        each = predicted.log_probabilities.gather(-1, around)
        near = each.masked_fill(repeated(around), float("-inf")).logsumexp(-1)
        exact = self.config.exact
        return context.mean(-exact * predicted.log_likelihood(truth) - (1 - exact) * near)


def neighbours(codes: Int64[Tensor, "b k h w"]) -> Int64[Tensor, "b k h w 9"]:
    """Return the codes of the 3x3 cells around each cell; beyond a border lies the border again."""
    rows, columns = (torch.arange(-1, size + 1, device=codes.device).clamp(0, size - 1) for size in codes.shape[2:])
    grown = codes[:, :, rows][..., columns]
    return grown.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2)


def repeated(codes: Int64[Tensor, "*cells n"]) -> Bool[Tensor, "*cells n"]:
    """Say which of n codes stood before in the same row."""
    same = codes[..., :, None] == codes[..., None, :]
    return same.tril(-1).any(-1)
