"""Masked tokens: fill in hidden cells of every frame, after the frames that really came before it.

The frames before are corrupted a little, because in a dream they are the model's own. Source: Chang et al. 2022,
arXiv:2202.04200; corrupted context as Valevski et al. 2024, arXiv:2408.14837, with codes in place of noise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from hallucade.models.base import LatentClip, TokenModel, forced_latents
from hallucade.objectives.base import ObjectiveConfig, Setting
from hallucade.objectives.teacher_forcing import dropped_blocks
from hallucade.objectives.token_losses.base import TokenContext
from hallucade.objectives.token_losses.weighted import TokenLosses, TokenLossesConfig
from hallucade.shapes import Action, Scalar


@dataclass(frozen=True, kw_only=True)
class MaskedTokensConfig(ObjectiveConfig):
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

    def build(self) -> "MaskedTokens":
        return MaskedTokens(self, self.losses.build())

    def build_for(self, setting: Setting) -> "MaskedTokens":
        return MaskedTokens(self, self.losses.build(setting))

    def remarks(self) -> tuple[str, ...]:
        return self.losses.remarks()


class MaskedTokens:
    """``(model, clip, generator) -> {name: loss}``, each a mean over hidden cells; cross-entropy in nats."""

    hardest_step = 0  # all losses count there

    def __init__(self, config: MaskedTokensConfig, losses: TokenLosses, step: int = 0) -> None:
        self.config, self.losses, self.step = config, losses, step

    def at(self, step: int) -> "MaskedTokens":
        """Return what grades a model at this step: with the losses that count there."""
        return MaskedTokens(self.config, self.losses, step)

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that losses bring along."""
        return self.losses.networks()

    def network_losses(self, clip: LatentClip, generator: torch.Generator) -> Iterator[tuple[str, Scalar]]:
        """Yield what these networks learn from."""
        return self.losses.network_losses(clip)

    def __call__(self, model: TokenModel[Any], clip: LatentClip, generator: torch.Generator) -> dict[str, Scalar]:
        config, truth = self.config, clip.latents
        graded = forced_latents(model, truth.shape[1])
        answer, before = truth[:, -graded:], truth[:, -graded - 1 : -1]
        hidden = hidden_cells(answer, config.all_share, model.block, generator).to(truth.device)
        past = corrupted(truth, model.codes, config.corruption, generator)
        dropped = dropped_blocks(clip, graded, model.block, config.action_dropout, generator)
        asked = answer.masked_fill(hidden, model.mask)

        def under(action: Action) -> Float[Tensor, "b k h w codes"]:
            actions = torch.cat([clip.actions[:, : -action.shape[1]], action], 1)
            return model.forced_logits(LatentClip(past, actions, clip.seeds), asked[:, -model.block :], dropped)

        logits = model.forced_logits(LatentClip(past, clip.actions, clip.seeds), asked, dropped)
        context = TokenContext(
            step=self.step,
            cells=hidden * (1 + config.moving_weight * (answer != before)),
            past=before,
            block=model.block,
            actions=clip.leading_to(truth.shape[1] - graded, truth.shape[1]),
            under=under,
            generator=generator,
        )
        return self.losses(logits, answer, context)


def hidden_cells(
    tokens: Int64[Tensor, "b p h w"], all_share: float, block: int, generator: torch.Generator
) -> Bool[Tensor, "b p h w"]:
    """Draw which cells of each block are hidden: a share that is the cosine of an even angle, one cell at least."""
    b, p, h, w = tokens.shape
    angle = torch.rand((b, p // block), generator=generator) * (math.pi / 2)
    whole = torch.rand((b, p // block), generator=generator) < all_share
    share = torch.where(whole, torch.ones_like(angle), angle.cos())
    rolls = torch.rand((b, p // block, block * h * w), generator=generator)
    order = rolls.argsort(-1).argsort(-1)
    hidden = order < (share[..., None] * rolls.shape[-1]).ceil().clamp_min(1)
    return hidden.reshape(b, p, h, w)


def corrupted(
    tokens: Int64[Tensor, "b t h w"], codes: int, most: float, generator: torch.Generator
) -> Int64[Tensor, "b t h w"]:
    """Replace a share of each clip's codes, up to `most`, by any code."""
    share = most * torch.rand((len(tokens), 1, 1, 1), generator=generator)
    other = torch.randint(0, codes, tokens.shape, generator=generator)
    replaced = torch.rand(tokens.shape, generator=generator) < share
    return torch.where(replaced.to(tokens.device), other.to(tokens.device), tokens)
