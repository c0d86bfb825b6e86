"""Masked tokens: fill in hidden cells of every frame, after the frames that really came before it.

The frames before are corrupted a little, because in a dream they are the model's own. Source: Chang et al. 2022,
arXiv:2202.04200; corrupted context as Valevski et al. 2024, arXiv:2408.14837, with codes in place of noise.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64
from torch import Tensor

from hallucade.models.base import LatentClip, TokenModel, forced_latents
from hallucade.objectives.base import ObjectiveConfig
from hallucade.objectives.teacher_forcing import dropped_blocks
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class MaskedTokensConfig(ObjectiveConfig):
    """How much is hidden, and how answers are graded.

    Raises:
        ValueError: shares that lie outside 0 to 1.
    """

    all_share: float = 0.1  # share of frames that are hidden whole, as at the start of a draw; of others a cosine's
    label_smoothing: float = 0.05  # share of the answer that is spread over all codes
    corruption: float = 0.1  # of each clip's past, the share of codes that are replaced by any: up to this
    moving_weight: float = 0.0  # additional weight on cells whose code differs from the frame before
    action_dropout: float = 0.0  # share of blocks that are told of no action, for guidance

    def __post_init__(self) -> None:
        for name in ("all_share", "label_smoothing", "corruption", "action_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it lies between 0 and 1")
        if self.moving_weight < 0:
            raise ValueError(f"moving_weight is {self.moving_weight}; use 0 for none, or more")

    def build(self) -> "MaskedTokens":
        return MaskedTokens(self)


class MaskedTokens:
    """``(model, clip, generator) -> {"tokens": loss}``: cross-entropy in nats, the mean over hidden cells."""

    def __init__(self, config: MaskedTokensConfig) -> None:
        self.config = config

    def __call__(self, model: TokenModel[Any], clip: LatentClip, generator: torch.Generator) -> dict[str, Scalar]:
        config, truth = self.config, clip.latents
        graded = forced_latents(model, truth.shape[1])
        answer = truth[:, -graded:]
        hidden = hidden_cells(answer, config.all_share, model.block, generator).to(truth.device)
        past = corrupted(truth, model.codes, config.corruption, generator)
        dropped = dropped_blocks(clip, graded, model.block, config.action_dropout, generator)
        seen = LatentClip(past, clip.actions, clip.seeds)
        logits = model.forced_logits(seen, answer.masked_fill(hidden, model.mask), dropped)
        weight = hidden.float()
        if config.moving_weight > 0:
            weight = weight * (1 + config.moving_weight * (answer != truth[:, -graded - 1 : -1]))
        loss = F.cross_entropy(
            logits.flatten(0, -2), answer.flatten(), reduction="none", label_smoothing=config.label_smoothing
        )
        return {"tokens": (loss * weight.flatten()).sum() / weight.sum().clamp_min(1)}


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
