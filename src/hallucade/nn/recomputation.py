"""Activations that are computed again in the backward pass instead of being kept, and proof that they were.

Source: Chen et al. 2016, arXiv:1604.06174.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint  # pyright: ignore[reportUnknownVariableType]

Result = TypeVar("Result")


@dataclass
class _Call:
    runs: int = 0  # of the function: one forward, one in the backward pass
    asked: bool = False  # whether a gradient has reached its result


class Recomputation:
    """Runs functions that the backward pass runs again.

    They must find everything as it was: the same inputs, and no randomness but from generators of their own.
    """

    def __init__(self) -> None:
        self.recomputed = 0  # calls that a backward pass has run again, since the start
        self._calls: list[_Call] = []

    def __call__(self, function: Callable[[], Result]) -> Result:
        """Return ``function()`` and keep nothing of it but its inputs and its result.

        Raises:
            RuntimeError: a gradient has passed an earlier call, which was not run again.
        """
        self.check()
        call = _Call()

        def counted() -> Result:
            call.runs += 1
            self.recomputed += call.runs == 2
            return function()

        def reached(gradient: Tensor) -> None:
            call.asked = True

        result = cast(Result, checkpoint(counted, use_reentrant=False))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.requires_grad:
                leaf.register_hook(reached)
        self._calls.append(call)
        return result

    def check(self) -> None:
        """Forget the calls that a backward pass is done with.

        Raises:
            RuntimeError: one of them was not run again.
        """
        waiting, done = [call for call in self._calls if not call.asked], [call for call in self._calls if call.asked]
        self._calls = [] if done else waiting
        if skipped := sum(call.runs < 2 for call in done):
            raise RuntimeError(
                f"activations of {skipped} of {len(done)} calls were to be recomputed and were not: memory grows with "
                "the clip; turn recomputing off, or find what keeps them"
            )
