"""Raster tokens: every cell of every frame is graded, after the cells before it and the frames that really came.

With cross-entropy alone, unsmoothed, the loss is the negative logarithm of the clip's likelihood, a cell.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from hallucade.models.base import TokenModel
from hallucade.models.raster import RasterModel
from hallucade.objectives.base import Setting
from hallucade.objectives.masked_tokens import MaskedTokens
from hallucade.objectives.token_objective import TokenObjectiveConfig


@dataclass(frozen=True, kw_only=True)
class RasterTokensConfig(TokenObjectiveConfig):
    """What the past of a clip is like, and how answers are graded.

    Raises:
        ValueError: frames of which some cells are not graded.
    """

    all_share: float = 1.0  # of frames; a cell knows those before it, whatever is hidden

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.all_share != 1:
            raise ValueError(f"all_share is {self.all_share}; raster tokens are graded in whole frames: leave it at 1")

    def build(self) -> "RasterTokens":
        return RasterTokens(self, self.losses.build())

    def build_for(self, setting: Setting) -> "RasterTokens":
        return RasterTokens(self, self.losses.build(setting))


class RasterTokens(MaskedTokens):
    """``(model, clip, generator) -> {name: loss}``, each a mean over all cells; cross-entropy in nats."""

    def at(self, step: int) -> "RasterTokens":
        """Return what grades a model at this step: with the losses that count there."""
        return RasterTokens(self.config, self.losses, step)

    def asked(
        self, model: TokenModel[Any], answer: Int64[Tensor, "b p h w"], generator: torch.Generator
    ) -> tuple[Int64[Tensor, "b p h w"], Bool[Tensor, "b p h w"]]:
        """Return the answers, of which the model reads what comes before each cell, and that all are graded.

        Raises:
            ValueError: the model reads all of them.
        """
        if not isinstance(model, RasterModel):
            raise ValueError(
                f"a {type(model).__name__} sees every cell that is not hidden, so that raster tokens would show it the "
                "answers; train it with MaskedTokensConfig, or use a RasterTransformer"
            )
        return answer, torch.ones_like(answer, dtype=torch.bool)
