"""Several codes a cell: of groups of channels side by side (product quantisation), of what is left over, or of both.

Codebooks are those of vector-quantize-pytorch. A frame of q codes a cell is a picture of codes q times as high: the
first code of every cell, below it what the second ones add, and so on. Whatever dreams codes can dream these.

Source: Zeghidour et al. 2021, arXiv:2107.03312 (residual); Jégou et al. 2011 (product).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.tokenizers.bottlenecks.base import Bottleneck, BottleneckConfig, Passed, all_finite

INSTALL = "pip install 'hallucade[quantisers]'"


@dataclass(frozen=True, kw_only=True)
class ResidualVQConfig(BottleneckConfig):
    """Codebooks of vectors: `stages` of them in turn for each of `groups` of channels.

    Raises:
        ValueError: sizes that make no codebook, or a single one.
    """

    codes: int = 256  # of each codebook
    width: int = 64  # channels of all groups
    stages: int = 2  # codebooks in turn, each for what those before it leave over
    groups: int = 1  # of channels, each with codebooks of its own
    commitment: float = 0.05  # weight of the mean squared distance of features from their vectors
    decay: float = 0.99  # of the running sums
    least_hits: float = 0.05  # mean choices a batch below which a code starts again; 0 for never

    def __post_init__(self) -> None:
        if not 2 <= self.codes <= 2**16:
            raise ValueError(f"codes is {self.codes}; use 2 to 65,536")
        if self.stages < 1 or self.groups < 1 or self.stages * self.groups < 2:
            raise ValueError(
                f"stages is {self.stages} and groups {self.groups}; use 2 or more of either, or VQConfig for one "
                "code a cell"
            )
        if self.width < 1 or self.width % self.groups:
            raise ValueError(f"width {self.width} does not divide into {self.groups} groups; choose a multiple")
        if self.commitment < 0 or self.least_hits < 0 or not 0 < self.decay < 1:
            raise ValueError(
                f"commitment is {self.commitment}, least_hits {self.least_hits}, decay {self.decay}; use 0 or more, 0 "
                "or more, and a number between 0 and 1"
            )

    def build(self) -> "ResidualVQ":
        return ResidualVQ(self)


class ResidualVQ(Bottleneck):
    """Replaces each feature by a sum of vectors a group; the gradient passes as if it had not been replaced.

    Raises:
        ValueError: vector-quantize-pytorch is not installed.
    """

    def __init__(self, config: ResidualVQConfig) -> None:
        super().__init__()
        self.config = config
        self.width, self.codes, self.per_cell = config.width, config.codes, config.stages * config.groups
        self.quantizer = _codebooks(config)

    def forward(self, encoded: Float[Tensor, "n d h w"]) -> Passed:
        with torch.autocast(encoded.device.type, enabled=False):
            found, codes, losses = self._quantized(encoded.float(), learns=self.training)
        return Passed(found, codes, {"commitment": self.config.commitment * losses.mean()})

    def latents(self, encoded: Float[Tensor, "n d h w"]) -> Int64[Tensor, "n rows w"]:
        with torch.autocast(encoded.device.type, enabled=False):
            return self._quantized(encoded.float(), learns=False)[1]

    def features(self, latents: Int64[Tensor, "n rows w"]) -> Float[Tensor, "n d h w"]:
        config = self.config
        n, rows, w = latents.shape
        codes = latents.reshape(n, config.stages, config.groups, rows // self.per_cell, w)
        books: Float[Tensor, "g s k e"] = self.quantizer.codebooks
        stages = range(config.stages)
        parts = [torch.stack([books[g, s][codes[:, s, g]] for s in stages]).sum(0) for g in range(config.groups)]
        return torch.cat(parts, -1).movedim(-1, 1)

    def latent_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return (self.per_cell * rows, columns)

    def _quantized(
        self, encoded: Float[Tensor, "n d h w"], *, learns: bool
    ) -> tuple[Float[Tensor, "n d h w"], Int64[Tensor, "n rows w"], Tensor]:
        frozen = not learns or not all_finite(encoded)
        found, codes, losses = _eagerly(self.quantizer, encoded.movedim(1, -1).flatten(1, 2), frozen)
        n, _, h, w = encoded.shape
        stacked = codes.reshape(self.config.groups, n, h, w, self.config.stages).permute(1, 4, 0, 2, 3)
        return found.reshape(n, h, w, -1).movedim(-1, 1), stacked.flatten(1, 3), losses


def _look_up(quantizer: Any, places: Float[Tensor, "n p d"], frozen: bool) -> tuple[Tensor, Tensor, Tensor]:
    return quantizer(places, freeze_codebook=frozen)


# The library branches on what it counts, which no graph of a compiler holds.
_eagerly: Callable[[Any, Tensor, bool], tuple[Tensor, Tensor, Tensor]] = cast("Any", torch.compiler).disable(_look_up)


def _codebooks(config: ResidualVQConfig) -> Any:
    try:
        from vector_quantize_pytorch import GroupedResidualVQ
    except ImportError as error:
        raise ValueError(f"several codes a cell need vector-quantize-pytorch ({error}); {INSTALL}") from error
    return GroupedResidualVQ(
        dim=config.width,
        groups=config.groups,
        num_quantizers=config.stages,
        codebook_size=config.codes,
        decay=config.decay,
        threshold_ema_dead_code=config.least_hits,
        rotation_trick=False,  # it diverges for some: issue 223 of the library
    )
