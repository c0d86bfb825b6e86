"""Which past frames a frame sees: the first `sink` frames and the newest ones, `size` in all.

The masked path (training) and the ring (play) both ask this class, so that they cannot disagree. A sink is seen from
the distance at which the fullest training clip saw it, however long the game lasts: the query's clock stops at frame
``size - 1`` for sinks (Xiao et al. 2023, arXiv:2309.17453).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor


@dataclass(frozen=True)
class FrameWindow:
    """A window over frames, the current one included.

    Raises:
        ValueError: the sinks leave no room for a past frame that moves.
    """

    size: int  # frames seen, the current one included
    sink: int = 0  # frames at the start of the clip that never leave

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(f"window is {self.size}; a model with a memory sees 2 frames or more")
        if not 0 <= self.sink <= self.size - 2:
            raise ValueError(f"sink is {self.sink}; with a window of {self.size} use 0 to {self.size - 2}")

    @property
    def slots(self) -> int:
        """Past frames that a memory holds: sinks first, then a ring."""
        return self.size - 1

    def slot(self, frame: int) -> int:
        """Return where frame number `frame` is kept."""
        return frame if frame < self.sink else self.sink + (frame - self.sink) % (self.slots - self.sink)

    def held(self, frames: int) -> list[int]:
        """Return the frame number in each filled slot after `frames` frames were seen."""
        newest = range(max(self.sink, frames - self.slots + self.sink), frames)
        kept = [*range(min(self.sink, frames)), *newest]
        return sorted(kept, key=self.slot)

    def excess(self, frame: int) -> int:
        """Return how far `frame` is past the end of the fullest training clip: sinks move on by as much."""
        return max(0, frame - self.size + 1)

    def visible(self, frames: int, device: torch.device) -> Bool[Tensor, "q k"]:
        """Return which of `frames` frames (k) each of them (q) sees."""
        numbers = torch.arange(frames, device=device)
        return self.rule(numbers[:, None], numbers)

    @property
    def rule(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Whether frames of the first numbers see frames of the second, by broadcasting; kernels compile it."""
        sink, moving = self.sink, self.size - self.sink
        return lambda q, k: (k <= q) & ((k < sink) | (k > q - moving))
