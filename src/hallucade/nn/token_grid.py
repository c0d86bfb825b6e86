"""Transformer blocks over tokens that stand on a grid of time, row and column, some of whose places may be left out.

What is left out is left out at all times, so that tokens stay a grid `b t n c` and a block attends as in any other
network here: within a frame, through time, or over both. Where a token stands is told twice: by vectors of sines that
are added, and by the rotation of queries and keys.

Source: Vaswani et al. 2017, arXiv:1706.03762, section 3.5, of the vectors; Assran et al. 2025, arXiv:2506.09985, of
rotations over three axes in such an encoder.
"""

from collections.abc import Iterable
from typing import Literal, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hallucade.nn.attention import Axis, SelfAttention, View
from hallucade.nn.feed_forward import FeedForward, build_feed_forward
from hallucade.nn.norm import build_norm
from hallucade.nn.positions import EQUAL, TokenPositions, head_split
from hallucade.nn.rope import Rotation, frequencies

Layout = Literal["full", "factorised"]
BASE = 10_000.0  # of angles per step, of vectors and rotations


class GridBlock(nn.Module):
    """x + attention(norm(x)), then the same with a feed-forward layer: a world model's block that is told nothing."""

    def __init__(self, attention: SelfAttention, mlp: nn.Module, width: int) -> None:
        super().__init__()
        self.attention_norm = build_norm("layer", width)
        self.attention = attention
        self.mlp_norm = build_norm("layer", width)
        self.mlp = mlp

    def forward(self, x: Float[Tensor, "b t n c"], view: View) -> Float[Tensor, "b t n c"]:
        x = x + self.attention(self.attention_norm(x), view)[0]
        return x + self.mlp(self.mlp_norm(x))


class TokenGrid(nn.Module):
    """Blocks over frames of `rows` x `columns` tokens each.

    "full" attends over all tokens of a clip, "factorised" in turns over those of a frame and over one through time.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        *,
        width: int,
        depth: int,
        heads: int,
        layout: Layout,
        mlp: FeedForward,
        mlp_ratio: float,
    ) -> None:
        super().__init__()
        self.rows, self.columns, self.width = rows, columns, width
        self.positions = TokenPositions("axial", rows, columns, 0, width // heads, BASE)
        self.blocks = nn.ModuleList(
            GridBlock(
                SelfAttention(width, heads, axis),
                build_feed_forward(mlp, width, mlp_ratio, bias=False),
                width,
            )
            for axis in axes_of(layout, depth)
        )

    @property
    def layers(self) -> list[GridBlock]:
        """The blocks, in order."""
        return list(cast("Iterable[GridBlock]", self.blocks))

    def vectors(self, frames: int, kept: Int64[Tensor, "b n"] | None, device: torch.device) -> Float[Tensor, "b t n c"]:
        """Return what is added to tokens that know nothing yet of where they stand; b is 1 where all are kept."""
        found = grid_vectors(frames, self.rows, self.columns, self.width).to(device)
        return found[None] if kept is None else chosen(found.expand(len(kept), -1, -1, -1), kept)

    def forward(
        self, x: Float[Tensor, "b t n c"], kept: Int64[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b t n c"]:
        """Run the blocks; `kept` names the places of each frame's n tokens, row by row, where some are left out."""
        views: dict[Axis, View] = {}
        for block in self.layers:
            axis = block.attention.axis
            if axis not in views:
                views[axis] = View(self._turn(axis, x.shape[1], kept, x.device))
            x = block(x, views[axis])
        return x

    def _turn(self, axis: Axis, frames: int, kept: Int64[Tensor, "b n"] | None, device: torch.device) -> Rotation:
        turn = self.positions.turn(axis, torch.arange(frames), device)
        assert turn is not None
        if kept is None or axis == "time":
            return turn
        times = frames if axis == "both" else 1

        def taken(table: Float[Tensor, "tokens pairs"]) -> Float[Tensor, "b *one k pairs"]:
            whole = table.reshape(1, times, -1, table.shape[1]).expand(len(kept), -1, -1, -1)
            found = chosen(whole, kept).flatten(1, 2)[:, None]  # b heads (t n) pairs
            return found if axis == "both" else found[:, None]  # b t heads n pairs

        return Rotation(taken(turn.cos), taken(turn.sin))


def axes_of(layout: Layout, depth: int) -> list[Axis]:
    """Return the sequence that each block attends over."""
    return ["both" if layout == "full" else "time" if i % 2 else "space" for i in range(depth)]


def chosen(tokens: Float[Tensor, "b t n c"], places: Int64[Tensor, "b k"]) -> Float[Tensor, "b t k c"]:
    """Return the tokens at these places of every frame."""
    index = places[:, None, :, None].expand(-1, tokens.shape[1], -1, tokens.shape[3])
    return tokens.gather(2, index)


def grid_vectors(frames: int, rows: int, columns: int, width: int) -> Float[Tensor, "t n c"]:
    """Return sines and cosines of time, row and column, a third of an even `width` each."""
    grid = torch.meshgrid(torch.arange(frames), torch.arange(rows), torch.arange(columns), indexing="ij")
    places = torch.stack(grid, -1).flatten(1, 2).double()  # t n axes
    angles = places @ frequencies(head_split("video", "both", width // 2, EQUAL), BASE)
    return torch.cat([angles.sin(), angles.cos()], -1).float()
