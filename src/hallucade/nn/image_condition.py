"""A given first latent as extra input channels, for models that continue one picture.

Each latent's input gets `stride` mask channels, one a frame that it stands for, and as many channels as a latent has.
On the given latent the mask is 1 and the channels hold it; on all others the mask is 0 and the channels are zero
("first_frame": Wan 2.1, arXiv:2503.20314, and Matrix-Game 2, whose other latents hold encoded black frames), or hold it
too ("every_frame": it is still known when it left the window).
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

ImageCondition = Literal["none", "first_frame", "every_frame"]


def condition_channels(kind: ImageCondition, channels: int, stride: int) -> int:
    """Return how many input channels the condition adds to latents of `channels`."""
    return 0 if kind == "none" else stride + channels


def image_channels(
    kind: ImageCondition, image: Float[Tensor, "b 1 c h w"], given: Bool[Tensor, "t"], stride: int
) -> Float[Tensor, "b t extra h w"]:
    """Return mask and picture for t latents, of which the `given` ones are the image itself."""
    mask = given.to(image.dtype)[:, None, None, None]  # t 1 1 1
    shown = image * (torch.ones_like(mask) if kind == "every_frame" else mask)  # b t c h w
    return torch.cat([mask.expand(shown.shape[0], -1, stride, *shown.shape[3:]), shown], 2)
