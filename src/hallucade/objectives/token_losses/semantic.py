"""Semantic distance: how far the expected vector of the codebook is from the true one.

    mean_d (sum_c p[c] C[c, d] - C[y, d])^2    the mean over cells

Codes with like vectors are like answers, which cross-entropy does not know; but a mean of unlike vectors is the vector
of no code, and where the future is open this loss asks for it. Source: project-ochre, version 4.5.2.
"""

from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.base import Codebook, Predicted, TokenContext, TokenLossConfig, codebook_of
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class SemanticLossConfig(TokenLossConfig):
    """That the expected vector of the codebook is the true one's."""

    def build(self, setting: Setting | None) -> "SemanticLoss":
        return SemanticLoss(codebook_of(setting, "semantic"))


class SemanticLoss:
    """Holds expected vectors against true ones."""

    def __init__(self, codebook: Codebook) -> None:
        self._codebook = codebook

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Scalar:
        book = self._codebook()
        return context.mean((predicted.probabilities @ book - book[truth]).square().mean(-1))
