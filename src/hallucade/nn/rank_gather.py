"""Rows of every rank, with gradients: for losses that compare what different ranks hold."""

from typing import Any, cast

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, distributed


def ranks_and_own() -> tuple[int, int]:
    """Return how many ranks there are, and which this is."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return 1, 0
    return distributed.get_world_size(), distributed.get_rank()


def gathered(rows: Shaped[Tensor, "b ..."]) -> Shaped[Tensor, "all ..."]:
    """Return the rows of all ranks, as many of each, in the order of ranks; without gradients."""
    world, _ = ranks_and_own()
    if world == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world)]
    distributed.all_gather(parts, rows.contiguous())  # pyright: ignore[reportUnknownMemberType]
    return torch.cat(parts)


def gathered_with_gradient(rows: Float[Tensor, "b c"]) -> Float[Tensor, "all c"]:
    """Return the rows of all ranks; a rank's rows get the gradient of every rank's loss.

    With gradients averaged over ranks, as the trainer does, the mean of losses of each rank's rows against all rows is
    then the loss of one rank that held them all.
    """
    world, _ = ranks_and_own()
    return rows if world == 1 else cast("Tensor", _Gather.apply(rows))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.count = len(rows)
        return gathered(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)  # pyright: ignore[reportUnknownMemberType]
        first = ranks_and_own()[1] * ctx.count
        return gradient[first : first + ctx.count]
