"""Lookup-free quantisation: the sign of every channel is a bit of the code.

An entropy term makes each choice clear and all codes used. Source: Yu et al. 2023 (MAGVIT-v2), arXiv:2310.05737.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.tokenizers.bottlenecks.base import Bottleneck, BottleneckConfig, Passed


@dataclass(frozen=True, kw_only=True)
class LFQConfig(BottleneckConfig):
    """Two to the power of `bits` codes.

    Raises:
        ValueError: too few or too many bits, or weights below 0.
    """

    bits: int = 10
    entropy_weight: float = 0.1  # of mean entropy of a choice minus entropy of the mean choice, nats
    commitment: float = 0.25  # of the mean squared distance of features from their signs
    sharpness: float = 10.0  # of the soft choice that entropies are taken of
    sample: int = 1024  # places of a batch that they are taken at

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 14:
            raise ValueError(f"bits is {self.bits}; use 1 to 14: the entropy of all 2**bits codes is computed")
        for name in ("entropy_weight", "commitment"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use 0 or more")
        if self.sharpness <= 0 or self.sample < 1:
            raise ValueError(f"sharpness is {self.sharpness} and sample {self.sample}; both must be positive")

    def build(self) -> "LFQ":
        return LFQ(self)


class LFQ(Bottleneck):
    """Takes signs; the gradient passes as if they had not been taken."""

    places: Tensor
    book: Tensor

    def __init__(self, config: LFQConfig) -> None:
        super().__init__()
        self.config = config
        codes = 2**config.bits
        self.width, self.codes = config.bits, codes
        self.register_buffer("places", 2 ** torch.arange(config.bits)[:, None, None], persistent=False)
        bits = torch.arange(codes)[:, None] >> torch.arange(config.bits) & 1
        self.register_buffer("book", bits.float(), persistent=False)

    def forward(self, encoded: Float[Tensor, "n d h w"]) -> Passed:
        encoded = encoded.float()
        signs = torch.where(encoded > 0, 1.0, -1.0)
        losses = {
            "entropy": self.config.entropy_weight * self._entropy(encoded),
            "commitment": self.config.commitment * F.mse_loss(encoded, signs),
        }
        return Passed(encoded + (signs - encoded).detach(), self.latents(encoded), losses)

    def latents(self, encoded: Float[Tensor, "n d h w"]) -> Int64[Tensor, "n h w"]:
        return ((encoded > 0) * self.places).sum(1)

    def features(self, latents: Int64[Tensor, "n h w"]) -> Float[Tensor, "n d h w"]:
        return (latents.unsqueeze(1) // self.places % 2 * 2 - 1).float()

    def _entropy(self, encoded: Float[Tensor, "n d h w"]) -> Float[Tensor, ""]:
        """Return the mean entropy of a choice, minus that of the mean choice; bits are chosen independently."""
        places = encoded.movedim(1, -1).flatten(0, 2)
        step = -(-len(places) // self.config.sample)
        logits = 2 * self.config.sharpness * places[::step]
        one = F.logsigmoid(logits)
        zero = F.logsigmoid(-logits)
        choice = -(one.exp() * one + zero.exp() * zero).sum(1).mean()
        mean = (one @ self.book.T + zero @ (1 - self.book).T).exp().mean(0)
        return choice + (mean * mean.clamp_min(1e-10).log()).sum()
