"""An encoder and a decoder of convolutions: each resolution halves the one before."""

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
        ValueError: no resolution, or sizes below 1.
    """

    widths: tuple[int, ...] = (32, 64, 128)  # channels after each halving
    residual: int = 1  # residual blocks at each of these resolutions
    norm: Literal["group", "none"] = "group"

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1 or self.residual < 0:
            raise ValueError(
                f"widths are {self.widths} and residual is {self.residual}; give one width or more of 1 or more, "
                "and 0 blocks or more"
            )

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
    layers, channels = list[nn.Module](), 3
    for out in config.widths:
        layers += [nn.Conv2d(channels, out, 4, 2, 1), *(Residual(out, config.norm) for _ in range(config.residual))]
        channels = out
    return nn.Sequential(*layers, _norm(channels, config.norm), nn.SiLU(), nn.Conv2d(channels, width, 1))


def build_decoder(config: ConvolutionsConfig, width: int) -> nn.Sequential:
    """Return what turns features of `width` channels into pixels."""
    channels = config.widths[-1]
    layers: list[nn.Module] = [nn.Conv2d(width, channels, 3, padding=1)]
    for out in (*config.widths[-2::-1], None):
        layers += [Residual(channels, config.norm) for _ in range(config.residual)]
        layers += [_norm(channels, config.norm), nn.SiLU(), nn.ConvTranspose2d(channels, out or 3, 4, 2, 1)]
        channels = out or 3
    return nn.Sequential(*layers)


def _norm(width: int, kind: Literal["group", "none"]) -> nn.Module:
    if kind == "none":
        return nn.Identity()
    return nn.GroupNorm(width // GROUP if width % GROUP == 0 else 1, width)
