"""Steps of every length learned without a teacher: shortcuts and mean flows, for machines that train one model.

Most clips teach the slope at a level, as teacher forcing does; a share of them teaches what a long step leads to, from
the model's own shorter ones (shortcuts) or from how its own answer changes along the path (mean flows). Every block is
graded after the true ones before it.

Source: Frans et al. 2024, arXiv:2410.12557; Geng et al. 2025, arXiv:2505.13447.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.diffusion.schedules import NoiseSchedule, expand
from hallucade.diffusion.targets import LossSpace, loss_scale
from hallucade.diffusion.timesteps import LevelConfig, LogitNormalLevels, over_blocks
from hallucade.diffusion.weighting import motion_weight
from hallucade.models.base import DiffusionModel, LatentClip, forced_latents
from hallucade.models.step_size import StepModel, step_told
from hallucade.objectives.base import ObjectiveConfig
from hallucade.samplers.ddim import ddim_step
from hallucade.shapes import Scalar

DIFFERENCE = 0.01  # levels between the two answers whose difference stands for a derivative


@dataclass(frozen=True, kw_only=True)
class LongStepsConfig(ObjectiveConfig):
    """What both ways to learn long steps share."""

    levels: LevelConfig = field(default_factory=LogitNormalLevels)  # one a block, where slopes are taught
    loss_space: LossSpace = "flow"  # of a step: the squared error of its mean velocity, on a rectified flow
    long_share: float = 0.25  # of clips that teach long steps
    motion_weight: float = 0.0  # additional weight on pixels that move

    def __post_init__(self) -> None:
        if not 0 < self.long_share < 1:
            raise ValueError(
                f"long_share is {self.long_share}; between 0 and 1: long steps are learned from short ones, and these "
                "from the data"
            )
        if self.motion_weight < 0:
            raise ValueError(f"motion_weight is {self.motion_weight}; use 0 for none, or more")


@dataclass(frozen=True, kw_only=True)
class ShortcutConfig(LongStepsConfig):
    """Two of the model's own half steps teach each whole one, from single slopes up to one step for everything."""

    steps: int = 8  # of the finest shortcut, a power of two; its halves are slopes

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1 or self.steps & (self.steps - 1):
            raise ValueError(f"steps is {self.steps}; steps are halved down to the finest, so use 1, 2, 4, 8 ...")

    def build(self) -> "Shortcut":
        return Shortcut(self)


@dataclass(frozen=True, kw_only=True)
class MeanFlowConfig(LongStepsConfig):
    """The identity between a mean velocity and its change along the path teaches steps of any length.

    The derivative is a difference of two answers in full precision: fused attention has no forward-mode derivative.
    """

    def build(self) -> "MeanFlow":
        return MeanFlow(self)


class Lesson(NamedTuple):
    """What some clips teach: the noisy latents, where they stand, how far to step, and the x0 to answer with."""

    noisy: Float[Tensor, "m p *latent"]
    levels: Float[Tensor, "m p"]
    steps: Float[Tensor, "m p"]
    goal: Float[Tensor, "m p *latent"]


class LongSteps(ABC):
    """``(model, clip, generator) -> {"slope": loss, "long": loss}``; each counts for its share of the clips."""

    def __init__(self, config: LongStepsConfig) -> None:
        self.config = config

    def __call__(self, model: DiffusionModel[Any], clip: LatentClip, generator: torch.Generator) -> dict[str, Scalar]:
        told = step_told(model, "this objective")
        graded = forced_latents(model, clip.latents.shape[1])
        batch = len(clip.latents)
        long = min(int(batch * self.config.long_share + torch.rand((), generator=generator)), batch)
        eps = torch.randn((batch, graded, *model.latent_shape), generator=generator).to(clip.latents.device)
        lessons = [
            lesson(told, _rows(clip, first, last), eps[first:last], generator)
            for lesson, first, last in ((self._long, 0, long), (self._slopes, long, batch))
            if first < last
        ]
        whole = Lesson(*(torch.cat(parts) for parts in zip(*lessons, strict=True)))
        predicted = told.teacher_forced(clip, whole.noisy, whole.levels, None, whole.steps)
        error = (predicted - whole.goal).square()
        if self.config.motion_weight > 0:
            error = error * motion_weight(clip.latents, self.config.motion_weight)[:, -graded:]
        per_clip = (error.flatten(2).mean(2) * loss_scale(self.config.loss_space, whole.levels, told.schedule)).mean(1)
        return {"slope": per_clip[long:].sum() / batch, "long": per_clip[:long].sum() / batch}

    def _slopes(self, model: StepModel, clip: LatentClip, eps: Tensor, generator: torch.Generator) -> Lesson:
        levels = _per_block(self.config.levels.draw((len(eps), eps.shape[1] // model.block), generator), model, eps)
        x0 = clip.latents[:, -eps.shape[1] :]
        return Lesson(model.schedule.mix(x0, eps, levels), levels, torch.zeros_like(levels), x0)

    @abstractmethod
    def _long(self, model: StepModel, clip: LatentClip, eps: Tensor, generator: torch.Generator) -> Lesson:
        """Return what the first clips teach of long steps."""


class Shortcut(LongSteps):
    """Long steps from pairs of half steps."""

    def __init__(self, config: ShortcutConfig) -> None:
        super().__init__(config)
        self.finest = config.steps

    def _long(self, model: StepModel, clip: LatentClip, eps: Tensor, generator: torch.Generator) -> Lesson:
        count = eps.shape[1] // model.block
        sizes = torch.randint(int(math.log2(self.finest)) + 1, (len(eps), 1), generator=generator).expand(-1, count)
        steps = 0.5**sizes
        place = (torch.rand((len(eps), count), generator=generator) / steps).floor() + 1
        levels, steps = (_per_block(part, model, eps) for part in (place * steps, steps))
        noisy = model.schedule.mix(clip.latents[:, -eps.shape[1] :], eps, levels)
        return Lesson(noisy, levels, steps, self.goal(model, clip, noisy, levels, steps))

    @torch.no_grad()
    def goal(
        self,
        model: StepModel,
        clip: LatentClip,
        noisy: Float[Tensor, "m p *latent"],
        levels: Float[Tensor, "m p"],
        steps: Float[Tensor, "m p"],
    ) -> Float[Tensor, "m p *latent"]:
        """Return the x0 whose straight line leads where two half steps do."""
        half, schedule = steps / 2, model.schedule
        told = torch.where(half * self.finest < 1, 0.0, half)  # half of the finest is a slope
        middle = ddim_step(
            schedule, model.teacher_forced(clip, noisy, levels, None, told), noisy, levels, levels - half
        )
        x0 = model.teacher_forced(clip, middle, levels - half, None, told)
        end = ddim_step(schedule, x0, middle, levels - half, levels - steps)
        return straight_to(schedule, noisy, end, levels, levels - steps)


class MeanFlow(LongSteps):
    """Long steps from how the answer changes along the path."""

    def _long(self, model: StepModel, clip: LatentClip, eps: Tensor, generator: torch.Generator) -> Lesson:
        count = eps.shape[1] // model.block
        levels = self.config.levels.draw((len(eps), count), generator)
        steps = levels * torch.rand((len(eps), count), generator=generator)
        levels, steps = (_per_block(part, model, eps) for part in (levels, steps))
        noisy = model.schedule.mix(clip.latents[:, -eps.shape[1] :], eps, levels)
        return Lesson(noisy, levels, steps, self.goal(model, clip, eps, levels, steps))

    @torch.no_grad()
    def goal(
        self,
        model: StepModel,
        clip: LatentClip,
        eps: Float[Tensor, "m p *latent"],
        levels: Float[Tensor, "m p"],
        steps: Float[Tensor, "m p"],
    ) -> Float[Tensor, "m p *latent"]:
        """Return x0 of the mean velocity u = v - (s - r) du/ds, the derivative taken along the path to data.

        Written for x0 = x - sigma u: the slope's x0 is the data, so the goal is that plus a correction.

        Raises:
            ValueError: the schedule is no rectified flow.
        """
        x0, schedule = clip.latents[:, -eps.shape[1] :], model.schedule
        if not torch.allclose(schedule.alpha(levels) + schedule.sigma(levels), torch.ones_like(levels), atol=1e-5):
            raise ValueError("mean flows are of straight paths; give the model schedule=RectifiedFlowConfig()")
        near = torch.minimum(torch.full_like(steps, DIFFERENCE), steps / 2)
        answers: list[Tensor] = []
        with torch.autocast(x0.device.type, enabled=False):
            for back in (torch.zeros_like(near), near):  # the end of the step stays where it is
                at = levels - back
                noisy = schedule.mix(x0, eps, at)
                predicted = model.teacher_forced(clip, noisy, at, None, steps - back).float()
                answers.append((noisy - predicted) / expand(schedule.sigma(at), noisy))
        sigma, moved = schedule.sigma(levels), schedule.sigma(levels) - schedule.sigma(levels - near)
        slope = (answers[0] - answers[1]) / expand(moved.clamp_min(1e-6), x0)
        length = sigma - schedule.sigma(levels - steps)
        return x0 + expand(sigma * length, x0) * slope


def straight_to(schedule: NoiseSchedule, noisy: Tensor, end: Tensor, now: Tensor, after: Tensor) -> Tensor:
    """Return the x0 for which one DDIM step leads from `noisy` to `end`."""
    ratio = schedule.sigma(after) / schedule.sigma(now)
    share = schedule.alpha(after) - ratio * schedule.alpha(now)
    return (end - expand(ratio, noisy) * noisy) / expand(share, noisy)


def _per_block(values: Float[Tensor, "m blocks"], model: StepModel, like: Tensor) -> Float[Tensor, "m p"]:
    return over_blocks(values, like.shape[1], model.block).to(like.device)


def _rows(clip: LatentClip, first: int, last: int) -> LatentClip:
    return LatentClip(clip.latents[first:last], clip.actions[first:last])
