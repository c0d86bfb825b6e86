"""Count, mean and covariance of features, as whole numbers: any order and any division of the samples adds up the same.

Features are rounded to multiples of `RESOLUTION`; their sums and the sums of their products are then integers, and
integers add without rounding. Batches, ranks and machines may differ, the result does not, to the last bit.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, distributed

RESOLUTION = 2.0**-14  # its variance, 3e-10 a dimension, is nothing beside that of any feature
LARGEST = 128.0  # a product of two features stays below 2^42 units
CHUNK = 2**11  # samples whose products float64 adds without rounding: 2^42 * 2^11 = 2^53
MOST = 2**21  # samples that int64 holds: 2^42 * 2^21 = 2^63


@dataclass(frozen=True)
class Moments:
    """Sums over samples of features of d dimensions; ``a + b`` is that of both sets of samples."""

    count: int
    total: Int64[Tensor, "d"]  # in units of RESOLUTION
    products: Int64[Tensor, "d d"]  # in units of RESOLUTION squared

    @classmethod
    def of(cls, features: Float[Tensor, "n d"]) -> "Moments":
        """Sum up samples.

        Raises:
            ValueError: a feature that is not finite, or out of range.
        """
        if not bool((features.abs() < LARGEST).all()):  # NaN included
            raise ValueError(f"a feature is not within ±{LARGEST:g}; are the weights those of this network?")
        units = (features.to("cpu", torch.float64) / RESOLUTION).round()
        products = torch.zeros(units.shape[1], units.shape[1], dtype=torch.int64)
        for chunk in torch.split(units, CHUNK):
            products += (chunk.T @ chunk).to(torch.int64)
        return cls(len(units), units.to(torch.int64).sum(0), products)

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        if count >= MOST:
            raise ValueError(f"{count} samples; sums stay exact below {MOST}")
        return Moments(count, self.total + other.total, self.products + other.products)

    @property
    def dims(self) -> int:
        """Dimensions of the features."""
        return len(self.total)

    @property
    def mean(self) -> Float[Tensor, "d"]:
        """Mean, in double precision."""
        return self.total.double() * RESOLUTION / self.count

    @property
    def covariance(self) -> Float[Tensor, "d d"]:
        """Unbiased covariance, in double precision; of two samples or more.

        Source: FID's reference divides by n - 1 too.
        """
        assert self.count > 1, "one sample has no covariance"
        centred = self.products.double() - torch.outer(self.total.double() / self.count, self.total.double())
        return centred * RESOLUTION**2 / (self.count - 1)

    @property
    def rank_deficient(self) -> bool:
        """Whether there are too few samples for a covariance of full rank."""
        return self.count <= self.dims


def merged(parts: Iterable[Moments]) -> Moments:
    """Return the moments of all samples of one or more parts."""
    first, *others = parts
    for part in others:
        first = first + part
    return first


def across_ranks(mine: Moments) -> Moments:
    """Return the moments of all ranks' samples, on every rank; mine where nothing is distributed."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return mine
    device = torch.accelerator.current_accelerator() if distributed.get_backend() != "gloo" else torch.device("cpu")
    parts = [t.to(device).clone() for t in (torch.tensor(mine.count), mine.total, mine.products)]
    for part in parts:
        distributed.all_reduce(part)
    count, total, products = (part.cpu() for part in parts)
    return replace(mine, count=int(count), total=total, products=products)
