"""A student with a weight for each of a few levels, and the exact teacher of the data that it learns to draw."""

import torch
from gaussian_game import posterior_mean
from torch import Tensor

from hallucade.data.clips import Clip
from hallucade.diffusion.schedules import NoiseSchedule, RectifiedFlow, expand
from hallucade.models.base import DiffusionModel, LatentClip

SHAPE = (1, 1, 2)
MEAN, SPREAD = 0.8, 0.4


class GaussianNetwork(DiffusionModel[Tensor]):
    """Latents lie around MEAN plus the one before them, whatever came earlier; remembers what it was asked."""

    def __init__(self, block: int = 1, schedule: NoiseSchedule | None = None) -> None:
        super().__init__()
        self.block, self.schedule, self.latent_shape = block, schedule or RectifiedFlow(), SHAPE
        self.asked: list[tuple[Tensor, Tensor]] = []  # noisy latents and their levels

    def teacher_forced(self, clip, noisy, levels, dropped=None):
        self.asked.append((noisy, levels))
        before = clip.latents[:, clip.latents.shape[1] - noisy.shape[1] - 1 : -1]
        shift = 0.0 if dropped is None else 1.0  # without an action all means are one higher
        return self.predicted(noisy, levels, before + MEAN + shift)

    def predicted(self, noisy: Tensor, levels: Tensor, mean: Tensor) -> Tensor:
        return posterior_mean(noisy, expand(levels, noisy), self.schedule, mean, SPREAD)

    def denoise(self, state, action, noisy, level):
        return self.predicted(noisy, level[:, None].expand(noisy.shape[:2]), state + MEAN)

    def forward(self, noisy, levels, actions, dropped=None):
        raise AssertionError("causal methods ask for blocks after the truth")

    def initial(self, latent):
        return latent[:, -1:]

    def observe(self, state, action, latent):
        return latent[:, -1:]

    def fork(self, state):
        return state


class AffineStudent(GaussianNetwork):
    """x0 is the mean plus a gain of the level times what the noisy latent is off by; one gain a level."""

    def __init__(self, levels: int, **choices) -> None:
        super().__init__(**choices)
        self.levels = levels
        self.gain = torch.nn.Parameter(torch.zeros(levels + 1))
        self.offset = torch.nn.Parameter(torch.zeros(levels + 1))

    def predicted(self, noisy, levels, mean):
        which = (levels * self.levels).round().long()
        alpha = expand(self.schedule.alpha(levels), noisy)
        return mean + expand(self.offset[which], noisy) + expand(self.gain[which], noisy) * (noisy - alpha * mean)


def way(levels: list[float]) -> Tensor:
    """Return how much a deviation from the mean is multiplied by from each level to data in the teacher's Euler steps.

    A step from s to r multiplies by 1 + (r - s) v(s), v the velocity's slope in the deviation.
    """
    factors = [torch.ones((), dtype=torch.float64)]
    for now, after in zip(levels[-2::-1], levels[:0:-1], strict=True):
        a, s = 1 - now, now
        slope = (s - a * SPREAD**2) / (a**2 * SPREAD**2 + s**2)
        factors.append(factors[-1] * (1 + (after - now) * slope))
    return torch.stack(factors[::-1]).float()


def walks(seed: int, frames: int = 3, batch: int = 512) -> Clip:
    """Draw clips of latents; there is nothing in their frames."""
    steps = MEAN + SPREAD * torch.randn(batch, frames, *SHAPE, generator=torch.Generator().manual_seed(seed))
    frames_of = torch.zeros(batch, frames, 0, 0, 3, dtype=torch.uint8)
    return Clip(frames_of, torch.zeros(batch, frames - 1, 7), seed, latents=steps.cumsum(1))


def latents_of(clip: Clip) -> LatentClip:
    assert clip.latents is not None
    return LatentClip(clip.latents, clip.actions)


def train(method, steps: int, learning_rate: float) -> None:
    """Update the student as the trainer does: before the next loss is asked for."""
    optimizer = torch.optim.Adam(method.model.parameters(), lr=learning_rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, 2 * (1 - step / steps))
        for _, loss in method.losses(walks(step), step):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
