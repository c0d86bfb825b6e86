"""Sobel: edges of decoded pictures that are not where the true ones are, or not as steep.

    |Sobel(x) - Sobel(truth)|    across and down; the mean over channels and pixels, of pictures from -1 to 1

Source: Sobel and Feldman 1968; in project-ochre from version 7.5.1 on.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from hallucade.objectives.base import Setting
from hallucade.objectives.token_losses.base import TokenLossConfig
from hallucade.objectives.token_losses.decoding import Shown
from hallucade.shapes import Scalar

ACROSS = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class SobelLossConfig(TokenLossConfig):
    """That edges of decoded pictures are where the true ones are, and as steep."""

    def build_for_pictures(self, setting: Setting | None) -> "SobelLoss":
        """Build the loss."""
        return SobelLoss()


class SobelLoss:
    """The mean distance of edges."""

    def __call__(self, shown: Shown) -> Scalar:
        return (edges(shown.predicted) - edges(shown.truth)).abs().mean()


def edges(pictures: Float[Tensor, "n c y x"]) -> Float[Tensor, "n c 2 y x"]:
    """Return by how much each pixel's surroundings grow to the right and down, an eighth of Sobel's sum: a mean step.

    Beyond a border lies the border again.
    """
    across = torch.tensor(ACROSS, device=pictures.device, dtype=pictures.dtype) / 8
    kernels = torch.stack([across, across.T])[:, None]
    grown = F.pad(pictures.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    return F.conv2d(grown, kernels).reshape(*pictures.shape[:2], 2, *pictures.shape[2:])
