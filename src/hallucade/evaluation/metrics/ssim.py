"""Structural similarity of uint8 pictures, with the window of the original paper.

Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
"""

from typing import cast

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

WINDOW = 11  # pixels: a Gaussian of sigma 1.5, cut at 3.5 sigma
SIGMA = 1.5


def ssim(
    frames: UInt8[Tensor, "*lead h w 3"],
    truth: UInt8[Tensor, "*lead h w 3"],
    region: Bool[Tensor, "*lead h w"] | None = None,
) -> Float[Tensor, "*lead"]:
    """Return the structural similarity of each picture: 1 for identical ones.

    Args:
        frames: what is judged.
        truth: what it should be.
        region: pixels whose windows are averaged; None averages all. A picture with an empty region scores NaN.

    Raises:
        ValueError: pictures smaller than the window.
    """
    *lead, h, w, _ = frames.shape
    if min(h, w) < WINDOW:
        raise ValueError(f"pictures are {h}x{w} pixels; SSIM needs {WINDOW}x{WINDOW} or more")
    a, b = (f.reshape(-1, h, w, 3).movedim(-1, 1).float() / 255 for f in (frames, truth))
    measured = structural_similarity_index_measure(
        a, b, sigma=SIGMA, data_range=1.0, reduction="none", return_full_image=True
    )
    similarity = cast("tuple[Tensor, Tensor]", measured)[1].mean(1).reshape(*lead, h, w)
    weight = torch.ones_like(similarity) if region is None else region.float()
    return (similarity * weight).sum((-2, -1)) / weight.sum((-2, -1))
