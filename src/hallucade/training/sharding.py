"""Networks spread over ranks: each keeps its share of weights, gradients, momenta and averages (torch's FSDP2).

A transformer block is whole only while it computes; it is fetched before and let go after, in the backward pass again.
What is outside the blocks is one more part. Methods reach a network through many calls, each of which is registered
below. Between two calls a parameter is a `DTensor`, of which this rank has a part.

A checkpoint holds whole tensors, gathered on rank 0, so that a run goes on with any number of ranks.

Source: Zhao et al. 2023, arXiv:2304.11277, as `torch.distributed.fsdp.fully_shard` has it.
"""

import contextlib
import warnings
from collections.abc import Generator, Iterable, Mapping
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor

from hallucade.models.base import WorldModel
from hallucade.nn.transformer_block import TransformerBlock
from hallucade.training import ranks

CALLS = ("denoise", "velocity", "logits", "observe", "prefill", "initial", "blank", "restore", "teacher_forced")


def shard(fabric: Fabric, module: nn.Module) -> None:
    """Spread every network in a module over the ranks, one after the other; of what is saved, rank 0's counts.

    With one rank nothing is done.
    """
    if fabric.world_size == 1:
        return
    # Nothing here writes into what a block returned, which is what torch warns of.
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(fabric.device.type, (fabric.world_size,))
    for network in _of_type(WorldModel, module):
        fabric.to_device(network)
        ranks.share_weights(fabric, network)
        for block in _of_type(TransformerBlock, network):
            fully_shard(block, mesh=mesh)
        fully_shard(network, mesh=mesh)
        for call in CALLS:
            if hasattr(network, call):
                register_fsdp_forward_method(network, call)


def is_sharded(tensors: Iterable[Tensor]) -> bool:
    """Return whether any of the tensors is spread over ranks."""
    return any(isinstance(tensor, DTensor) for tensor in tensors)


def let_go(module: nn.Module) -> None:
    """Leave every rank with its own part of all weights, whatever call came last."""
    for part in _parts(module):
        part.reshard()


@contextlib.contextmanager
def made_whole(networks: Iterable[nn.Module]) -> Generator[None]:
    """Give every rank whole networks for the duration of the block, so that one rank can use them alone."""
    parts = [part for network in networks for part in _parts(network)]
    for part in parts:
        part.reshard()  # what an earlier call fetched may be old
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for part in parts:
            part.set_reshard_after_forward(isinstance(part, TransformerBlock), recurse=False)
            part.reshard()


def own_part(tensor: Tensor) -> Tensor:
    """Return this rank's part of a tensor, in the same memory; all of it if it is not spread."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor; every rank calls this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Return whole tensors in the host's memory, where they are to be kept; every rank calls this."""
    if not is_sharded(tensors.values()):
        return dict(tensors) if keep else {}
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        complete = whole(tensor.detach())
        if keep:
            found[name] = complete.cpu()
    return found


@torch.no_grad()
def fill(target: Tensor, source: Tensor) -> None:
    """Copy a whole tensor into one that may be spread."""
    if isinstance(target, DTensor):
        source = distribute_tensor(source.to(target.device), target.device_mesh, target.placements, src_data_rank=None)
    target.copy_(source)


def _parts(module: nn.Module) -> list[Any]:
    return _of_type(FSDPModule, module)


def _of_type(kind: type, module: nn.Module) -> list[Any]:
    return [child for child in module.modules() if isinstance(child, kind)]
