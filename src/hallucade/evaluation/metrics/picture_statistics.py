"""What one picture is like, with nothing beside it: a dream that fades, blurs or boils drifts away from real play here.

Values are in grey levels, 0 to 255, and compare with the same statistic of real frames of the same game.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def brightness(frames: UInt8[Tensor, "*lead h w 3"]) -> Float[Tensor, "*lead"]:
    """Return the mean of each picture."""
    return frames.float().mean((-3, -2, -1))


def contrast(frames: UInt8[Tensor, "*lead h w 3"]) -> Float[Tensor, "*lead"]:
    """Return the standard deviation of each picture's pixels, the mean over channels."""
    return frames.float().flatten(-3, -2).std(-2, correction=0).mean(-1)


def sharpness(frames: UInt8[Tensor, "*lead h w 3"]) -> Float[Tensor, "*lead"]:
    """Return the root mean square step from a pixel to the next, right and down: a blur lowers it, noise raises it."""
    levels = frames.float()
    right, down = levels.diff(dim=-2), levels.diff(dim=-3)
    return ((right.square().mean((-3, -2, -1)) + down.square().mean((-3, -2, -1))) / 2).sqrt()


def flicker(frames: UInt8[Tensor, "*lead t h w 3"]) -> Float[Tensor, "*lead t-2"]:
    """Return by how much pixels change and change back within two frames, the mean over a picture.

    Of a change up and the next one down, or the other way round, the smaller counts; a pixel that keeps its direction
    or stands still counts nothing. Things that move by less than their own size hardly ever turn a pixel back.

    Returns:
        Of frames 1 to t - 2; the first and the last have only one neighbour.
    """
    steps = frames.float().diff(dim=-4)
    count = steps.shape[-4] - 1
    before, after = steps.narrow(-4, 0, count), steps.narrow(-4, 1, count)
    back = torch.minimum(before.abs(), after.abs()) * (before * after < 0)
    return back.mean((-3, -2, -1))


def flickering(frames: UInt8[Tensor, "*lead t h w 3"]) -> Float[Tensor, "*lead"]:
    """Return 1 less the mean change from frame to frame, in shares of 255; motion lowers it as flicker does.

    Source: VBench's temporal flickering (Huang et al. 2024, arXiv:2311.17982), there of scenes that stand still.
    """
    return 1 - frames.float().diff(dim=-4).abs().mean((-4, -3, -2, -1)) / 255
