"""What every bottleneck offers: features to latents and back, and a pass for training."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from hallucade.config import Config
from hallucade.shapes import Scalar


@dataclass(frozen=True)
class Passed:
    """What came through a bottleneck in training."""

    features: Float[Tensor, "n d h w"]  # for the decoder; gradients reach the encoder
    codes: Int64[Tensor, "n *code"] | None = None
    losses: dict[str, Scalar] = field(default_factory=dict[str, Scalar])  # weights applied


class Bottleneck(nn.Module, ABC):
    """Turns an encoder's features into latents, and latents into what a decoder reads."""

    width: int  # channels that it reads from the encoder and hands to the decoder
    codes: int | None = None  # how many codes there are; None: latents are float channels
    per_cell: int = 1  # codes that stand for one cell of features

    @abstractmethod
    def forward(self, encoded: Float[Tensor, "n d h w"]) -> Passed:
        """Pass features through, for training: what is not a weight may change too."""

    @abstractmethod
    def latents(self, encoded: Float[Tensor, "n d h w"]) -> Shaped[Tensor, "n *latent"]:
        """Return the latents of features: codes from 0 to ``codes - 1``, or float channels."""

    @abstractmethod
    def features(self, latents: Shaped[Tensor, "n *latent"]) -> Float[Tensor, "n d h w"]:
        """Return what the decoder reads for latents."""

    def latent_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Return the shape of the latent of `rows` x `columns` features."""
        return (rows, columns)


class BottleneckConfig(Config):
    """Base of bottleneck configs."""

    def build(self) -> Bottleneck:
        """Build the bottleneck."""
        raise NotImplementedError


def code_use(codes: Int64[Tensor, "n *code"] | None, count: int | None) -> dict[str, Tensor]:
    """Return how a batch uses the codes, if there are any: perplexity, and the share of codes that occurs at all."""
    if codes is None or count is None:
        return {}
    hits = torch.bincount(codes.flatten(), minlength=count).float()
    shares = hits / hits.sum()
    perplexity = (-(shares * shares.clamp_min(1e-12).log()).sum()).exp()
    return {"perplexity": perplexity, "codes_used": (hits > 0).float().mean()}


@torch.no_grad()
def _all_finite(features: Tensor) -> bool:
    finite = features.isfinite().all()
    if dist.is_available() and dist.is_initialized():
        told = finite.float()
        dist.all_reduce(told, dist.ReduceOp.MIN)
        finite = told > 0
    return bool(finite)


# Whether features are finite numbers, on all ranks; a compiler leaves the question out of its graphs.
all_finite: Callable[[Tensor], bool] = cast("Any", torch.compiler).disable(_all_finite)
