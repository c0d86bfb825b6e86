"""An encoder and a decoder of convolutions: each resolution halves the one before.

Pixels are folded into channels and back where a picture is halved or doubled. At the finest resolutions that is all:
layers there cost the most and say the least, see docs/tokens.md.

Source of folding: Shi et al. 2016, arXiv:1609.05158.
"""

import itertools
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from hallucade.config import Config

GROUP = 16  # channels that are normalised together, where they come out even


@dataclass(frozen=True, kw_only=True)
class ConvolutionsConfig(Config):
    """Sizes of both; the decoder mirrors the encoder.

    Raises:
        ValueError: no resolution with channels, or sizes below 0.
    """

    widths: tuple[int, ...] = (0, 64, 128)  # channels after each halving; 0 at the first ones folds pixels only
    residual: int = 1  # residual blocks at each of these resolutions
    norm: Literal["group", "none"] = "group"

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1 or self.residual < 0:
            raise ValueError(
                f"widths are {self.widths} and residual is {self.residual}; give one width or more of 1 or more, 0 "
                "before them where pixels are only folded, and 0 blocks or more"
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the resolutions that have layers."""
        return tuple(itertools.dropwhile(lambda width: width == 0, self.widths))

    @property
    def fold(self) -> int:
        """Pixels a side that are folded together before the first layer."""
        return 2 ** (len(self.widths) - len(self.channels) + 1)

    @property
    def factor(self) -> int:
        """Pixels a side of each feature."""
        return 2 ** len(self.widths)


class Residual(nn.Module):
    """x + two 3x3 convolutions of it."""

    def __init__(self, width: int, norm: Literal["group", "none"]) -> None:
        super().__init__()
        first, second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.layers = nn.Sequential(_norm(width, norm), nn.SiLU(), first, _norm(width, norm), nn.SiLU(), second)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.layers(x)


def build_encoder(config: ConvolutionsConfig, width: int) -> nn.Sequential:
    """Return what turns pixels, `n 3 h w`, into `width` channels of features."""
    layers: list[nn.Module] = []
    channels = 3
    for i, out in enumerate(config.channels):
        fold, kernel = (2, 1) if i else (config.fold, 3)
        layers += [nn.PixelUnshuffle(fold), nn.Conv2d(channels * fold**2, out, kernel, padding=kernel // 2)]
        layers += [Residual(out, config.norm) for _ in range(config.residual)]
        channels = out
    return nn.Sequential(*layers, _norm(channels, config.norm), nn.SiLU(), nn.Conv2d(channels, width, 1))


def build_decoder(config: ConvolutionsConfig, width: int) -> nn.Sequential:
    """Return what turns features of `width` channels into pixels."""
    channels = config.channels[-1]
    layers: list[nn.Module] = [nn.Conv2d(width, channels, 3, padding=1)]
    for out in (*config.channels[-2::-1], None):
        fold, kernel, made = (config.fold, 3, 3) if out is None else (2, 1, out)
        layers += [Residual(channels, config.norm) for _ in range(config.residual)]
        layers += [_norm(channels, config.norm), nn.SiLU()]
        layers += [nn.Conv2d(channels, made * fold**2, kernel, padding=kernel // 2), nn.PixelShuffle(fold)]
        channels = made
    return nn.Sequential(*layers)


def _norm(width: int, kind: Literal["group", "none"]) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    return nn.GroupNorm(width // GROUP if width % GROUP == 0 else 1, width)
