"""The kernel distance between two sets of features: unbiased for few samples, and it knows its own error.

The squared maximum mean discrepancy under the cubic kernel ``(x . y / d + 1)^3`` is KID on Inception features.
Source: Bińkowski et al. 2018, arXiv:1801.01401; U-statistics of Gretton et al. 2012, JMLR 13. Where KID's authors give
the spread over random subsets, this is the standard error of the value itself, by the jackknife over clips.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 2**24  # entries of a kernel matrix that are made at a time


@dataclass(frozen=True)
class KernelDistance:
    """An estimate that is right on average, also when the truth is 0: it can be negative."""

    value: float
    error: float  # one standard error


def paired_distance(a: Float[Tensor, "n t d"], b: Float[Tensor, "n s d"]) -> KernelDistance:
    """Compare two sets of clips of which each ``a[i]`` belongs to ``b[i]``: the truth and the dream of one prompt.

    Terms within a pair are left out, which keeps the estimate unbiased although the two depend on each other.

    Args:
        a: features of t samples (frames) of each of n independent clips.
        b: the same of what belongs to them.

    Raises:
        ValueError: fewer than three clips.
    """
    n = len(a)
    assert n == len(b), f"{n} and {len(b)} clips are not pairs"
    if n < 3:
        raise ValueError(f"{n} pairs of clips; the kernel distance takes three or more")
    cross = _clip_kernel(a, b)
    h = _clip_kernel(a, a) + _clip_kernel(b, b) - cross - cross.T
    h.fill_diagonal_(0)
    rows, whole = h.sum(1), h.sum()
    without = (whole - 2 * rows) / ((n - 1) * (n - 2))  # the same estimate, clip by clip left out
    return KernelDistance(float(whole / (n * (n - 1))), math.sqrt(_jackknife(without)))


def unpaired_distance(a: Float[Tensor, "n t d"], b: Float[Tensor, "m s d"]) -> KernelDistance:
    """Compare two independent sets of clips.

    Args:
        a: features of t samples (frames) of each of n independent clips.
        b: the same of m others.

    Raises:
        ValueError: fewer than three clips in a set.
    """
    n, m = len(a), len(b)
    if min(n, m) < 3:
        raise ValueError(f"sets of {n} and {m} clips; the kernel distance takes three or more in each")
    within_a, within_b, cross = _clip_kernel(a, a), _clip_kernel(b, b), _clip_kernel(a, b)
    inner_a, rows_a, inner_b, rows_b = *_off_diagonal(within_a), *_off_diagonal(within_b)
    mean_a, mean_b, mean_cross = inner_a / (n * (n - 1)), inner_b / (m * (m - 1)), cross.mean()
    without_a = (inner_a - 2 * rows_a) / ((n - 1) * (n - 2)) + mean_b - 2 * (cross.sum() - cross.sum(1)) / ((n - 1) * m)
    without_b = (inner_b - 2 * rows_b) / ((m - 1) * (m - 2)) + mean_a - 2 * (cross.sum() - cross.sum(0)) / (n * (m - 1))
    error = math.sqrt(_jackknife(without_a) + _jackknife(without_b))
    return KernelDistance(float(mean_a + mean_b - 2 * mean_cross), error)


def _clip_kernel(a: Float[Tensor, "n t d"], b: Float[Tensor, "m s d"]) -> Float[Tensor, "n m"]:
    """Return the mean kernel between the samples of each two clips, in double precision."""
    flat_b = b.double().flatten(0, 1)
    rows = max(1, CHUNK // (a.shape[1] * len(flat_b)))
    parts = list[Tensor]()
    for clips in torch.split(a.double(), rows):
        kernel = (clips.flatten(0, 1) @ flat_b.T / a.shape[2] + 1) ** 3
        parts.append(kernel.reshape(len(clips), a.shape[1], len(b), b.shape[1]).mean((1, 3)))
    return torch.cat(parts)


def _off_diagonal(kernel: Float[Tensor, "n n"]) -> tuple[Float[Tensor, ""], Float[Tensor, "n"]]:
    """Return the sum off the diagonal, and that of each row."""
    rows = kernel.sum(1) - kernel.diagonal()
    return rows.sum(), rows


def _jackknife(without: Float[Tensor, "n"]) -> float:
    """Return the variance of an estimate from its values with each sample left out."""
    n = len(without)
    return float((without - without.mean()).square().sum() * (n - 1) / n)
