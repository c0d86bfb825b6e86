"""Entropy floor: predictions that are surer than they should be.

    max(0, floor - H(p))^2    H in nats; the mean over cells

Source: project-ochre, version 4.5.2, with a floor of 4.5 nats. It opposes the sharpness loss.
"""

from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.base import Predicted, TokenContext, TokenLossConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class EntropyFloorLossConfig(TokenLossConfig):
    """That predictions are unsure enough; it opposes sharpness.

    Raises:
        ValueError: a floor that is not above 0.
    """

    floor: float = 4.5  # nats; the logarithm of the number of codes is the most that there can be

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.floor <= 0:
            raise ValueError(f"floor is {self.floor} nats; give a positive one")

    def build(self, setting: Setting | None) -> "EntropyFloorLoss":
        return EntropyFloorLoss(self)


class EntropyFloorLoss:
    """Keeps predictions open."""

    def __init__(self, config: EntropyFloorLossConfig) -> None:
        self.config = config

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Scalar:
        return context.mean((self.config.floor - predicted.entropy).clamp_min(0).square())
