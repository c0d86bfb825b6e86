"""Pixels as latents: no compression, an exact round trip."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.shapes import Frames
from hallucade.tokenizers.base import Tokenizer, TokenizerConfig


@dataclass(frozen=True, kw_only=True)
class PixelTokenizerConfig(TokenizerConfig):
    """Pixels scaled to [-1, 1]; nothing to configure."""

    def build(self) -> "PixelTokenizer":
        return PixelTokenizer()


class PixelTokenizer(Tokenizer):
    """Scale uint8 pixels to float channels in [-1, 1]; decoding rounds to the nearest grey level and clips."""

    def encode(self, frames: Frames) -> Float[Tensor, "b t 3 h w"]:
        return frames.movedim(-1, 2).float().div_(127.5).sub_(1)

    def decode(self, latents: Float[Tensor, "b t 3 h w"]) -> Frames:
        levels = latents.float().add(1).mul_(127.5).round_().clamp_(0, 255)
        return levels.to(torch.uint8).movedim(2, -1).contiguous()

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height, width)
