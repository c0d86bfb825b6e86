"""What the objectives of codes share: what they ask, what they show in place of the truth, and what grades answers."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from hallucade.models.base import LatentClip
from hallucade.objectives.base import ObjectiveConfig
from hallucade.objectives.token_losses.weighted import TokenLosses, TokenLossesConfig
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class TokenObjectiveConfig(ObjectiveConfig):
    """How much is hidden, and how answers are graded.

    Raises:
        ValueError: shares that lie outside 0 to 1.
    """

    all_share: float = 0.1  # share of frames that are hidden whole, as at the start of a draw; of others a cosine's
    corruption: float = 0.1  # of each clip's past, the share of codes that are replaced by any: up to this
    moving_weight: float = 0.0  # additional weight on cells whose code differs from the frame before
    action_dropout: float = 0.0  # share of blocks that are told of no action, for guidance
    losses: TokenLossesConfig = field(default_factory=TokenLossesConfig)  # of hidden cells

    def __post_init__(self) -> None:
        for name in ("all_share", "corruption", "action_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it lies between 0 and 1")
        if self.moving_weight < 0:
            raise ValueError(f"moving_weight is {self.moving_weight}; use 0 for none, or more")

    def remarks(self) -> tuple[str, ...]:
        return self.losses.remarks()


class TokenObjective:
    """Base of objectives whose answers are graded by token losses, some of which bring networks along."""

    losses: TokenLosses

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that losses bring along; see `TaughtObjective`."""
        return self.losses.networks()

    def network_losses(self, clip: LatentClip, generator: torch.Generator) -> Iterator[tuple[str, Scalar]]:
        """Yield what these networks learn from; see `TaughtObjective`."""
        return self.losses.network_losses(clip)
