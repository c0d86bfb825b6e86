"""Pixels as latents: no compression, an exact round trip."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.shapes import Frames
from hallucade.tokenizers.base import Tokenizer, TokenizerConfig


@dataclass(frozen=True, kw_only=True)
class PixelTokenizerConfig(TokenizerConfig):
    """Pixels scaled to [-1, 1]."""

    background: tuple[int, int, int] | None = None  # a colour that models see as black

    def __post_init__(self) -> None:
        if self.background is not None and not all(0 <= level <= 255 for level in self.background):
            raise ValueError(f"background is {self.background}; give red, green and blue from 0 to 255")

    def build(self) -> "PixelTokenizer":
        return PixelTokenizer(self.background)


class PixelTokenizer(Tokenizer):
    """Scale uint8 pixels to float channels in [-1, 1]; decoding rounds to the nearest grey level and clips.

    A background colour is encoded as black; what is dreamed darker than half of its brightest channel is decoded as
    background.
    """

    lossless = True

    def __init__(self, background: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.background = background

    def encode(self, frames: Frames) -> Float[Tensor, "b t 3 h w"]:
        if self.background is not None:
            is_background = (frames == frames.new_tensor(self.background)).all(-1, keepdim=True)
            frames = frames.masked_fill(is_background, 0)
        return frames.movedim(-1, 2).float().div_(127.5).sub_(1)

    def decode(self, latents: Float[Tensor, "b t 3 h w"]) -> Frames:
        levels = latents.float().add(1).mul_(127.5).round_().clamp_(0, 255)
        frames = levels.to(torch.uint8).movedim(2, -1).contiguous()
        if self.background is None:
            return frames
        is_black = (frames <= max(self.background) // 2).all(-1, keepdim=True)
        return torch.where(is_black, frames.new_tensor(self.background), frames)

    def latent_shape(self, height: int, width: int) -> tuple[int, ...]:
        return (3, height, width)
