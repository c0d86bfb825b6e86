"""Temporal consistency: predictions that differ from those of the frame before.

    sum_c q[c] (log q[c] - log p[c])    q of the frame before, p of this one, nats; the mean over cells

The frame before is not asked to follow: no gradient goes there. Where the picture moves, its codes should change, so
that by default only cells count whose true code stays. Source: project-ochre, version 4.5.2, whose sum over the cells
of a frame made it hundreds of times as strong, and which punished all motion.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.base import Predicted, TokenContext, TokenLossConfig, needed
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class TemporalConsistencyLossConfig(TokenLossConfig):
    """That predictions stay those of the frame before."""

    still: bool = True  # only those whose true code is that of the frame before

    def build(self, setting: Setting | None) -> "TemporalConsistencyLoss":
        return TemporalConsistencyLoss(self)


class TemporalConsistencyLoss:
    """Holds each graded frame against the one before it, if that was predicted too."""

    def __init__(self, config: TemporalConsistencyLossConfig) -> None:
        self.config = config

    def __call__(self, predicted: Predicted, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Scalar:
        before = predicted.log_probabilities[:, :-1]
        first = 1  # graded frame with one before it
        if context.previous is not None:
            before = torch.cat([context.previous[:, None].float().log_softmax(-1), before], 1)
            first = 0
        now = predicted.log_probabilities[:, first:]
        if not now.shape[1]:  # the first frame that is predicted at all
            return 0.0 * predicted.logits.sum()
        before = before.detach()
        divergence = (before.exp() * (before - now)).sum(-1)
        cells = self._cells(truth, context)[:, first:]
        return (divergence * cells).sum() / cells.sum().clamp_min(1e-6)

    def _cells(self, truth: Int64[Tensor, "b k h w"], context: TokenContext) -> Float[Tensor, "b k h w"]:
        """Return how much each cell counts; one that the model knew in either frame says nothing."""
        cells = torch.ones_like(truth, dtype=torch.float32) if context.cells is None else context.cells
        cells = torch.cat([cells[:, :1], cells[:, 1:] * (cells[:, :-1] > 0)], 1)
        if not self.config.still:
            return cells
        past = needed(context.past, "temporal consistency", "the true codes of the frame before")
        return cells * (past == truth)
