"""The U-Net world model's picture-to-picture network: residual blocks with adaptive group norm, skips by addition."""

import itertools
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hallucade.nn.group_norm import scaled_group_norm

NORM_GROUPS = 8  # of every group norm but the attention's


class AdaptiveGroupNorm(nn.Module):
    """Group norm whose scale and shift come from a condition; starts as a plain group norm."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(condition, 2 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Float[Tensor, "b w y x"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b w y x"]:
        scale, shift = self.modulation(F.silu(condition)).chunk(2, 1)
        return scaled_group_norm(x, NORM_GROUPS, 1 + scale, shift)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions behind adaptive group norms; starts as the identity plus a constant a channel."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.norm1 = AdaptiveGroupNorm(width, condition)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = AdaptiveGroupNorm(width, condition)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Float[Tensor, "b w y x"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b w y x"]:
        hidden = self.conv1(F.silu(self.norm1(x, condition)))
        return x + self.conv2(F.silu(self.norm2(hidden, condition)))


class SelfAttention2d(nn.Module):
    """Attention over all positions of a small picture, in heads of `head_width` or more.

    Starts as the identity plus a constant a channel.
    """

    def __init__(self, width: int, head_width: int = 32) -> None:
        super().__init__()
        self.heads = next(n for n in range(max(width // head_width, 1), 0, -1) if width % n == 0)
        self.norm = nn.GroupNorm(1, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Float[Tensor, "b w y x"]) -> Float[Tensor, "b w y x"]:
        b, w, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(b, 3, self.heads, w // self.heads, height * width)
        q, k, v = qkv.transpose(-1, -2).unbind(1)  # b heads (y x) d
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).reshape(b, w, height, width)
        return x + self.out(mixed)


class UNetBackbone(nn.Module):
    """Fold patches into channels, go down by strided convolutions, come back up with skips, unfold."""

    adamw = ("stem", "head")  # read by the optimizer: first and last layers are not for Muon

    def __init__(
        self,
        *,
        channels_in: int,
        channels_out: int,
        patch: int,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        condition: int,
        attention: bool,
    ) -> None:
        super().__init__()

        def level(width: int, count: int) -> nn.ModuleList:
            return nn.ModuleList([ResidualBlock(width, condition) for _ in range(count)])

        steps = list(itertools.pairwise(widths))
        self.patch = patch
        self.stem = nn.Conv2d(channels_in * patch**2, widths[0], 3, padding=1)
        self.down = nn.ModuleList([level(w, n) for w, n in zip(widths[:-1], blocks[:-1], strict=True)])
        self.shrink = nn.ModuleList([nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in steps])
        self.middle = level(widths[-1], blocks[-1])
        self.attention = SelfAttention2d(widths[-1]) if attention else None
        self.grow = nn.ModuleList([nn.Conv2d(b, 4 * a, 1) for a, b in steps])  # then four pixels from each
        self.up = nn.ModuleList([level(w, n) for w, n in zip(widths[:-1], blocks[:-1], strict=True)])
        self.norm = nn.GroupNorm(NORM_GROUPS, widths[0])
        self.head = nn.Conv2d(widths[0], channels_out * patch**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Float[Tensor, "b i h w"], condition: Float[Tensor, "b d"]) -> Float[Tensor, "b o h w"]:
        x = self.stem(fold(x, self.patch))
        skips: list[Tensor] = []
        for blocks, shrink in zip(_levels(self.down), self.shrink, strict=True):
            for block in blocks:
                x = block(x, condition)
            skips.append(x)
            x = shrink(x)
        for block in self.middle:
            x = block(x, condition)
        if self.attention is not None:
            x = self.attention(x)
        for blocks, grow in zip(reversed(_levels(self.up)), reversed(self.grow), strict=True):
            x = F.pixel_shuffle(grow(x), 2) + skips.pop()
            for block in blocks:
                x = block(x, condition)
        x = scaled_group_norm(x, NORM_GROUPS, self.norm.weight, self.norm.bias)
        return F.pixel_shuffle(self.head(F.silu(x)), self.patch)


def fold(x: Float[Tensor, "b c h w"], patch: int) -> Float[Tensor, "b cpp hp wp"]:
    """Fold patches into channels as ``pixel_unshuffle`` does, into memory with channels last.

    A stack of subsampled pictures compiles to vector loops; ``pixel_unshuffle`` would divide integers for each number.
    The first convolution reads autocast's type: cast before, the stack moves half the bytes.
    """
    device = x.device.type
    x = x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x
    pixels = [x[:, :, row::patch, column::patch] for row in range(patch) for column in range(patch)]
    return torch.stack(pixels, 2).flatten(1, 2).contiguous(memory_format=torch.channels_last)


def _levels(lists: nn.ModuleList) -> list[nn.ModuleList]:
    return cast("list[nn.ModuleList]", list(lists))
