"""Code diversity: a model that uses few of the codes.

    sum_c m[c] (log m[c] + log codes)    m the mean prediction over all cells of a batch; nats

It is of the mean over cells, and not a mean over cells: what each of them is sure of may differ. Source: the codebook
term of Yu et al. 2023, arXiv:2310.05737; in project-ochre from version 7.1 on.
"""

from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.base import Predicted, TokenContext, TokenLossConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class CodeDiversityLossConfig(TokenLossConfig):
    """That all cells together use all codes."""

    def build(self, setting: Setting | None) -> "CodeDiversityLoss":
        return CodeDiversityLoss()


class CodeDiversityLoss:
    """Asks that all cells together use all codes."""

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Scalar:
        p = predicted.probabilities.flatten(0, 3)
        if context.cells is None:
            mean = p.mean(0)
        else:
            mean = context.cells.flatten() @ p / context.cells.sum().clamp_min(1e-6)
        return (mean * (mean.clamp_min(1e-12) * len(mean)).log()).sum()
