"""Where the truth moves: a still background earns decibels that say nothing about the game."""

import torch
from jaxtyping import Bool, UInt8
from torch import Tensor
from torch.nn import functional

MOTION_THRESHOLD = 8  # grey levels; above the noise of video codecs, far below any moving thing
MOTION_MARGIN = 1  # pixels of dilation, so that a trail left behind or ahead of the object counts


def moving_region(
    truth: UInt8[Tensor, "*lead t h w 3"], threshold: int = MOTION_THRESHOLD, margin: int = MOTION_MARGIN
) -> Bool[Tensor, "*lead t-1 h w"]:
    """Mark the pixels of frames 1.. that changed since the frame before by more than `threshold` in any channel.

    Args:
        truth: frames in order of time.
        threshold: largest change, in grey levels, that still counts as standing still.
        margin: pixels by which the region grows in every direction.
    """
    levels = truth.to(torch.int16)
    changed = (levels[..., 1:, :, :, :] - levels[..., :-1, :, :, :]).abs().amax(-1) > threshold
    if margin == 0:
        return changed
    flat = changed.reshape(-1, 1, *changed.shape[-2:]).float()
    grown = functional.max_pool2d(flat, 2 * margin + 1, stride=1, padding=margin)
    return grown.reshape(changed.shape).bool()
