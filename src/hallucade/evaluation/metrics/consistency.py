"""Does a video stay in its world? Each frame is compared with the one before it and with the first one.

After VBench's consistency of subject and background (Huang et al. 2024, arXiv:2311.17982), which compares features of
DINO and CLIP. Here they are those of any network, or the colours of the picture, which need no weights and which the
turn of a camera hardly changes.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

LEVELS = 8  # of each colour channel


def consistency(features: Float[Tensor, "t d"]) -> float:
    """Return the mean over frames of half of each cosine, of negative ones nothing: 1 where no feature changes.

    NaN of a single frame.
    """
    if len(features) < 2:
        return float("nan")
    before = functional.cosine_similarity(features[1:], features[:-1], dim=-1)
    first = functional.cosine_similarity(features[1:], features[:1], dim=-1)
    return float((before.clamp(min=0) + first.clamp(min=0)).mean() / 2)


def palette(frames: UInt8[Tensor, "t h w 3"]) -> Float[Tensor, "t d"]:
    """Return the square root of the share of each colour: the cosine of two is Bhattacharyya's coefficient."""
    level = (frames.long() * LEVELS) >> 8
    colour = (level[..., 0] * LEVELS + level[..., 1]) * LEVELS + level[..., 2]
    counts = torch.zeros(len(frames), LEVELS**3)
    pixels = colour.flatten(1)
    counts.scatter_add_(1, pixels, torch.ones(pixels.shape))
    return (counts / pixels.shape[1]).sqrt()
