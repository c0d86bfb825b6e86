"""Which past frames a frame sees: the first `sink` frames and the newest ones, `size` in all, its own block included.

Frames of a block advance together and see each other; all of them see what the last one does. Blocks are counted from a
clip's end: frames that fill no block come first, in a shorter one. The masked path (training) and the ring (play) both
ask this class, so that they cannot disagree. A sink is seen from the distance at which the fullest training clip saw
it, however long the game lasts: the query's clock stops in block ``size - block`` to ``size - 1`` for sinks (Xiao et
al. 2023, arXiv:2309.17453).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


@dataclass(frozen=True)
class FrameSpan:
    """The frames of one pass."""

    numbers: Int64[Tensor, "t"]
    ends: Int64[Tensor, "t"]  # the number after the last of each one's block


@dataclass(frozen=True)
class FrameWindow:
    """A window over frames, the current block included.

    Raises:
        ValueError: the sinks leave no room for a past frame that moves.
    """

    size: int  # frames seen, the current block included
    sink: int = 0  # frames at the start of the clip that never leave
    block: int = 1  # frames that advance together

    def __post_init__(self) -> None:
        if self.block < 1:
            raise ValueError(f"block is {self.block}; a model advances by 1 latent or more")
        if self.size <= self.block:
            raise ValueError(
                f"window is {self.size}; a model with a memory sees {self.block + 1} frames or more: a block of "
                f"{self.block} and what was before"
            )
        most = self.size - self.block - 1
        if not 0 <= self.sink <= most:
            raise ValueError(
                f"sink is {self.sink}; with a window of {self.size} and blocks of {self.block} use 0 to {most}"
            )

    @property
    def slots(self) -> int:
        """Past frames that a memory holds: sinks first, then a ring."""
        return self.size - self.block

    @property
    def ring(self) -> int:
        """Slots that are written again and again."""
        return self.slots - self.sink

    def slot(self, frame: int) -> int:
        """Return where frame number `frame` is kept."""
        return frame if frame < self.sink else self.sink + (frame - self.sink) % self.ring

    def kept(self, first: int, last: int) -> list[int]:
        """Return which frames from number `first` on, before `last`, the block that starts there still sees."""
        return [*range(first, min(self.sink, last)), *range(max(self.sink, first, last - self.ring), last)]

    def held(self, frames: int) -> list[int]:
        """Return the frame number in each filled slot after `frames` frames were seen."""
        return sorted(self.kept(0, frames), key=self.slot)

    def clip(self, frames: int) -> FrameSpan:
        """Return the frames of a clip, numbered from 0."""
        numbers = torch.arange(frames)
        return FrameSpan(numbers, self._ends(frames)(numbers))

    def next(self, first: int, count: int) -> FrameSpan:
        """Return the block of `count` frames that starts with number `first`."""
        numbers = torch.arange(first, first + count)
        return FrameSpan(numbers, torch.full_like(numbers, first + count))

    def excess(self, end: int) -> int:
        """Return how far a block that ends at `end` is past the fullest training clip: sinks move on by as much."""
        return max(0, end - self.size)

    def stopped(self, span: FrameSpan) -> Int64[Tensor, "t"]:
        """Return frame numbers on a clock that stands still once the fullest training clip is over."""
        return span.numbers - (span.ends - self.size).clamp(min=0)

    def visible(self, frames: int, device: torch.device) -> Bool[Tensor, "q k"]:
        """Return which of the frames of a clip (k) each of them (q) sees."""
        numbers = torch.arange(frames, device=device)
        return self.rule(frames)(numbers[:, None], numbers)

    def rule(self, frames: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Whether frames of the first numbers see those of the second in a clip of so many; kernels compile it."""
        sink, moving, end = self.sink, self.size - self.sink, self._ends(frames)
        return lambda q, k: (k < end(q)) & ((k < sink) | (k >= end(q) - moving))

    def _ends(self, frames: int) -> Callable[[Tensor], Tensor]:
        """Where the block of each frame of a clip of so many ends; the first block may be shorter."""
        block, missing = self.block, -frames % self.block
        return lambda number: ((number + missing) // block + 1) * block - missing
