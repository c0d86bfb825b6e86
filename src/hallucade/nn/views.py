"""What layers see of a clip, and of the next block after a memory: rotations from positions, masks from the window.

The two are built side by side here because they must agree: a masked clip and a cached game admit the same frames at
the same distances, also where sinks are seen from nearer than they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int64
from torch import Tensor

from hallucade.nn.attention import Axis, View
from hallucade.nn.frame_mask import FrameMask
from hallucade.nn.injection import FrameClock
from hallucade.nn.positions import TokenPositions
from hallucade.nn.rope import Rotation
from hallucade.nn.window import FrameWindow


@dataclass(frozen=True)
class FrameViews:
    """Views of the layers of one model."""

    positions: TokenPositions
    window: FrameWindow
    clock: FrameClock | None = None  # positions of actions, if they have any
    causal: bool = True  # False: all frames of a clip see each other, without a window

    def tokens(self, axis: Axis) -> int:
        """Return how many tokens of a frame are in one sequence along `axis`."""
        return 1 if axis == "time" else self.positions.tokens

    def of_clip(self, axis: Axis, frames: int, device: torch.device) -> View:
        """Return how a layer along `axis` sees a clip of so many frames, numbered from 0."""
        clock = self.clock
        actions = None if clock is None else self._masked(lambda t: clock.turn(t, device), 1, frames, device)
        if axis == "space":
            return View(self.positions.turn(axis, torch.arange(frames), device), actions=actions)
        view = self._masked(lambda t: self.positions.turn(axis, t, device), self.tokens(axis), frames, device)
        return replace(view, actions=actions)

    def of_next(self, axis: Axis, numbers: Int64[Tensor, "k"], device: torch.device) -> View:
        """Return how a layer along `axis` sees a block of these numbers after a memory: all that is kept."""
        actions = None if self.clock is None else View(self.clock.turn(numbers, device))
        return View(self.positions.turn(axis, numbers, device), actions=actions)

    def of_forced(self, axis: Axis, frames: int, first: int, device: torch.device) -> View:
        """Return how a layer along `axis` sees noisy frames from number `first` on, behind a clip's clean ones.

        Keys are those of all `frames` clean frames, then those of the noisy ones: a block sees the clean blocks before
        it that the window admits, and its noisy self.
        """
        span = self.window.clip(frames)
        numbers, own = span.numbers[first:], span.ends[first:, None] == span.ends
        if axis == "space":
            return View(self.positions.turn(axis, numbers, device))
        seen = self.window.visible(frames, own.device)[first:]
        seen = torch.cat([seen & ~own, own[:, first:]], 1).to(device)
        stopped = self.window.stopped(span)[first:]
        is_sink = (torch.cat([span.numbers, numbers]) < self.window.sink).to(device)

        def view(turn: Callable[[Int64[Tensor, "t"]], Rotation | None], tokens: int) -> View:
            mask = seen.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
            if not self.window.sink or frames <= self.window.size:
                return View(turn(numbers), mask, frames=seen)
            return View(turn(numbers), mask, is_sink.repeat_interleave(tokens), turn(stopped), seen)

        clock = self.clock
        actions = None if clock is None else view(lambda t: clock.turn(t, device), 1)
        return replace(view(lambda t: self.positions.turn(axis, t, device), self.tokens(axis)), actions=actions)

    def sink_turns(self, axis: Axis, end: int, device: torch.device) -> tuple[Rotation | None, Rotation | None]:
        """Return what moves sinks nearer to a block that ends at `end`: tokens along `axis`, and actions."""
        excess = self.window.excess(end) if self.window.sink else 0
        if not excess:
            return None, None
        actions = None if self.clock is None else self.clock.turn(torch.tensor([excess]), device)
        return self.positions.turn_by(axis, excess, device), actions

    def _masked(
        self,
        turn: Callable[[Int64[Tensor, "t"]], Rotation | None],
        tokens: int,
        frames: int,
        device: torch.device,
    ) -> View:
        """Return who sees whom among frames of `tokens` keys each, which `turn` turns by frame numbers."""
        span = self.window.clip(frames)
        numbers = span.numbers
        if not self.causal or frames <= self.window.block:
            return View(turn(numbers))
        seen, mask = self.window.visible(frames, device), FrameMask(self.window, frames, tokens, device)
        if not self.window.sink or frames <= self.window.size:
            return View(turn(numbers), mask, frames=seen)
        is_sink = (numbers < self.window.sink).to(device).repeat_interleave(tokens)
        return View(turn(numbers), mask, is_sink, turn(self.window.stopped(span)), seen)
