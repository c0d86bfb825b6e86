"""Pictures whose pixels are fetched from places in another: motion that copies what it moves."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample


def warped(picture: Float[Tensor, "m c h w"], motion: Float[Tensor, "m 2 h w"]) -> Float[Tensor, "m c h w"]:
    """Fetch each pixel from `motion` (x to the right, y down) away; beyond an edge is what is at the edge.

    `motion` is in halves of the picture: 1 is half its width, or height. Between pixels it is bicubic, which blurs less
    than bilinear where frame after frame is fetched from the one before.
    """
    still = torch.eye(2, 3, device=picture.device).expand(len(picture), 2, 3)
    places = affine_grid(still, list(picture.shape), align_corners=False)
    # float32: bfloat16 has no tenth of a pixel
    places = places + motion.float().movedim(1, -1)
    return grid_sample(picture.float(), places, mode="bicubic", padding_mode="border", align_corners=False)
