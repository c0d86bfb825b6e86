"""The Inception-v3 of FID: the TensorFlow network of December 2015, whose weights others converted, in our own words.

It differs from torchvision's: average pools leave out the border, the last block takes a maximum, there are 1,008
classes, and pictures are resized as TensorFlow 1 did. Any of these left out is another number by the same name.
Source: Szegedy et al. 2015, arXiv:1512.00567; Heusel et al. 2017, arXiv:1706.08500.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from hallucade.evaluation.metrics.features import PictureNetwork
from hallucade.evaluation.metrics.weights_file import find_weights, fingerprint, fit, read_tensors

SIDE = 299  # pixels
CACHED = ("pt_inception-2015-12-05-6726825d.pth", "weights-inception-2015-12-05-6726825d.pth")
SOURCE = "pt_inception-2015-12-05-6726825d.pth of the release fid_weights of github.com/mseitzer/pytorch-fid"
Kernel = tuple[int, int]


@dataclass(frozen=True)
class Conv:
    """A convolution of a block, by the name that its weights have."""

    name: str
    channels: int
    kernel: Kernel = (1, 1)
    stride: int = 1  # with 2 there is no padding


POOLS = {
    "average": nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "maximum": nn.MaxPool2d(3, 1, 1),
    "halve": nn.MaxPool2d(3, 2),
}
Path = Sequence[Conv | str]  # from the block's input to a part of its output; a string names a pool


class NormalisedConv(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, channels: int, conv: Conv, padded: bool = True) -> None:
        super().__init__()
        padding = (conv.kernel[0] // 2, conv.kernel[1] // 2) if padded and conv.stride == 1 else (0, 0)
        self.conv = nn.Conv2d(channels, conv.channels, conv.kernel, conv.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(conv.channels, eps=1e-3)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o y x"]:
        return functional.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Paths side by side, joined along the channels; paths with the same beginning share it."""

    def __init__(self, channels: int, paths: Sequence[Path]) -> None:
        super().__init__()
        self.names = [tuple(step if isinstance(step, str) else step.name for step in path) for path in paths]
        self.channels = 0
        for path in paths:
            width = channels
            for step in path:
                if isinstance(step, Conv):
                    if not hasattr(self, step.name):
                        self.add_module(step.name, NormalisedConv(width, step))
                    width = step.channels
            self.channels += width

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b o y x"]:
        made: dict[tuple[str, ...], Tensor] = {(): x}
        for names in self.names:
            for i, name in enumerate(names):
                if names[: i + 1] not in made:
                    step = POOLS[name] if name in POOLS else cast("nn.Module", getattr(self, name))
                    made[names[: i + 1]] = step(made[names[:i]])
        return torch.cat([made[names] for names in self.names], 1)


def fine(pooled: int) -> tuple[Path, ...]:
    """Return the block at 35x35."""
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
        (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3))),
        ("average", Conv("branch_pool", pooled)),
    )


def medium(inner: int) -> tuple[Path, ...]:
    """Return the block at 17x17, whose 7x7 windows are a row and a column."""
    row, column = (1, 7), (7, 1)
    double = (
        Conv("branch7x7dbl_1", inner),
        Conv("branch7x7dbl_2", inner, column),
        Conv("branch7x7dbl_3", inner, row),
        Conv("branch7x7dbl_4", inner, column),
        Conv("branch7x7dbl_5", 192, row),
    )
    single = (Conv("branch7x7_1", inner), Conv("branch7x7_2", inner, row), Conv("branch7x7_3", 192, column))
    return ((Conv("branch1x1", 192),), single, double, ("average", Conv("branch_pool", 192)))


def coarse(pool: str) -> tuple[Path, ...]:
    """Return the block at 8x8, whose paths part at their ends."""
    row, column = (1, 3), (3, 1)
    single = Conv("branch3x3_1", 384)
    double = (Conv("branch3x3dbl_1", 448), Conv("branch3x3dbl_2", 384, (3, 3)))
    return (
        (Conv("branch1x1", 320),),
        (single, Conv("branch3x3_2a", 384, row)),
        (single, Conv("branch3x3_2b", 384, column)),
        (*double, Conv("branch3x3dbl_3a", 384, row)),
        (*double, Conv("branch3x3dbl_3b", 384, column)),
        (pool, Conv("branch_pool", 192)),
    )


TO_MEDIUM: tuple[Path, ...] = (
    (Conv("branch3x3", 384, (3, 3), 2),),
    (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, (3, 3)), Conv("branch3x3dbl_3", 96, (3, 3), 2)),
    ("halve",),
)
TO_COARSE: tuple[Path, ...] = (
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, (3, 3), 2)),
    (
        Conv("branch7x7x3_1", 192),
        Conv("branch7x7x3_2", 192, (1, 7)),
        Conv("branch7x7x3_3", 192, (7, 1)),
        Conv("branch7x7x3_4", 192, (3, 3), 2),
    ),
    ("halve",),
)
STEM: tuple[tuple[Conv | str, bool], ...] = (  # and whether it is padded
    (Conv("Conv2d_1a_3x3", 32, (3, 3), 2), False),
    (Conv("Conv2d_2a_3x3", 32, (3, 3)), False),
    (Conv("Conv2d_2b_3x3", 64, (3, 3)), True),
    ("halve", False),
    (Conv("Conv2d_3b_1x1", 80), True),
    (Conv("Conv2d_4a_3x3", 192, (3, 3)), False),
    ("halve", False),
)
BLOCKS: dict[str, tuple[Path, ...]] = {
    "Mixed_5b": fine(32),
    "Mixed_5c": fine(64),
    "Mixed_5d": fine(64),
    "Mixed_6a": TO_MEDIUM,
    "Mixed_6b": medium(128),
    "Mixed_6c": medium(160),
    "Mixed_6d": medium(160),
    "Mixed_6e": medium(192),
    "Mixed_7a": TO_COARSE,
    "Mixed_7b": coarse("average"),
    "Mixed_7c": coarse("maximum"),
}


class FidInception(PictureNetwork):
    """The 2,048 features before the classes, of pictures of any size."""

    frechet, kernel, label, dims = "fid", "kid", "Inception-v3 (FID)", 2048

    def __init__(self, about: str = "") -> None:
        super().__init__(about)
        self.order = [step if isinstance(step, str) else step.name for step, _ in STEM] + list(BLOCKS)
        width = 3
        for step, padded in STEM:
            if isinstance(step, Conv):
                self.add_module(step.name, NormalisedConv(width, step, padded))
                width = step.channels
        for name, paths in BLOCKS.items():
            block = Mixed(width, paths)
            self.add_module(name, block)
            width = block.channels
        self.fc = nn.Linear(width, 1008)  # never used: its shape tells these weights from torchvision's

    @classmethod
    def load(cls, path: str | None = None) -> "FidInception":
        """Read the weights from a file, or from torch.hub's cache.

        Raises:
            ValueError: they are missing or another network's; the message says where to get them.
        """
        file = find_weights(path, CACHED, "FID's Inception", SOURCE)
        with torch.device("meta"):
            network = cls(f"{file.name}, SHA-256 {fingerprint(file)}; resized to {SIDE}x{SIDE} as TensorFlow 1 does")
        network.to_empty(device="cpu")
        fit(network, read_tensors(file), file)
        return network

    def picture_features(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 2048"]:
        x = (resize_tensorflow1(pictures, SIDE) - 128) / 128
        for name in self.order:
            x = POOLS[name](x) if name in POOLS else cast("nn.Module", getattr(self, name))(x)
        return x.mean((2, 3))


def resize_tensorflow1(pictures: Float[Tensor, "n c h w"], side: int) -> Float[Tensor, "n c side side"]:
    """Resize as TensorFlow 1 did: output pixel i is read at ``i * h / side``, and not at its centre."""
    for axis in (2, 3):
        size = pictures.shape[axis]
        place = torch.arange(side, device=pictures.device, dtype=torch.float32) * (size / side)
        low = place.long().clamp(max=size - 1)
        weight = (place - low).reshape(-1, *[1] * (3 - axis))
        near = pictures.index_select(axis, low)
        pictures = near + (pictures.index_select(axis, (low + 1).clamp(max=size - 1)) - near) * weight
    return pictures
