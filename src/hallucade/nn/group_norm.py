"""Group norm with a scale and a shift for every channel of every sample."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-5  # torch's default


def scaled_group_norm(
    x: Float[Tensor, "b c h w"],
    groups: int,
    scale: Float[Tensor, "b c"] | Float[Tensor, "c"],
    shift: Float[Tensor, "b c"] | Float[Tensor, "c"],
) -> Float[Tensor, "b c h w"]:
    """Normalise groups of channels to mean 0 and variance 1 over pixels, then scale and shift each channel.

    Source: Wu and He 2018, arXiv:1803.08494.
    """
    if torch.compiler.is_compiling():
        return multiply_add_group_norm(x, groups, scale, shift)
    return torch.addcmul(shift[..., None, None], F.group_norm(x, groups, eps=EPSILON), scale[..., None, None])


def multiply_add_group_norm(
    x: Float[Tensor, "b c h w"],
    groups: int,
    scale: Float[Tensor, "b c"] | Float[Tensor, "c"],
    shift: Float[Tensor, "b c"] | Float[Tensor, "c"],
) -> Float[Tensor, "b c h w"]:
    """Compute the same as one multiply-add a pixel, with coefficients from each channel's first two moments.

    In loops over pixels and channels Inductor would divide integers to find each channel's group, and so not vectorise.
    It writes the result of a ``stack`` to memory instead of recomputing it in the loops that read it: the one around
    the coefficients keeps groups out of the forward pass, the one around the moments out of the backward pass.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    moments = torch.stack([x.mean((2, 3)), x.square().mean((2, 3))])
    mean, square = (_mean_over_group(moment, groups) for moment in moments.unbind())
    rstd = torch.rsqrt((square - mean.square()).clamp_min(0) + EPSILON)
    gain, offset = torch.stack([scale * rstd, shift - scale * rstd * mean])[..., None, None].unbind()
    return torch.addcmul(offset, x, gain)


def _mean_over_group(channels: Float[Tensor, "b c"], groups: int) -> Float[Tensor, "b c"]:
    """Replace each channel's number by the mean of its group."""
    grouped = channels.reshape(channels.shape[0], groups, -1)
    return grouped.mean(2, keepdim=True).expand_as(grouped).flatten(1)
