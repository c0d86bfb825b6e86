"""A convolutional trunk that looks at some consecutive frames: one of them as it is, and what changes between them.

Differences are told apart from pictures because what a network has to see here is motion of a pixel or two, which is a
thousandth of what a picture says.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.tokenizers.convolutions import Residual

SMALLEST = 8  # pixels a side to which pictures are halved, at most
DIFFERENCE = 2.0  # by which differences are scaled: they are small


@dataclass(frozen=True, kw_only=True)
class FrameTrunkConfig(Config):
    """Sizes of the trunk.

    Raises:
        ValueError: a size below 1.
    """

    widths: tuple[int, ...] = (32, 64, 96)  # channels after each halving; more halvings have the last one's
    features: int = 256  # width of what comes out
    pooled: bool = False  # mean over the picture: what moves then counts, and hardly where

    def __post_init__(self) -> None:
        if not self.widths or min(*self.widths, self.features) < 1:
            raise ValueError(f"widths are {self.widths} and features {self.features}; use 1 or more")


class FrameTrunk(nn.Module):
    """Turns windows of frames into vectors.

    Args:
        config: sizes.
        frames: t, in a window.
        frame_size: height, width in pixels.
    """

    adamw = ("stem",)

    def __init__(self, config: FrameTrunkConfig, frames: int, frame_size: tuple[int, int]) -> None:
        super().__init__()
        height, width = (-(-side // 2) for side in frame_size)
        channels = config.widths[0]
        self.stem = nn.Conv2d(3 * frames, channels, 4, 2, padding=(1 + frame_size[0] % 2, 1 + frame_size[1] % 2))
        layers, widths = list[nn.Module](), list(config.widths[1:])
        while max(height, width) > SMALLEST or widths:
            out = widths.pop(0) if widths else channels
            layers += [nn.SiLU(), nn.Conv2d(channels, out, 3, 2, 1), Residual(out, "group")]
            height, width, channels = -(-height // 2), -(-width // 2), out
        self.layers = nn.Sequential(*layers, nn.GroupNorm(1, channels), nn.SiLU())
        self.pooled = config.pooled
        self.out = nn.Linear(channels if config.pooled else channels * height * width, config.features)

    def forward(self, stacked: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        """Return features of ``stacked_frames``."""
        found = self.layers(self.stem(stacked))
        return self.out(found.mean((2, 3)) if self.pooled else found.flatten(1))


def stacked_frames(frames: UInt8[Tensor, "n t h w 3"], shown: int) -> Float[Tensor, "n c h w"]:
    """Return frame number `shown` and the differences of consecutive frames, as channels: c = 3 t."""
    pixels = frames.movedim(-1, 2).float() / 127.5 - 1  # n t 3 h w
    return with_differences(pixels, shown)


def with_differences(pixels: Float[Tensor, "n t 3 h w"], shown: int) -> Float[Tensor, "n c h w"]:
    """Return the same of pixels from -1 to 1."""
    return torch.cat([pixels[:, shown : shown + 1], DIFFERENCE * pixels.diff(dim=1)], 1).flatten(1, 2)
