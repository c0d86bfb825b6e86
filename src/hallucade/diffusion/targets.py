"""What a network predicts and what the loss compares: x, eps, v, flow, and EDM's preconditioned residual.

With ``x_s = alpha x0 + sigma eps``: *x* is x0, *eps* the noise, *v* = alpha eps - sigma x0 (Salimans and Ho 2022,
arXiv:2202.00512), *flow* = eps - x0 (rectified flow), *edm* the residual F of Karras et al. 2022 (arXiv:2206.00364,
section 5) written for ``x_s``, where it stays finite up to pure noise.
"""

from typing import Literal

import torch
from torch import Tensor

from hallucade.diffusion.schedules import TINY, NoiseSchedule, NoiseScheduleConfig, expand

Target = Literal["x", "eps", "v", "flow", "edm"]
LossSpace = Literal["x", "eps", "v", "flow"]
SIGMA_DATA = 0.5  # EDM's standard deviation of the data


def check_target(target: Target, schedule: NoiseScheduleConfig) -> None:
    """Refuse a target that says nothing of the data somewhere on the schedule.

    Raises:
        ValueError: "eps" where level 1 is pure noise: the network sees exactly what it should predict, and x0 cannot be
            solved for. Sampling starts there. Source: Lin et al. 2023, arXiv:2305.08891, section 3.2.
    """
    if target == "eps" and schedule.ends_in_pure_noise:
        raise ValueError(
            f"target 'eps' does not go with {schedule}: its level 1 is pure noise, which the noise tells nothing more "
            "about; predict 'v', 'x' or 'flow', or choose LinearNoiseConfig without zero_terminal_snr"
        )


def predict_x0(target: Target, output: Tensor, noisy: Tensor, level: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Convert a network's `output` into x0; `level` has the leading axes of `noisy`."""
    alpha, sigma = expand(schedule.alpha(level), noisy), expand(schedule.sigma(level), noisy)
    match target:
        case "x":
            return output
        case "eps":
            return (noisy - sigma * output) / alpha.clamp_min(TINY)
        case "v":
            return (alpha * noisy - sigma * output) / (alpha.square() + sigma.square())
        case "flow":  # x_s = alpha x0 + sigma (x0 + flow)
            return (noisy - sigma * output) / (alpha + sigma)
        case "edm":
            variance = (SIGMA_DATA * alpha).square() + sigma.square()
            return SIGMA_DATA**2 * alpha / variance * noisy + SIGMA_DATA * sigma / variance.sqrt() * output


def input_scale(target: Target, level: Tensor, schedule: NoiseSchedule) -> Tensor:
    """Return the factor on a network's noisy input: 1, or EDM's unit-variance scaling."""
    if target != "edm":
        return torch.ones_like(level)
    return ((SIGMA_DATA * schedule.alpha(level)).square() + schedule.sigma(level).square()).rsqrt()


def loss_scale(space: LossSpace, level: Tensor, schedule: NoiseSchedule, floor: float = 0.05) -> Tensor:
    """Return c in ``|error in space|^2 = c |error in x0|^2``, at equal `noisy`.

    `floor` bounds sigma from below, as in Li and He 2025 (arXiv:2511.13720), so that no level dominates.
    """
    alpha, sigma = schedule.alpha(level), schedule.sigma(level).clamp_min(floor)
    match space:
        case "x":
            return torch.ones_like(level)
        case "eps":
            return (alpha / sigma).square()
        case "v":
            return ((alpha.square() + sigma.square()) / sigma).square()
        case "flow":
            return ((alpha + sigma) / sigma).square()
