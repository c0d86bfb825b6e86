"""A small causal network over the cells of one block: what a large one expects of them, and the codes that came first.

The large network runs once a block, this one once a cell, with the keys and values of the cells before it. In training
all cells are asked at once behind a triangular mask, which gives the same answers.

Source of two networks, one of which is small and runs along the codes of a step: Lee et al. 2022, arXiv:2203.01941.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.models.raster import Chooser
from hallucade.nn.attention import KeysValues, SelfAttention, View, joined
from hallucade.nn.feed_forward import build_feed_forward, hidden_size
from hallucade.nn.norm import RMSNorm
from hallucade.nn.positions import TokenPositions, check_head
from hallucade.nn.rope import Rotation

CODE_STD = 0.02  # of what the logits are read out with at first: nearly even, and gradients pass
ROPE_BASE = 100.0  # cells are tens apart at most


@dataclass(frozen=True, kw_only=True)
class RasterHeadConfig(Config):
    """Sizes of the network.

    Raises:
        ValueError: a size that makes none.
    """

    width: int = 128
    depth: int = 2  # blocks
    heads: int = 4
    mlp_ratio: float = 2.0  # hidden units for each channel

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a raster head is {getattr(self, name)}; use 1 or more")
        check_head("axial", {"both"}, self.width, self.heads, (1, 1, 1))
        hidden_size(self.width, self.mlp_ratio)


class RasterBlock(nn.Module):
    """x + attention(norm), then the same with the feed-forward layer."""

    def __init__(self, config: RasterHeadConfig) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = RMSNorm(config.width), RMSNorm(config.width)
        self.attention = SelfAttention(config.width, config.heads, "both")
        self.mlp = build_feed_forward("swiglu", config.width, config.mlp_ratio, bias=False)

    def forward(
        self, x: Float[Tensor, "b k n c"], view: View, past: KeysValues | None = None
    ) -> tuple[Float[Tensor, "b k n c"], KeysValues]:
        """Return the cells and their keys and values."""
        attended, own = self.attention(self.attention_norm(x), view, past)
        x = x + attended
        return x + self.mlp(self.mlp_norm(x)), own


class RasterHead(nn.Module):
    """Logits of a block's cells from their features and the codes before them.

    A cell is told of the code before it and of the one above it, and attends to what all cells before it were told.

    Args:
        config: sizes.
        codes: how many there are.
        features: channels of what is expected of a cell.
        code_width: numbers that a code is embedded in.
        grid: rows and columns of cells.
    """

    def __init__(
        self, config: RasterHeadConfig, codes: int, features: int, code_width: int, grid: tuple[int, int]
    ) -> None:
        super().__init__()
        self.mask = codes  # stands where no code is
        self.positions = TokenPositions("axial", *grid, 0, config.width // config.heads, ROPE_BASE)
        self.embed_code = nn.Embedding(codes + 1, code_width)
        self.expect = nn.Linear(features, config.width)
        self.tell = nn.Linear(2 * code_width, config.width)
        self.blocks = nn.ModuleList(RasterBlock(config) for _ in range(config.depth))
        self.norm = RMSNorm(config.width)
        self.output = nn.Linear(config.width, codes)
        nn.init.normal_(self.output.weight, std=CODE_STD)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, features: Float[Tensor, "b k h w f"], tokens: Int64[Tensor, "b k h w"]
    ) -> Float[Tensor, "b k h w codes"]:
        """Return the logits of all cells of a block, each after the codes before it in `tokens`."""
        told = self._told(before(tokens, self.mask), above(tokens, self.mask))
        x = (self.expect(features) + told).flatten(2, 3)
        cells = x.shape[1] * x.shape[2]
        earlier = torch.ones(cells, cells, dtype=torch.bool, device=x.device).tril()
        view = View(self._turn(features), earlier)
        for block in self._blocks():
            x, _ = block(x, view)
        return self.output(self.norm(x)).unflatten(2, tokens.shape[2:]).float()

    def draw(self, features: Float[Tensor, "b k h w f"], choose: Chooser) -> Int64[Tensor, "b k h w"]:
        """Fill a block cell by cell, each by the code that `choose` takes."""
        (b, k, h, w), device = features.shape[:4], features.device
        tokens = torch.full((b, k * h * w), self.mask, device=device)
        expected, turn, nothing = self.expect(features).flatten(1, 3), self._turn(features), tokens[:, 0].clone()
        pasts: list[KeysValues | None] = [None] * len(self.blocks)
        for i in range(k * h * w):
            told = self._told(tokens[:, i - 1] if i else nothing, tokens[:, i - w] if i % (h * w) >= w else nothing)
            x, view = (expected[:, i] + told)[:, None, None], View(Rotation(turn.cos[i : i + 1], turn.sin[i : i + 1]))
            for j, block in enumerate(self._blocks()):
                x, own = block(x, view, pasts[j])
                pasts[j] = joined(pasts[j], own)
            tokens[:, i] = choose(self.output(self.norm(x))[:, 0, 0].float())
        return tokens.reshape(b, k, h, w)

    def _told(self, left: Int64[Tensor, "*cells"], up: Int64[Tensor, "*cells"]) -> Float[Tensor, "*cells c"]:
        return self.tell(torch.cat([self.embed_code(left), self.embed_code(up)], -1))

    def _turn(self, features: Float[Tensor, "b k h w f"]) -> Rotation:
        _, k, h, w, _ = features.shape
        turn = self.positions.at(h, w).turn("both", torch.arange(k), features.device)
        assert turn is not None
        return turn

    def _blocks(self) -> Iterator[RasterBlock]:
        return cast("Iterator[RasterBlock]", iter(self.blocks))


def before(tokens: Int64[Tensor, "b k h w"], nothing: int) -> Int64[Tensor, "b k h w"]:
    """Return the code that comes before each cell in its block."""
    return F.pad(tokens.flatten(1)[:, :-1], (1, 0), value=nothing).reshape(tokens.shape)


def above(tokens: Int64[Tensor, "b k h w"], nothing: int) -> Int64[Tensor, "b k h w"]:
    """Return the code above each cell in its frame."""
    return F.pad(tokens[:, :, :-1], (0, 0, 1, 0), value=nothing)
