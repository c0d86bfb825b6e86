"""Loss weights over pixels and noise levels."""

from jaxtyping import Float
from torch import Tensor


def motion_weight(
    latents: Float[Tensor, "b t c h w"], extra: float, threshold: float = 0.05
) -> Float[Tensor, "b p 1 h w"]:
    """Weight pixels of frames 1.. that changed since the frame before by 1 + `extra`, all others by 1.

    A small moving thing is a small part of a mean over pixels: without this a ball is the last thing learned.

    Args:
        latents: t = p + 1 clean latents in [-1, 1].
        extra: additional weight on what moves; 0 switches the weight off.
        threshold: smallest change, in latent units, that counts as motion.
    """
    change = (latents[:, 1:] - latents[:, :-1]).abs().amax(2, keepdim=True)
    return 1 + extra * (change > threshold).to(latents.dtype)
