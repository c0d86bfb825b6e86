"""Masked tokens: fill in hidden cells of every frame, after the frames that really came before it.

The frames before are corrupted a little, because in a dream they are the model's own. Source: Chang et al. 2022,
arXiv:2202.04200; corrupted context as Valevski et al. 2024, arXiv:2408.14837, with codes in place of noise.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hallucade.models.base import LatentClip, TokenModel, forced_latents
from hallucade.models.raster import RasterModel
from hallucade.objectives.base import Setting
from hallucade.objectives.teacher_forcing import dropped_blocks
from hallucade.objectives.token_losses.base import TokenContext
from hallucade.objectives.token_losses.weighted import TokenLosses
from hallucade.objectives.token_objective import TokenObjective, TokenObjectiveConfig
from hallucade.shapes import Action, Scalar


@dataclass(frozen=True, kw_only=True)
class MaskedTokensConfig(TokenObjectiveConfig):
    """It has nothing that the other objectives of codes have not."""

    def build(self) -> "MaskedTokens":
        return MaskedTokens(self, self.losses.build())

    def build_for(self, setting: Setting) -> "MaskedTokens":
        return MaskedTokens(self, self.losses.build(setting))


class MaskedTokens(TokenObjective):
    """``(model, clip, generator) -> {name: loss}``, each a mean over hidden cells; cross-entropy in nats."""

    hardest_step = 0  # all losses count there

    def __init__(self, config: TokenObjectiveConfig, losses: TokenLosses, step: int = 0) -> None:
        self.config, self.losses, self.step = config, losses, step

    def at(self, step: int) -> "MaskedTokens":
        """Return what grades a model at this step: with the losses that count there."""
        return MaskedTokens(self.config, self.losses, step)

    def __call__(self, model: TokenModel[Any], clip: LatentClip, generator: torch.Generator) -> dict[str, Scalar]:
        config, truth = self.config, clip.latents
        graded = forced_latents(model, truth.shape[1])
        answer, before = truth[:, -graded:], truth[:, -graded - 1 : -1]
        asked, graded_cells = self.asked(model, answer, generator)
        past = self.past(model, clip, graded, generator)
        dropped = dropped_blocks(clip, graded, model.block, config.action_dropout, generator)

        def under(action: Action) -> Float[Tensor, "b k h w codes"]:
            actions = torch.cat([clip.actions[:, : -action.shape[1]], action], 1)
            return model.forced_logits(LatentClip(past, actions, clip.seeds), asked[:, -model.block :], dropped)

        logits = model.forced_logits(LatentClip(past, clip.actions, clip.seeds), asked, dropped)
        context = TokenContext(
            step=self.step,
            cells=graded_cells * (1 + config.moving_weight * (answer != before)),
            past=before,
            block=model.block,
            actions=clip.leading_to(truth.shape[1] - graded, truth.shape[1]),
            under=under,
            generator=generator,
        )
        return self.losses(logits, answer, context)

    def asked(
        self, model: TokenModel[Any], answer: Int64[Tensor, "b p h w"], generator: torch.Generator
    ) -> tuple[Int64[Tensor, "b p h w"], Bool[Tensor, "b p h w"]]:
        """Return what the model is shown of the answers, and which cells of them are graded."""
        return asked_cells(model, answer, self.config.all_share, generator)

    def past(
        self, model: TokenModel[Any], clip: LatentClip, graded: int, generator: torch.Generator
    ) -> Int64[Tensor, "b t h w"]:
        """Return what stands for a clip before each of its last latents, so many, that are graded."""
        return corrupted(clip.latents, model.codes, self.config.corruption, generator)


def asked_cells(
    model: TokenModel[Any], answer: Int64[Tensor, "b p h w"], all_share: float, generator: torch.Generator
) -> tuple[Int64[Tensor, "b p h w"], Bool[Tensor, "b p h w"]]:
    """Hide cells of each block, and also say which they are; see ``hidden_cells``.

    Raises:
        ValueError: the model knows the cells before each one, whichever are hidden.
    """
    if isinstance(model, RasterModel):
        raise ValueError(
            f"a {type(model).__name__} draws cells one after the other, and does not fill in hidden ones; train it "
            "with the objective RasterTokensConfig (recipe token_raster_small)"
        )
    hidden = hidden_cells(answer, all_share, model.block, generator).to(answer.device)
    return answer.masked_fill(hidden, model.mask), hidden


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
