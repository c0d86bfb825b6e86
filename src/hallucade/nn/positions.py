"""Where the tokens of a clip stand, and how a network is told.

Rotary kinds turn queries and keys by integers, so that only differences count and no table ends. Learned vectors are a
table of as many frames as the window holds, and `moments` says which of them a later frame takes.
"""

from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from hallucade.nn.attention import Axis
from hallucade.nn.rope import Rotation, frequencies, rotation
from hallucade.nn.window import FrameSpan, FrameWindow

Positions = Literal["axial", "flat", "video", "learned"]
Shares = tuple[int, int, int]  # of time, row and column
EQUAL: Shares = (1, 1, 1)
COORDINATES: dict[Axis, int] = {"time": 1, "space": 2, "both": 3}


class TokenPositions:
    """Positions of frames cut into `rows` x `columns` patches, followed by register tokens.

    "flat" counts tokens through the sequence that a layer attends over. "axial" divides a head among what its layer
    attends over: time, row and column, or all three. "video" divides it among all three by `shares`, in every layer
    alike, as video transformers do. "learned" turns nothing: vectors tell the positions. Registers stand on rows of
    their own below the picture.
    """

    def __init__(
        self,
        kind: Positions,
        rows: int,
        columns: int,
        registers: int,
        head: int,
        base: float,
        shares: Shares = EQUAL,
    ) -> None:
        self.kind: Positions = kind
        self.columns = columns
        self.tokens = rows * columns + registers  # a frame's
        self._base = base
        self._pairs = head // 2
        self._shares = shares

    def turn(self, axis: Axis, frames: Int64[Tensor, "t"], device: torch.device) -> Rotation | None:
        """Return the rotation of every token that a layer along `axis` attends over; `frames` are frame numbers."""
        if self.kind == "learned":
            return None
        return rotation(self._coordinates(axis, frames), self._frequencies(axis), device)

    def turn_by(self, axis: Axis, frames: int, device: torch.device) -> Rotation | None:
        """Return the rotation that moves any token by `frames` frames."""
        if self.kind == "learned":
            return None
        per_step = self._frequencies(axis)
        moved = torch.zeros(1, len(per_step), dtype=torch.long)
        moved[0, 0] = frames * self.tokens if self.kind == "flat" and axis == "both" else frames
        return rotation(moved, per_step, device)

    def _coordinates(self, axis: Axis, frames: Int64[Tensor, "t"]) -> Int64[Tensor, "tokens axes"]:
        """Return time, row and column of every token, or its place in the sequence; what all share may be 0."""
        time = frames[:, None]
        if axis == "time":
            return time if self.kind == "flat" else time * torch.tensor([1, 0, 0])
        index = torch.arange(self.tokens)
        if self.kind == "flat":
            return index[:, None] if axis == "space" else (time * self.tokens + index).reshape(-1, 1)
        place = torch.stack([torch.zeros_like(index), index // self.columns, index % self.columns], 1)
        return place if axis == "space" else (time.unsqueeze(1) * torch.tensor([1, 0, 0]) + place).flatten(0, 1)

    def _frequencies(self, axis: Axis) -> Float64[Tensor, "axes pairs"]:
        return frequencies(head_split(self.kind, axis, self._pairs, self._shares), self._base)


def moments(kind: Positions, window: FrameWindow, span: FrameSpan) -> Int64[Tensor, "t"]:
    """Return which of a window's learned vectors stands for each of these frames.

    Beside a rotation, which knows the order, the clock stands still at the last vectors: the newest block of a clip as
    long as the window had them. Where vectors are all that tells the order, the frames that move share those that sinks
    leave in turns, so that no two frames of a window have the same; train on clips longer than the window then.
    """
    if kind != "learned":
        return window.stopped(span)
    numbers, sink = span.numbers, window.sink
    return torch.where(numbers < sink, numbers, sink + (numbers - sink) % (window.size - sink))


def head_split(kind: Positions, axis: Axis, pairs: int, shares: Shares) -> tuple[int, ...]:
    """Return the pairs of a head that turn with each coordinate; time gets what is left over."""
    if kind == "flat":
        return (pairs,)
    if kind == "axial" and axis == "time":
        return (pairs, 0, 0)
    if kind == "axial" and axis == "space":
        return (0, pairs - pairs // 2, pairs // 2)
    _, row, column = (pairs * share // sum(shares) for share in (shares if kind == "video" else EQUAL))
    return (pairs - row - column, row, column)


def check_head(kind: Positions, axes: set[Axis], width: int, heads: int, shares: Shares) -> None:
    """Refuse heads that have no pair to turn for a coordinate of the layers that they attend in.

    Raises:
        ValueError: names the width of a head and what would do.
    """
    head = f"width {width} over {heads} heads is {width / heads:g} a head"
    if width % heads:
        raise ValueError(f"{head}; choose a number of heads that divides the width")
    if kind == "learned":
        return
    if width // heads % 2:
        raise ValueError(f"{head}; rotary positions need an even number, so choose another number of heads")
    for axis in axes:
        told = sum(pairs > 0 for pairs in head_split(kind, axis, width // heads // 2, shares))
        wanted = 1 if kind == "flat" else 3 if kind == "video" else COORDINATES[axis]
        if told < wanted:
            raise ValueError(
                f"{head}, too few for {kind} positions"
                + (f" in shares of {':'.join(map(str, shares))}" if kind == "video" else "")
                + f": {wanted} coordinates need a pair each; choose fewer heads"
            )


def check_shares(kind: Positions, shares: Shares) -> None:
    """Refuse shares that leave a coordinate out, or that no layer would read.

    Raises:
        ValueError: names the shares and what would do.
    """
    if min(shares) < 1:
        raise ValueError(f"position_shares is {shares}; time, row and column need a share of 1 or more each")
    if kind != "video" and shares != EQUAL:
        raise ValueError(f"position_shares is {shares}, which {kind} positions do not read; choose positions='video'")
