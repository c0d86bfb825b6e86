"""The Fréchet distance between two sets of features, each taken for a Gaussian.

With Inception features it is FID, with I3D features FVD, with others it is neither and must not be called so.
Source: Dowson and Landau 1982; Heusel et al. 2017, arXiv:1706.08500.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.evaluation.metrics.moments import Moments


def frechet_distance(a: Moments, b: Moments) -> float:
    """Return ``|m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))``, in units of the features squared.

    It is biased upwards, the more the fewer the samples: compare values of equal numbers of samples only. At or below
    as many samples as dimensions the covariances are rank-deficient and the value is only relative, see
    `Moments.rank_deficient`.

    Raises:
        ValueError: fewer than two samples, or features of different lengths.
    """
    if min(a.count, b.count) < 2:
        raise ValueError(f"{min(a.count, b.count)} samples have no covariance; measure two or more")
    if a.dims != b.dims:
        raise ValueError(f"features of {a.dims} and {b.dims} dimensions; compare features of one network")
    return gaussian_distance(a.mean, a.covariance, b.mean, b.covariance)


def gaussian_distance(
    mean_a: Float[Tensor, "d"],
    covariance_a: Float[Tensor, "d d"],
    mean_b: Float[Tensor, "d"],
    covariance_b: Float[Tensor, "d d"],
) -> float:
    """Return the squared 2-Wasserstein distance of two Gaussians, whose covariances may be singular.

    The trace of ``(C_a C_b)^(1/2)`` is the sum of the singular values of ``A' B`` for any factors ``C = A A'``. Their
    squares are the eigenvalues of the symmetric form ``A' C_b A``, but those are rounded before the root is drawn,
    which turns 1e-16 into 1e-8 in each of a thousand empty dimensions.
    """
    between = _factor(covariance_a).T @ _factor(covariance_b)
    overlap = cast("Tensor", torch.linalg.svdvals(between)).sum()
    spread = covariance_a.trace() + covariance_b.trace() - 2 * overlap
    return max(float((mean_a - mean_b).square().sum() + spread), 0.0)


def _factor(covariance: Float[Tensor, "d d"]) -> Float[Tensor, "d r"]:
    """Return A with ``covariance = A A'``, without the directions that only rounding fills."""
    symmetric = (covariance + covariance.T).double() / 2
    values, vectors = cast("tuple[Tensor, Tensor]", torch.linalg.eigh(symmetric))
    noise = len(values) * torch.finfo(torch.float64).eps * values[-1].clamp(min=0)
    kept = values > noise
    return vectors[:, kept] * values[kept].sqrt()
