"""Sharpness: predictions that do not settle for a code.

    1 - max_c p[c]    the mean over cells

Source: project-ochre, version 4.5.2. It opposes the entropy floor.
"""

from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.base import Predicted, TokenContext, TokenLossConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class SharpnessLossConfig(TokenLossConfig):
    """That every cell settles for a code; it opposes the entropy floor."""

    def build(self, setting: Setting | None) -> "SharpnessLoss":
        return SharpnessLoss()


class SharpnessLoss:
    """Asks for one code a cell, whichever."""

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Scalar:
        return context.mean(1 - predicted.probabilities.amax(-1))
