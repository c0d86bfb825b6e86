"""Pictures whose pixels are fetched from places in another: motion that copies what it moves."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample


def warped(picture: Float[Tensor, "m c h w"], motion: Float[Tensor, "m 2 h w"]) -> Float[Tensor, "m c h w"]:
    """Fetch each pixel from `motion` (x to the right, y down) away; beyond an edge is what is at the edge.

    `motion` is in halves of the picture: 1 is half its width, or height. Between pixels it is bicubic, which blurs less
    than bilinear where frame after frame is fetched from the one before.
    """
    height, width = picture.shape[-2:]
    across, down = ((2 * torch.arange(n, device=picture.device) + 1) / n - 1 for n in (width, height))
    motion = motion.float()  # bfloat16 has no tenth of a pixel
    places = torch.stack([across + motion[:, 0], down[:, None] + motion[:, 1]], -1)
    return grid_sample(picture.float(), places, mode="bicubic", padding_mode="border", align_corners=False)
