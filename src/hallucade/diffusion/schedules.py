"""Noise schedules as (alpha, sigma) pairs: ``x_s = alpha(s) * x0 + sigma(s) * eps``, s = 0 data, s = 1 noise.

A model owns its schedule; objectives and samplers ask the model, so that training and sampling cannot disagree.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from hallucade.config import Config

TINY = 1e-5  # below this a division by alpha or sigma amplifies rounding instead of signal
TIMESTEPS = 1000  # of the public discrete-time models


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

    def snr(self, level: Tensor) -> Tensor:
        """Return the signal-to-noise ratio ``(alpha / sigma)^2``: 0 where nothing but noise is left."""
        return (self.alpha(level) / self.sigma(level).clamp_min(TINY)).square()

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


@dataclass(frozen=True, kw_only=True)
class NoiseScheduleConfig(Config):
    """Base of noise schedule configs: a part of a model's config, beside the target that it predicts."""

    def build(self) -> NoiseSchedule:
        """Build the schedule."""
        raise NotImplementedError

    @property
    def ends_in_pure_noise(self) -> bool:
        """Whether level 1 holds nothing of the data."""
        return self.build().alpha(torch.ones(())).item() == 0


@dataclass(frozen=True, kw_only=True)
class RectifiedFlowConfig(NoiseScheduleConfig):
    """Straight lines from data to noise."""

    shift: float = 1.0  # above 1, more of the levels lie near noise; 1 is the identity

    def __post_init__(self) -> None:
        check_shift(self.shift)

    def build(self) -> "RectifiedFlow":
        return RectifiedFlow(self.shift)


class RectifiedFlow(NoiseSchedule):
    """Straight lines from data to noise: alpha = 1 - f(s), sigma = f(s), f the shift of `shift_levels`.

    Source: Liu et al. 2022, arXiv:2209.03003; Lipman et al. 2022, arXiv:2210.02747.
    """

    def __init__(self, shift: float = 1.0) -> None:
        check_shift(shift)
        self.shift = shift

    def mix(self, x0: Tensor, eps: Tensor, level: Tensor) -> Tensor:
        # in one pass over memory, where the general formula makes three
        dtype = torch.promote_types(x0.dtype, level.dtype)
        return torch.lerp(x0.to(dtype), eps.to(dtype), expand(self.sigma(level), x0).to(dtype))

    def alpha(self, level: Tensor) -> Tensor:
        return 1 - self.sigma(level)

    def sigma(self, level: Tensor) -> Tensor:
        return level if self.shift == 1 else shift_levels(level, self.shift)

    def slopes(self, level: Tensor) -> tuple[Tensor, Tensor]:
        slope = self.shift / (1 + (self.shift - 1) * level).square()
        return -slope, slope


@dataclass(frozen=True, kw_only=True)
class DiscreteNoiseConfig(NoiseScheduleConfig):
    """Base of the schedules that discrete-time diffusion defines by the variance added at each timestep, beta."""

    timesteps: int = TIMESTEPS
    zero_terminal_snr: bool = False  # rescale so that the last timestep is pure noise

    def __post_init__(self) -> None:
        if self.timesteps < 2:
            raise ValueError(f"timesteps is {self.timesteps}; use 2 or more, 1000 as public models do")

    def build(self) -> "VariancePreserving":
        alphas = (1 - self.betas()).cumprod(0).sqrt()
        return VariancePreserving(rescaled(alphas) if self.zero_terminal_snr else alphas)

    def betas(self) -> Float[Tensor, "timesteps"]:
        """Return the variance that each timestep adds, float64."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class LinearNoiseConfig(DiscreteNoiseConfig):
    """DDPM's schedule: betas rise linearly. Source: Ho et al. 2020, arXiv:2006.11239, section 4."""

    first_beta: float = 1e-4
    last_beta: float = 2e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.first_beta <= self.last_beta < 1:
            raise ValueError(
                f"first_beta is {self.first_beta} and last_beta {self.last_beta}; "
                "they are variances between 0 and 1, the first no larger than the last"
            )

    def betas(self) -> Float[Tensor, "timesteps"]:
        return torch.linspace(self.first_beta, self.last_beta, self.timesteps, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True)
class CosineNoiseConfig(DiscreteNoiseConfig):
    """The squared-cosine schedule, elsewhere called squaredcos_cap_v2: ``alpha^2`` falls as a squared cosine.

    Source: Nichol and Dhariwal 2021, arXiv:2102.09672, section 3.2.
    """

    offset: float = 0.008  # keeps the first steps from adding too little noise
    largest_beta: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.offset < 0 or not 0 < self.largest_beta < 1:
            raise ValueError(
                f"offset is {self.offset} and largest_beta {self.largest_beta}; "
                "use an offset of 0 or more and a variance between 0 and 1"
            )

    def betas(self) -> Float[Tensor, "timesteps"]:
        share = torch.arange(self.timesteps + 1, dtype=torch.float64) / self.timesteps
        kept = torch.cos((share + self.offset) / (1 + self.offset) * math.pi / 2).square()
        return (1 - kept[1:] / kept[:-1]).clamp(max=self.largest_beta)


class VariancePreserving(NoiseSchedule):
    """``alpha^2 + sigma^2 = 1``: alpha = cos(phi), sigma = sin(phi) of an angle that grows with the level.

    Timestep t of T discrete ones is level (t + 1) / T exactly, level 0 is data, and the angle is linear between.
    """

    def __init__(self, alphas: Float[Tensor, "timesteps"]) -> None:
        self._angles = torch.cat([alphas.new_zeros(1), alphas.double().clamp(0, 1).acos()])
        self._near: dict[tuple[torch.device, torch.dtype], Tensor] = {}  # the same where levels are

    def alpha(self, level: Tensor) -> Tensor:
        return torch.sin(math.pi / 2 - self._angle(level)[0])  # exactly 0 at pure noise, where a cosine rounds

    def sigma(self, level: Tensor) -> Tensor:
        return torch.sin(self._angle(level)[0])

    def slopes(self, level: Tensor) -> tuple[Tensor, Tensor]:
        angle, slope = self._angle(level)
        return -slope * torch.sin(angle), slope * torch.cos(angle)

    def _angle(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Return the angle at `level` and its slope."""
        angles, steps = self._angles_near(level), len(self._angles) - 1
        position = level.clamp(0, 1) * steps
        before = position.long().clamp(max=steps - 1)
        rise = angles[before + 1] - angles[before]
        return angles[before] + (position - before) * rise, rise * steps

    def _angles_near(self, level: Tensor) -> Tensor:
        where = (level.device, level.dtype)
        if where not in self._near:
            self._near[where] = self._angles.to(*where)
        return self._near[where]


def rescaled(alphas: Float[Tensor, "timesteps"]) -> Float[Tensor, "timesteps"]:
    """Shift and scale alphas so that the last is 0 and the first stays: zero terminal signal-to-noise ratio.

    Source: Lin et al. 2023, arXiv:2305.08891, algorithm 1.
    """
    first, last = alphas[0], alphas[-1]
    return (alphas - last) * first / (first - last)


def shift_levels(level: Float[Tensor, "*n"], shift: float) -> Float[Tensor, "*n"]:
    """Move noise levels towards noise, for latents with many pixels.

    `shift` = 1 is the identity. Levels stay in [0, 1].

    Raises:
        ValueError: `shift` is not positive.
    Source: Esser et al. 2024, arXiv:2403.03206, section 5.3.2.
    """
    check_shift(shift)
    return shift * level / (1 + (shift - 1) * level)


def check_shift(shift: float) -> None:
    """Refuse a shift that is not positive.

    Raises:
        ValueError: names the value.
    """
    if not 0 < shift < math.inf:
        raise ValueError(f"shift is {shift}; it must be positive and finite (1 is the identity)")
