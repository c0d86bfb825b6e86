"""Latent prediction: from some places of a clip, say what a slower copy of the encoder makes of the others.

Nothing is drawn: what cannot be known of pixels need not be. Blocks are hidden at all times alike, in two families,
many small ones and few large ones, each predicted in a pass of its own. The slower copy sees the whole clip, and its
features are normalised, so that they cannot shrink.

Source: Bardes et al. 2024, arXiv:2404.08471; sizes as Assran et al. 2025, arXiv:2506.09985.
"""

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Int64
from torch import Tensor

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.data.clips import Clip
from hallucade.models.video_encoder import VideoEncoder
from hallucade.nn.token_grid import chosen
from hallucade.objectives.encoder_objective import EncoderObjective, EncoderObjectiveConfig
from hallucade.objectives.masked_decoder import MaskedDecoder, random_order
from hallucade.shapes import Scalar


@dataclass(frozen=True, kw_only=True)
class BlockMaskConfig(Config):
    """A family of masks: so many blocks, which may overlap.

    Raises:
        ValueError: numbers out of range.
    """

    blocks: int
    scale: float  # share of the picture that each covers
    aspect: tuple[float, float] = (0.75, 1.5)  # height over width, drawn between these

    def __post_init__(self) -> None:
        if self.blocks < 1 or not 0 < self.scale < 1:
            raise ValueError(f"{self.blocks} blocks of scale {self.scale}; use 1 or more, of a share between 0 and 1")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"aspect is {self.aspect}; give two positive numbers, the smaller first")


@dataclass(frozen=True, kw_only=True)
class LatentPredictionConfig(EncoderObjectiveConfig):
    """What is hidden, the predictor, and how slowly the copy follows.

    Raises:
        ValueError: numbers out of range.
    """

    masks: tuple[BlockMaskConfig, ...] = (BlockMaskConfig(blocks=8, scale=0.15), BlockMaskConfig(blocks=2, scale=0.7))
    least_seen: float = 0.1  # share of the places that stay visible, whatever the blocks cover
    decay: float = 0.996  # share of itself that the copy keeps at an update
    predictor_width: int = 64
    predictor_depth: int = 3

    def __post_init__(self) -> None:
        if not self.masks:
            raise ValueError("masks is empty; give one family of blocks or more")
        if not 0 < self.least_seen < 1:
            raise ValueError(f"least_seen is {self.least_seen}; it lies between 0 and 1, as in 0.1")
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay is {self.decay}; it lies in [0, 1), 0 for a copy that is the encoder itself")
        if self.predictor_width < 1 or self.predictor_depth < 1:
            raise ValueError(
                f"predictor_width is {self.predictor_width}, predictor_depth {self.predictor_depth}; use 1 or more"
            )

    def build(self, encoder: VideoEncoder, actions: ActionSpace) -> "LatentPrediction":
        return LatentPrediction(self, encoder)


class LatentPrediction(EncoderObjective):
    """``{"latents": loss}``: mean absolute error of normalised features at hidden places, the mean over families.

    The copy is saved with the encoder, so that resume is exact; it moves once an update.
    """

    def __init__(self, config: LatentPredictionConfig, encoder: VideoEncoder) -> None:
        super().__init__()
        if encoder.places < 2:
            raise ValueError("a frame is a single patch, of which nothing could be hidden; use a smaller patch")
        self.config = config
        self.predictor = MaskedDecoder(
            encoder, width=config.predictor_width, depth=config.predictor_depth, outputs=encoder.config.width
        )
        self.target = copy.deepcopy(encoder).requires_grad_(False)

    def forward(self, encoder: VideoEncoder, clip: Clip, generator: torch.Generator) -> dict[str, Scalar]:
        with torch.no_grad():
            features = self.target(clip.frames).float()
            target = F.layer_norm(features, features.shape[-1:])
        size, losses = (encoder.grid.rows, encoder.grid.columns), list[Scalar]()
        for family in self.config.masks:
            covered = block_masks(family, len(clip.frames), size, generator)
            kept, hidden = (
                places.to(target.device) for places in split_places(covered, self.config.least_seen, generator)
            )
            predicted = self.predictor(encoder(clip.frames, kept), kept, hidden)
            losses.append((predicted.float() - chosen(target, hidden)).abs().mean())
        self.metrics = {"target_deviation": features.std(0, correction=0).mean()}  # near 0: all clips look alike
        return {"latents": torch.stack(losses).mean()}

    @torch.no_grad()
    def follow(self, encoder: VideoEncoder) -> None:
        """Move the copy towards the encoder that was just updated."""
        for slow, present in zip(self.target.parameters(), encoder.parameters(), strict=True):
            slow.lerp_(present.to(slow.dtype), 1 - self.config.decay)


def block_masks(
    family: BlockMaskConfig, batch: int, size: tuple[int, int], generator: torch.Generator
) -> Bool[Tensor, "b n"]:
    """Draw which places of each clip the blocks of a family cover."""
    rows, columns = size
    low, high = (math.log(aspect) for aspect in family.aspect)
    drawn = torch.rand((3, batch, family.blocks, 1), generator=generator)
    aspect = (low + (high - low) * drawn[0]).exp()
    area = family.scale * rows * columns
    heights = (area * aspect).sqrt().round().clamp(1, rows)
    widths = (area / aspect).sqrt().round().clamp(1, columns)
    tops = (drawn[1] * (rows - heights + 1)).floor()
    lefts = (drawn[2] * (columns - widths + 1)).floor()
    row, column = torch.arange(rows), torch.arange(columns)
    tall, wide = (row >= tops) & (row < tops + heights), (column >= lefts) & (column < lefts + widths)
    return (tall[..., :, None] & wide[..., None, :]).any(1).flatten(1)


def split_places(
    covered: Bool[Tensor, "b n"], least_seen: float, generator: torch.Generator
) -> tuple[Int64[Tensor, "b k"], Int64[Tensor, "b m"]]:
    """Return kept and hidden places, as many of each in every clip.

    Clips of a batch differ in how much is covered: each keeps and hides as many places as the clip that has fewest of
    them, drawn from its own, and the rest is left out of the step. At least a share of `least_seen` is kept, and one
    place is hidden.
    """
    b, n = covered.shape
    least = min(max(1, math.ceil(least_seen * n)), n - 1)
    order = random_order(b, n, generator)
    rank = order.argsort(-1)  # each clip's places in a random order, visible ones first
    ordered = torch.argsort(rank + n * covered, dim=-1)
    seen = (~covered).sum(1).clamp(least, n - 1)
    kept, hidden = int(seen.min()), n - int(seen.max())
    return ordered[:, :kept], ordered[:, n - hidden :]
