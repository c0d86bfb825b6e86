"""Peak signal-to-noise ratio of uint8 pictures."""

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

CEILING = 100.0  # dB; what identical pictures score: one grey level in one of 150,000 values scores less


def psnr(
    frames: UInt8[Tensor, "*lead h w 3"],
    truth: UInt8[Tensor, "*lead h w 3"],
    region: Bool[Tensor, "*lead h w"] | None = None,
) -> Float[Tensor, "*lead"]:
    """Return ``10 log10(255^2 / MSE)`` of each picture, in dB, at most `CEILING`.

    Args:
        frames: what is judged.
        truth: what it should be.
        region: pixels to compare; None compares all. A picture with an empty region scores NaN.
    """
    squared = (frames.float() - truth.float()).square().mean(-1)
    weight = torch.ones_like(squared) if region is None else region.float()
    mse = (squared * weight).sum((-2, -1)) / weight.sum((-2, -1))
    return (10 * torch.log10(255**2 / mse)).clamp(max=CEILING)
