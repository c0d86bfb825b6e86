"""Vector quantisation with a codebook that follows the encoder as an exponential moving average.

Codes that no feature chooses for a while start again at one; their running sums with them, so that the next batch does
not pull them back. Everything is computed in float32, whatever the trainer's precision.

Source: van den Oord et al. 2017, arXiv:1711.00937, appendix A.1; restarts after Dhariwal et al. 2020, arXiv:2005.00341.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from hallucade.tokenizers.bottlenecks.base import Bottleneck, BottleneckConfig, Passed, all_finite


@dataclass(frozen=True, kw_only=True)
class VQConfig(BottleneckConfig):
    """A codebook of vectors.

    Raises:
        ValueError: a size or a rate that makes no codebook.
    """

    codes: int = 1024
    width: int = 64  # channels of a vector
    commitment: float = 0.05  # weight of the mean squared distance of features from their vectors
    decay: float = 0.99  # of the running sums
    epsilon: float = 1e-5  # that is added to counts
    patience: int = 50  # batches without a choice after which a code starts again; 0 for never

    def __post_init__(self) -> None:
        if not 2 <= self.codes <= 2**16:
            raise ValueError(f"codes is {self.codes}; use 2 to 65,536")
        if self.width < 1 or self.patience < 0 or self.commitment < 0 or self.epsilon <= 0:
            raise ValueError(
                f"width is {self.width}, patience {self.patience}, commitment {self.commitment}, "
                f"epsilon {self.epsilon}; use 1 or more, 0 or more, 0 or more, and a positive one"
            )
        if not 0 < self.decay < 1:
            raise ValueError(f"decay is {self.decay}; use a number between 0 and 1, such as 0.99")

    def build(self) -> "VectorQuantizer":
        return VectorQuantizer(self)


class VectorQuantizer(Bottleneck):
    """Replaces each feature by the nearest vector; the gradient passes as if it had not been replaced."""

    book: Tensor
    counts: Tensor
    sums: Tensor
    idle: Tensor
    started: Tensor

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.width, self.codes = config.width, config.codes
        self.register_buffer("book", torch.randn(config.codes, config.width) / config.width**0.5)
        self.register_buffer("counts", torch.ones(config.codes))
        self.register_buffer("sums", self.book.clone())
        self.register_buffer("idle", torch.zeros(config.codes, dtype=torch.int64))  # batches since the last choice
        self.register_buffer("started", torch.tensor(False))  # whether the book has seen a feature

    def forward(self, encoded: Float[Tensor, "n d h w"]) -> Passed:
        with torch.autocast(encoded.device.type, enabled=False):
            encoded = encoded.float()
            places = encoded.movedim(1, -1).flatten(0, 2)
            learns = self.training and all_finite(places)  # or the book would never be finite again
            if learns and not self.started:
                self._start(places.detach())
            codes = self._nearest(places)
            found = self._rows(codes, encoded)
            if learns:
                self._follow(places.detach(), codes)
            commitment = self.config.commitment * F.mse_loss(encoded, found)
            through = encoded + (found - encoded).detach()
            shape = (encoded.shape[0], *encoded.shape[2:])
            return Passed(through, codes.reshape(shape), {"commitment": commitment})

    def latents(self, encoded: Float[Tensor, "n d h w"]) -> Int64[Tensor, "n h w"]:
        with torch.autocast(encoded.device.type, enabled=False):
            codes = self._nearest(encoded.float().movedim(1, -1).flatten(0, 2))
        return codes.reshape(encoded.shape[0], *encoded.shape[2:])

    def features(self, latents: Int64[Tensor, "n h w"]) -> Float[Tensor, "n d h w"]:
        return self.book[latents].movedim(-1, 1)

    def _rows(self, codes: Int64[Tensor, "p"], like: Float[Tensor, "n d h w"]) -> Float[Tensor, "n d h w"]:
        return self.book[codes].reshape(like.shape[0], *like.shape[2:], self.width).movedim(-1, 1)

    def _nearest(self, places: Float[Tensor, "p d"]) -> Int64[Tensor, "p"]:
        """Return the code of the nearest vector of each; what all distances share is left out."""
        return (self.book.square().sum(1) - 2 * places @ self.book.T).argmin(1)

    @torch.no_grad()
    def _start(self, places: Float[Tensor, "p d"]) -> None:
        """Put the book where features are, so that no code starts out of reach; and far apart, so that none is double.

        Source: k-means++, Arthur and Vassilvitskii 2007.
        """
        rows = places[torch.randint(len(places), (1,), device=places.device)]
        apart = (places - rows).square().sum(1)  # of each feature, from the nearest vector that is chosen
        for _ in range(1, self.config.codes):
            # As many features may coincide as there are: then any of them will do.
            chosen = torch.multinomial(apart.clamp_min(1e-12), 1)
            rows = torch.cat([rows, places[chosen]])
            apart = torch.minimum(apart, (places - places[chosen]).square().sum(1))
        self._put(torch.arange(self.config.codes, device=places.device), rows)
        self.started.fill_(True)

    @torch.no_grad()
    def _follow(self, places: Float[Tensor, "p d"], codes: Int64[Tensor, "p"]) -> None:
        config = self.config
        counts = torch.zeros_like(self.counts).index_add_(0, codes, torch.ones_like(places[:, 0]))
        sums = torch.zeros_like(self.sums).index_add_(0, codes, places)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        self.counts.lerp_(counts, 1 - config.decay)
        self.sums.lerp_(sums, 1 - config.decay)
        total = self.counts.sum()
        smoothed = (self.counts + config.epsilon) / (total + config.codes * config.epsilon) * total
        self.book.copy_(self.sums / smoothed[:, None])
        self.idle.add_(1).masked_fill_(counts > 0, 0)
        if config.patience:
            self._restart((self.idle >= config.patience).nonzero().flatten(), places)

    def _restart(self, codes: Int64[Tensor, "k"], places: Float[Tensor, "p d"]) -> None:
        """Start codes again at features of this batch."""
        if len(codes):
            self._put(codes, places[torch.randint(len(places), (len(codes),), device=places.device)])

    def _put(self, codes: Int64[Tensor, "k"], rows: Float[Tensor, "k d"]) -> None:
        """Let codes begin at vectors; the same on all ranks, those of the first."""
        if dist.is_available() and dist.is_initialized():
            rows = rows.contiguous()
            dist.broadcast(rows, 0)
        self.book[codes] = rows
        self.sums[codes] = rows
        self.counts[codes] = 1.0
        self.idle[codes] = 0
