"""The processes of one training: how they start, agree and wait. With one process nothing here costs anything."""

import os
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


def make_fabric(precision: str) -> Fabric:
    """Return Fabric for this process: one device, or the ranks that torchrun started."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        return Fabric(devices=1, precision=precision)  # pyright: ignore[reportArgumentType]
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    fabric = Fabric(
        devices=local,
        num_nodes=world // local,
        strategy="ddp",
        precision=precision,  # pyright: ignore[reportArgumentType]
    )
    fabric.launch()
    return fabric


def mean(fabric: Fabric, values: Tensor) -> Tensor:
    """Return the mean of `values` over ranks."""
    if fabric.world_size == 1:
        return values
    return cast(Tensor, fabric.all_reduce(values, reduce_op="mean"))


def any_rank(fabric: Fabric, wish: bool) -> bool:
    """Return whether any rank has the wish, the same answer on every rank."""
    if fabric.world_size == 1:
        return wish
    return bool(mean(fabric, torch.tensor(float(wish), device=fabric.device)).item() > 0)


def share_weights(fabric: Fabric, module: nn.Module) -> None:
    """Give every rank the tensors of rank 0."""
    if fabric.world_size > 1:
        for value in module.state_dict().values():
            if isinstance(value, DTensor):  # it was shared before it was spread
                continue
            torch.distributed.broadcast(value, 0)  # pyright: ignore[reportUnknownMemberType]


def gather(fabric: Fabric, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Return the tensors of every rank, in order and on the CPU; all of them call this, and rank 0 gets them."""
    if fabric.world_size == 1:
        return [tensors]
    found: list[Any] | None = [None] * fabric.world_size if fabric.is_global_zero else None
    mine = {name: value.detach().cpu() for name, value in tensors.items()}
    torch.distributed.gather_object(mine, found)  # pyright: ignore[reportUnknownMemberType]
    return found or []


def wait(fabric: Fabric) -> None:
    """Wait until every rank is here."""
    if fabric.world_size > 1:
        fabric.barrier()
