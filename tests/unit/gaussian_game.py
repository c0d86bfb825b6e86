"""A game whose frames are Gaussian: its exact denoiser, score and sampling path are known."""

import torch

from hallucade.diffusion.schedules import NoiseSchedule, RectifiedFlow
from hallucade.models.base import DiffusionModel
from hallucade.samplers.base import normal, seeded

LATENT_SHAPE = (3, 6, 10)
ACTION = torch.randn(5, 1, 7, generator=torch.Generator().manual_seed(7))


def posterior_mean(noisy, level, schedule: NoiseSchedule, mean, spread):
    """Return E[x0 | noisy] for x0 from N(mean, spread^2)."""
    alpha, sigma = schedule.alpha(level), schedule.sigma(level)
    gain = alpha * spread**2 / (alpha**2 * spread**2 + sigma**2)
    return mean + gain * (noisy - alpha * mean)


class GaussianGame(DiffusionModel[None]):
    """Frames are drawn from N(mean, spread^2) with the mean given by the action; without an action the mean is 0."""

    def __init__(self, spread: float, block: int = 1, schedule: NoiseSchedule | None = None) -> None:
        super().__init__()
        self.spread, self.block = spread, block
        self.schedule, self.latent_shape = schedule or RectifiedFlow(), LATENT_SHAPE
        self.levels: list[float] = []  # of every call with an action
        self.free_calls = 0

    def mean(self, action):
        return action.mean((1, 2)).reshape(-1, 1, 1, 1, 1)

    def denoise(self, state, action, noisy, level):
        if action is None:
            self.free_calls += 1
        else:
            self.levels.append(level[0].item())
        mean = torch.zeros(()) if action is None else self.mean(action)
        return posterior_mean(noisy, level.reshape(-1, 1, 1, 1, 1), self.schedule, mean, self.spread)

    def forward(self, noisy, levels, actions, dropped=None):
        raise AssertionError("a sampler draws from a state, never from a clip")

    def initial(self, latent): ...
    def observe(self, state, action, latent): ...
    def fork(self, state): ...

    def endpoint(self, action=ACTION, seed=11):
        """Where the probability-flow path from the seed's noise ends: deviations from the mean shrink alike."""
        noise = normal((len(action), self.block, *LATENT_SHAPE), seeded(seed, len(action)), torch.device("cpu"))
        one = torch.ones(())
        alpha, sigma = self.schedule.alpha(one), self.schedule.sigma(one)
        start = (alpha**2 * self.spread**2 + sigma**2).sqrt()
        return self.mean(action) + self.spread / start * (noise - alpha * self.mean(action))


def draw(config, model, action=ACTION, seed=11):
    """Sample one block a row of `action`."""
    return config.build()(model, None, action, seeded(seed, len(action)))
