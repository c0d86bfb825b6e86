"""Given networks wait in the host's memory: on the accelerator only while one of their calls runs.

A frozen network is copied over when it is asked and dropped after; nothing has to come back. Two transfers of a few
gigabytes a step cost far less than the step of a network of that size.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, cast

import torch
from torch import Tensor, nn

from hallucade.methods.base import Method
from hallucade.models.base import WorldModel
from hallucade.training.sharding import CALLS


def teachers(method: Method) -> dict[str, nn.Module]:
    """Return the networks of a method that neither train nor lie in its checkpoints."""
    saved = {name.split(".")[0] for name in method.state_dict()}
    children = cast("Iterable[tuple[str, nn.Module]]", method.named_children())
    known = {*method.roles(), *saved}
    return {name: child for name, child in children if name not in known and _is_network(child)}


def _is_network(module: nn.Module) -> bool:
    return isinstance(module, WorldModel)


class Offloaded:
    """Keeps the weights of a frozen network in the host's memory between its calls.

    Args:
        network: frozen; its parameters and buffers are moved.
        device: where it computes.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._device, self._depth = device, 0
        self.tensors: list[Tensor] = [*network.parameters(), *network.buffers()]
        self._host: list[Tensor] = [tensor.data.cpu() for tensor in self.tensors]
        if device.type not in ("cpu", "mps"):
            self._host = [tensor.pin_memory() for tensor in self._host]  # from pages that stay, copies are fast
        self._send()
        for name in ("forward", *CALLS):
            if hasattr(network, name):
                setattr(network, name, self._served(getattr(network, name)))

    def _served(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def served(*args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled():
                raise ValueError(
                    "an offloaded network is asked for gradients, whose backward pass would need its weights after "
                    "they are gone; leave offload off, or match by gradient='dmd'"
                )
            self._depth += 1
            try:
                self._fetch()
                return call(*args, **kwargs)
            finally:
                self._depth -= 1
                if self._depth == 0:
                    self._send()

        return served

    def _fetch(self) -> None:
        if self._depth == 1:
            self._put([tensor.to(self._device, non_blocking=True, copy=True) for tensor in self._host])

    def _send(self) -> None:
        self._put(self._host)

    def _put(self, values: list[Tensor]) -> None:
        for tensor, value in zip(self.tensors, values, strict=True):
            tensor.data = value
