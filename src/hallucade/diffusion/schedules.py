"""Noise schedules as (alpha, sigma) pairs: ``x_s = alpha(s) * x0 + sigma(s) * eps``, s = 0 data, s = 1 noise."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

TINY = 1e-4  # below this a division by alpha or sigma amplifies rounding instead of signal


def expand(values: Shaped[Tensor, "*lead"], like: Tensor) -> Tensor:
    """Append singleton axes to `values` until it broadcasts against `like` from the left."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim))


class NoiseSchedule(ABC):
    """How much of the data and how much noise there is at each level."""

    @abstractmethod
    def alpha(self, level: Tensor) -> Tensor:
        """Return the share of data at `level`."""

    @abstractmethod
    def sigma(self, level: Tensor) -> Tensor:
        """Return the share of noise at `level`."""

    @abstractmethod
    def slopes(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return (d alpha / ds, d sigma / ds) at `level`."""

    def mix(self, x0: Tensor, eps: Tensor, level: Tensor) -> Tensor:
        """Return ``x_s``; `level` has the leading axes of `x0`."""
        return expand(self.alpha(level), x0) * x0 + expand(self.sigma(level), x0) * eps

    def noise_of(self, x0: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
        """Return the eps that joins `x0` and `noisy`."""
        sigma = expand(self.sigma(level), x0).clamp_min(TINY)
        return (noisy - expand(self.alpha(level), x0) * x0) / sigma

    def velocity(self, x0: Tensor, noisy: Tensor, level: Tensor) -> Tensor:
        """Return dx/ds of the path through `noisy` that starts at `x0`."""
        slope_alpha, slope_sigma = self.slopes(level)
        eps = self.noise_of(x0, noisy, level)
        return expand(slope_alpha, x0) * x0 + expand(slope_sigma, x0) * eps


class RectifiedFlow(NoiseSchedule):
    """Straight lines from data to noise: alpha = 1 - s, sigma = s.

    Source: Liu et al. 2022, arXiv:2209.03003; Lipman et al. 2022, arXiv:2210.02747.
    """

    def mix(self, x0: Tensor, eps: Tensor, level: Tensor) -> Tensor:
        # in one pass over memory, where the general formula makes three
        dtype = torch.promote_types(x0.dtype, level.dtype)
        return torch.lerp(x0.to(dtype), eps.to(dtype), expand(level, x0).to(dtype))

    def alpha(self, level: Tensor) -> Tensor:
        return 1 - level

    def sigma(self, level: Tensor) -> Tensor:
        return level

    def slopes(self, level: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.ones_like(level), torch.ones_like(level)


def shift_levels(level: Float[Tensor, "*n"], shift: float) -> Float[Tensor, "*n"]:
    """Move noise levels towards noise, for latents with many pixels.

    `shift` = 1 is the identity. Levels stay in [0, 1].

    Raises:
        ValueError: `shift` is not positive.
    Source: Esser et al. 2024, arXiv:2403.03206, section 5.3.2.
    """
    if shift <= 0:
        raise ValueError(f"shift is {shift}; it must be positive (1 is the identity)")
    return shift * level / (1 + (shift - 1) * level)
