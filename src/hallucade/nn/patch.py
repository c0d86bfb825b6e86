"""Frames to patch tokens and back."""

import math
from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Stem = Literal["linear", "conv"]


class ConvStem(nn.Module):
    """Two convolutions at full resolution, so that a patch knows what is next to it."""

    def __init__(self, channels: int, width: int, kernel: int, *, norm: bool = True) -> None:
        super().__init__()

        def build_norm() -> nn.Module:
            return nn.GroupNorm(math.gcd(32, width), width) if norm else nn.Identity()

        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, kernel, padding="same"),
            nn.SiLU(),
            build_norm(),
            nn.Conv2d(width, width, kernel, padding="same"),
            nn.SiLU(),
            build_norm(),
        )

    def forward(self, frames: Float[Tensor, "m c h w"]) -> Float[Tensor, "m d h w"]:
        return self.layers(frames)


class PatchEmbedding(nn.Module):
    """Cut frames into patches, row by row, and project each, laid out (channel, row, column), to a token."""

    def __init__(self, channels: int, width: int, patch: int, stem: Stem, kernel: int, stem_norm: bool = True) -> None:
        super().__init__()
        self.patch = patch
        self.stem = ConvStem(channels, width // 2, kernel, norm=stem_norm) if stem == "conv" else nn.Identity()
        self.project = nn.Linear((width // 2 if stem == "conv" else channels) * patch**2, width)

    def forward(self, frames: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t n d"]:
        b, t = frames.shape[:2]
        pixels = self.stem(frames.flatten(0, 1))
        patches = F.pixel_unshuffle(pixels, self.patch)  # m (c rows columns) h/patch w/patch
        return self.project(patches.flatten(2).mT).unflatten(0, (b, t))


class PatchOutput(nn.Module):
    """Project tokens to patches, laid out (row, column, channel), and join them to frames."""

    def __init__(self, channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.channels, self.patch = channels, patch
        self.project = nn.Linear(width, patch**2 * channels)

    def forward(self, tokens: Float[Tensor, "b t n d"], rows: int) -> Float[Tensor, "b t c h w"]:
        p = self.patch
        pixels = self.project(tokens).unflatten(2, (rows, -1)).unflatten(-1, (p, p, self.channels))
        # b t rows columns p q c -> b t c rows p columns q
        return pixels.permute(0, 1, 6, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)
