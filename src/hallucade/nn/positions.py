"""Where the tokens of a clip stand, and how a network is told.

Rotary kinds turn queries and keys by integers, so that only differences count and no table ends. Learned vectors are a
table of as many frames as the window holds, and `moments` says which of them a later frame takes.

A network that trains on pictures of several sizes keeps the positions of one of them: what stands in the middle of a
small picture is where the middle of a large one is, between two of its patches. So it is with moments of clips that
leave frames out. Source of interpolated rotary positions: Chen et al. 2023, arXiv:2306.15595; of interpolated tables:
Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.2.
"""

import copy
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
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
        self.built = self.grid = rows, columns  # whose patches positions count, and those of the pictures
        self.pace = 1.0  # frames that positions count from one frame to the next
        self.registers = registers
        self._base = base
        self._pairs = head // 2
        self._shares = shares

    @property
    def columns(self) -> int:
        """Patches side by side."""
        return self.grid[1]

    @property
    def tokens(self) -> int:
        """Those of a frame."""
        return self.grid[0] * self.grid[1] + self.registers

    def at(self, rows: int, columns: int, pace: float = 1.0) -> "TokenPositions":
        """Return the positions of pictures of another grid and of frames `pace` frames apart, in units of these.

        Learned vectors of frames count frames at any pace.

        Raises:
            ValueError: positions count tokens, which have no place in another grid.
        """
        if self.kind == "flat" and ((rows, columns) != self.built or pace != 1):
            raise ValueError(
                "positions='flat' counts the tokens of one picture size and rate; use 'axial' or 'video' for stages of "
                "several"
            )
        other = copy.copy(self)
        other.grid, other.pace = (rows, columns), pace
        return other

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
        moved = torch.zeros(1, len(per_step), dtype=torch.float64)
        moved[0, 0] = frames * (self.tokens if self.kind == "flat" and axis == "both" else self.pace)
        return rotation(moved, per_step, device)

    def _coordinates(self, axis: Axis, frames: Int64[Tensor, "t"]) -> Float64[Tensor, "tokens axes"]:
        """Return time, row and column of every token, or its place in the sequence; what all share may be 0."""
        time = frames[:, None].double() * self.pace
        only_time = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)
        if axis == "time":
            return time if self.kind == "flat" else time * only_time
        if self.kind == "flat":
            index = torch.arange(self.tokens, dtype=torch.float64)
            return index[:, None] if axis == "space" else (time * self.tokens + index).reshape(-1, 1)
        place = self._places()
        return place if axis == "space" else (time.unsqueeze(1) * only_time + place).flatten(0, 1)

    def _places(self) -> Float64[Tensor, "tokens 3"]:
        """Return 0, row and column of every token of a frame, registers below the patches."""
        (rows, columns), (own_rows, own_columns) = self.built, self.grid
        down = (torch.arange(own_rows, dtype=torch.float64) + 0.5) * (rows / own_rows) - 0.5
        across = (torch.arange(own_columns, dtype=torch.float64) + 0.5) * (columns / own_columns) - 0.5
        below = torch.arange(self.registers) + rows * columns
        row = torch.cat([down.repeat_interleave(own_columns), (below // columns).double()])
        column = torch.cat([across.repeat(own_rows), (below % columns).double()])
        return torch.stack([torch.zeros_like(row), row, column], 1)

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


def regridded(
    table: Float[Tensor, "patches d"], grid: tuple[int, int], other: tuple[int, int]
) -> Float[Tensor, "others d"]:
    """Interpolate learned vectors of the patches of a grid to those of another one, between their middles."""
    if grid == other:
        return table
    picture = table.T.reshape(1, -1, *grid)
    return F.interpolate(picture, other, mode="bilinear", align_corners=False)[0].flatten(1).T


def stretched(table: Float[Tensor, "frames d"], frames: int) -> Float[Tensor, "others d"]:
    """Interpolate learned vectors of the frames of a window to those of another one, oldest to oldest."""
    if len(table) == frames:
        return table
    return F.interpolate(table.T[None], frames, mode="linear", align_corners=True)[0].T


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
