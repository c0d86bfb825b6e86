"""One to a few predictions of x0, each from a noisier draw of the one before: what distilled models play with.

Between two steps x0 is made noisy again, with fresh noise (a multistep consistency sampler; "sde" in self-forcing) or
along the line that it came by ("ode", which is DDIM). Training ends at any of the steps, play at the last.

Source: Song et al. 2023, arXiv:2303.01469, algorithm 1; Huang et al. 2025, self-forcing, arXiv:2506.08009.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from hallucade.diffusion.schedules import check_shift
from hallucade.models.base import DiffusionModel, WorldModel
from hallucade.samplers.base import Generators, SamplerConfig, check_steps, denoising, normal, sampling_levels
from hallucade.samplers.ddim import ddim_step
from hallucade.shapes import Action, Latent


@dataclass(frozen=True, kw_only=True)
class FewStepSamplerConfig(SamplerConfig):
    """The levels at which x0 is predicted, from pure noise down."""

    steps: int = 4
    shift: float = 1.0  # above 1 predicts nearer to noise
    levels: tuple[float, ...] | None = None  # these instead, as (1.0, 0.666, 0.333); `steps` of them
    renoise: Literal["fresh", "same"] = "fresh"  # noise between steps: drawn anew, or the one that x0 implies

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_shift(self.shift)
        if self.levels is None:
            return
        if len(self.levels) != self.steps:
            raise ValueError(f"{len(self.levels)} levels for {self.steps} steps; one a step, or None for even ones")
        if self.levels[0] > 1 or self.levels[-1] <= 0 or sorted(set(self.levels), reverse=True) != list(self.levels):
            raise ValueError(f"levels are {self.levels}; they fall from at most 1, noise, and stay above 0, data")

    def build(self) -> "FewStepSampler":
        return FewStepSampler(self)

    def view(self, model: WorldModel[Any]) -> WorldModel[Any]:
        return denoising(model, "few-step sampler")


class FewStepSampler:
    """Predicts x0 at a few levels; the last prediction is the block."""

    def __init__(self, config: FewStepSamplerConfig) -> None:
        self.config = config
        even = sampling_levels(config.steps, config.shift)[:-1]
        self.levels: tuple[float, ...] = tuple(even) if config.levels is None else config.levels

    def __call__(self, model: DiffusionModel[Any], state: Any, action: Action, generators: Generators) -> Latent:
        return self.predicted_at(self.config.steps - 1, model, state, action, generators)

    def predicted_at(
        self, step: int, model: DiffusionModel[Any], state: Any, action: Action, generators: Generators
    ) -> Latent:
        """Return x0 as predicted at a step, counted from 0; the steps before it leave no gradient."""
        with torch.no_grad():
            noisy = normal((action.shape[0], model.block, *model.latent_shape), generators, action.device)
            for index in range(step):
                x0 = model.denoise(state, action, noisy, self._level(index, noisy))
                noisy = self.renoised(model, x0, noisy, index, generators)
        if torch.is_grad_enabled():
            torch.clear_autocast_cache()  # torch 2.10 keeps casts of weights that were made without gradients
        return model.denoise(state, action, noisy, self._level(step, noisy))

    def renoised(
        self, model: DiffusionModel[Any], x0: Tensor, noisy: Tensor, index: int, generators: Generators
    ) -> Tensor:
        """Return what the step after number `index` starts from, where that step predicted `x0` from `noisy`."""
        after = self._level(index + 1, noisy)
        if self.config.renoise == "fresh":
            return model.schedule.mix(x0, normal(x0.shape, generators, x0.device), after)
        return ddim_step(model.schedule, x0, noisy, self._level(index, noisy), after)

    def _level(self, index: int, like: Tensor) -> Tensor:
        return torch.full((like.shape[0],), self.levels[index], device=like.device)


class ExitSampler:
    """A few-step sampler that ends each block of a rollout at a step given for it: what self-forcing trains with.

    Args:
        sampler: whose steps they are.
        exits: the step at which each block ends, counted from 0; one an item, in the order of the rollout.
        first_graded: the first block whose last prediction carries gradients, where the caller asks for them.
    """

    def __init__(self, sampler: FewStepSampler, exits: Iterator[int], first_graded: int = 0) -> None:
        self._sampler, self._exits, self._ungraded = sampler, exits, first_graded

    def __call__(self, model: DiffusionModel[Any], state: Any, action: Action, generators: Generators) -> Latent:
        graded, self._ungraded = self._ungraded <= 0, self._ungraded - 1
        with torch.set_grad_enabled(torch.is_grad_enabled() and graded):
            return self._sampler.predicted_at(next(self._exits), model, state, action, generators)


def few_steps(sampler: Any) -> FewStepSampler:
    """Return `sampler` as the one that distillation trains.

    Raises:
        ValueError: it is another one.
    """
    if isinstance(sampler, FewStepSampler):
        return sampler
    raise ValueError(f"the run's sampler is a {type(sampler).__name__}; distil for a FewStepSamplerConfig")
