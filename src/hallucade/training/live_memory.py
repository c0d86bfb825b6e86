"""The bytes that tensors hold while something runs, whether their memory is there or only thought of.

Every operation passes a dispatch mode, which counts each storage once, from its first tensor to its last. On stand-ins
(torch's fake tensors, which have shapes, devices and lifetimes but no memory) a step of a network far too large for
this machine is counted in seconds: what autograd keeps, what is computed again, and what is freed when are those of
the real step. Workspace inside a kernel and the allocator's rounding are not seen.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):
    """Counts the memory of tensors on one kind of device while it is entered.

    Args:
        device: others are not counted.
        resting: tensors that are there before.
    """

    def __init__(self, device: torch.device, resting: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.now = 0  # bytes
        self.peak = 0  # bytes, since the start or the last `reset_peak`
        self._device = device.type
        self._sizes: dict[int, int] = {}  # bytes by storage
        self.count(resting)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count(leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        return result

    def count(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors from now on, until they are gone."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key = storage._cdata  # pyright: ignore[reportPrivateUsage]
            if tensor.device.type == self._device and key not in self._sizes:
                self._sizes[key] = storage.nbytes()
                self.now += self._sizes[key]
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, key)

    def reset_peak(self) -> None:
        """Forget peaks before the present."""
        self.peak = self.now

    def _gone(self, key: int) -> None:
        self.now -= self._sizes.pop(key)
