"""Which actions a latent is told of, where a latent stands for several frames.

A latent of r frames follows r actions. Told of the last w latents' actions, latent i knows actions r (i - w) to
r i - 1: all that led to its own frames and to those of the w - 1 latents before, and none later. Matrix-Game 2 has
r = 4 and w = 3, so 12 actions (He et al. 2025, arXiv:2508.13009). Something must stand for the actions before a clip:
here the model's "no action"; Matrix-Game 2 repeats the first action, so that a clip's first picture hears of what came
after it.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def grouped(actions: Float[Tensor, "b n a"], stride: int) -> Float[Tensor, "b t g"]:
    """Lay the `stride` actions that lead to one latent side by side.

    Raises:
        ValueError: they do not fill whole latents.
    """
    if actions.shape[1] % stride:
        raise ValueError(f"{actions.shape[1]} actions for latents of {stride} frames; give {stride} a latent")
    return actions.reshape(actions.shape[0], actions.shape[1] // stride, stride * actions.shape[2])


def windows(rows: Float[Tensor, "b m g"], reach: int) -> Float[Tensor, "b t d"]:
    """Return every `reach` consecutive rows side by side, oldest first: t = m - reach + 1 and d = reach * g."""
    return rows.unfold(1, reach, 1).transpose(2, 3).flatten(2)


def windows_of_two(
    before: Float[Tensor, "b m g"], own: Float[Tensor, "b m g"], ends: Int64[Tensor, "t"], reach: int
) -> Float[Tensor, "b t d"]:
    """Return `windows` whose rows of a latent's own block, which stops at its end, are `own`, and `before` earlier."""
    latents = (torch.arange(len(ends))[:, None] + torch.arange(reach) - (reach - 1)).clamp(min=0)  # of rows in a window
    is_own = (ends[latents] == ends[:, None]).to(own.device)[None, :, None]
    mixed = torch.where(is_own, own.unfold(1, reach, 1), before.unfold(1, reach, 1))  # b t g reach
    return mixed.transpose(2, 3).flatten(2)


def preceded(before: Float[Tensor, "#b p g"], rows: Float[Tensor, "b m g"]) -> Float[Tensor, "b total g"]:
    """Return `rows` after what stands for earlier ones."""
    return torch.cat([before.to(rows.dtype).expand(rows.shape[0], -1, -1), rows], 1)
