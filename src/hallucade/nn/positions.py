"""Where the tokens of a clip stand: along a flat sequence, or separately in time, row and column."""

from typing import Literal

import torch
from jaxtyping import Int64
from torch import Tensor

from hallucade.nn.attention import Axis
from hallucade.nn.rope import Rotation, frequencies, rotation

Positions = Literal["axial", "flat"]


class TokenPositions:
    """Rotary positions of frames cut into `rows` x `columns` patches, followed by register tokens.

    "flat" counts tokens through the sequence that a layer attends over; "axial" gives time, row and column their own
    share of every head. Registers stand on rows of their own below the picture.
    """

    def __init__(self, kind: Positions, rows: int, columns: int, registers: int, head: int, base: float) -> None:
        self.kind = kind
        self.columns = columns
        self.tokens = rows * columns + registers  # a frame's
        self._base = base
        self._pairs = head // 2

    def turn(self, axis: Axis, frames: Int64[Tensor, "t"], device: torch.device) -> Rotation:
        """Return the rotation of every token that a layer along `axis` attends over; `frames` are frame numbers."""
        return rotation(self._coordinates(axis, frames), frequencies(self._shares(axis), self._base), device)

    def turn_by(self, axis: Axis, frames: int, device: torch.device) -> Rotation:
        """Return the rotation that moves any token by `frames` frames."""
        step = frames * self.tokens if self.kind == "flat" and axis == "both" else frames
        shares = self._shares(axis)
        moved = torch.zeros(1, len(shares), dtype=torch.long)
        moved[0, 0] = step
        return rotation(moved, frequencies(shares, self._base), device)

    def _coordinates(self, axis: Axis, frames: Int64[Tensor, "t"]) -> Int64[Tensor, "tokens axes"]:
        if axis == "time":
            return frames[:, None]
        index = torch.arange(self.tokens)
        if self.kind == "flat":
            return index[:, None] if axis == "space" else (frames[:, None] * self.tokens + index).reshape(-1, 1)
        place = torch.stack([index // self.columns, index % self.columns], 1)
        if axis == "space":
            return place
        t = len(frames)
        return torch.cat([frames.repeat_interleave(self.tokens)[:, None], place.repeat(t, 1)], 1)

    def _shares(self, axis: Axis) -> tuple[int, ...]:
        """Return the pairs of a head that turn with each coordinate."""
        if axis == "time" or self.kind == "flat":
            return (self._pairs,)
        if axis == "space":
            return (self._pairs - self._pairs // 2, self._pairs // 2)
        return (self._pairs - 2 * (self._pairs // 3), self._pairs // 3, self._pairs // 3)
