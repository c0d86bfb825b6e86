"""Which tokens of a clip see each other, by the frames that they belong to; as a matrix, or in blocks.

A matrix has an entry for every pair of tokens, and fused kernels read all of them. FlexAttention takes the rule itself
and skips blocks of pairs that nothing sees, such as the future and what left the window; only its compiled kernels are
fast, and only those of an accelerator have a backward pass (Dong et al. 2024, arXiv:2412.05496).
"""

import functools
from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from hallucade.nn.window import FrameWindow

FLEX = cast("Callable[..., Tensor]", flex_attention)  # it returns more than a tensor only where asked to


class FrameMask:
    """The mask of a clip of `frames` frames of `tokens` tokens each; either form is made when first asked for."""

    def __init__(self, window: FrameWindow, frames: int, tokens: int, device: torch.device) -> None:
        self.window, self.frames, self.tokens, self.device = window, frames, tokens, device
        self._matrix: Bool[Tensor, "q k"] | None = None

    def matrix(self) -> Bool[Tensor, "q k"]:
        """Return True where a query sees a key."""
        if self._matrix is None:
            seen = self.window.visible(self.frames, self.device)
            self._matrix = seen.repeat_interleave(self.tokens, 0).repeat_interleave(self.tokens, 1)
        return self._matrix

    def blocks(self) -> BlockMask:
        """Return the rule and which blocks of tokens it leaves out; one object for each shape."""
        # A compiler traces the call itself and would warn of the cache.
        build = block_mask.__wrapped__ if torch.compiler.is_compiling() else block_mask
        return build(self.window, self.frames, self.tokens, self.device)


@functools.lru_cache(maxsize=16)
def block_mask(window: FrameWindow, frames: int, tokens: int, device: torch.device) -> BlockMask:
    """Build the blocks of a `FrameMask`."""
    rule = window.rule(frames)
    return create_block_mask(
        lambda b, head, q, k: rule(q // tokens, k // tokens),
        B=None,
        H=None,
        Q_LEN=frames * tokens,
        KV_LEN=frames * tokens,
        device=device,
    )


def attend_flex(
    q: Float[Tensor, "*lead heads q d"],
    k: Float[Tensor, "*lead heads k d"],
    v: Float[Tensor, "*lead heads k e"],
    mask: FrameMask,
    scale: float,
) -> Float[Tensor, "*lead heads q e"]:
    """Attend with FlexAttention, which takes one batch axis and heads of 16 channels or more."""
    flat = (x.flatten(0, -4) for x in (q, k, v))
    # On a CPU, where only tests come here, compiling costs a minute and gains little.
    kernel = FLEX if q.device.type == "cpu" else _compiled()
    return kernel(*flat, block_mask=mask.blocks(), scale=scale).reshape(*q.shape[:-1], -1)


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    return torch.compile(FLEX)
