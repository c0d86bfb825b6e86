"""Cross-entropy with label smoothing: what a code cost that was predicted with probability p, in nats.

    -(1 - s) log p[y] - s mean_c log p[c]    the mean over cells

Source: Szegedy et al. 2015, arXiv:1512.00567, section 7.
"""

from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.base import Predicted, TokenContext, TokenLossConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class CrossEntropyLossConfig(TokenLossConfig):
    """That the true code is likely; a share of the answer is spread over all codes.

    Raises:
        ValueError: a share outside 0 to below 1.
    """

    weight: float = 1.0
    label_smoothing: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing is {self.label_smoothing}; it lies between 0 and below 1")

    def build(self, setting: Setting | None) -> "CrossEntropyLoss":
        return CrossEntropyLoss(self)


class CrossEntropyLoss:
    """The main loss of token models."""

    def __init__(self, config: CrossEntropyLossConfig) -> None:
        self.config = config

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Scalar:
        share = self.config.label_smoothing
        even = predicted.log_probabilities.mean(-1) if share else 0.0
        return context.mean(-(1 - share) * predicted.log_likelihood(truth) - share * even)
