"""Causal consistency distillation: a student whose predictions agree along the teacher's way from noise to data.

At a random one of N levels the teacher takes one step towards data, after the true past; the student's prediction
before the step is drawn to what a slowly moving copy of the student, the target, predicts after it. At level 0 the
target is the sample itself, so that agreement spreads from there: in the end each prediction is where the teacher's
way ends. Needs no trajectories on disk.

Source: Song et al. 2023, consistency models, arXiv:2303.01469, algorithm 2; Zhu et al. 2026, causal forcing++,
arXiv:2605.15141.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from hallucade.data.clips import Clip
from hallucade.diffusion.schedules import check_shift, expand
from hallucade.diffusion.timesteps import over_blocks
from hallucade.methods.base import Method, MethodConfig, diffusion_roles, latent_clip
from hallucade.methods.teacher_path import check_alike, forced_together, guided_after_truth
from hallucade.models.base import DiffusionModel, LatentClip, WorldModel
from hallucade.samplers.base import Sampler, check_steps, sampling_levels
from hallucade.samplers.ddim import ddim_step
from hallucade.shapes import Scalar
from hallucade.tokenizers.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ConsistencyDistillationConfig(MethodConfig):
    """The teacher's way, and how slowly the target moves."""

    networks: ClassVar[tuple[str, ...]] = ("teacher",)

    steps: int = 48  # of the teacher's way from noise to data
    shift: float = 1.0  # above 1 takes more of them near noise
    guidance: float = 1.0  # of the teacher, by the action: 1 none, x0 = free + guidance (given - free)
    decay: float = 0.99  # share of itself that the target keeps at an update
    decay_start: int = 200  # steps before which the target is the student of the step before

    def __post_init__(self) -> None:
        check_steps(self.steps)
        check_shift(self.shift)
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay is {self.decay}; it lies in [0, 1), 0 for a target that is the student itself")
        if self.decay_start < 0:
            raise ValueError(f"decay_start is {self.decay_start}; use 0 for a slow target from the start, or more")

    def build(
        self, tokenizer: Tokenizer, networks: Mapping[str, WorldModel[Any]], sampler: Sampler[Any], seed: int
    ) -> "ConsistencyDistillation":
        """Build the method; the student is played with any few-step sampler.

        Raises:
            ValueError: a network does not denoise, or the teacher differs from the student in latents, blocks or
                schedule.
        """
        return ConsistencyDistillation(self, tokenizer, diffusion_roles(networks))


class ConsistencyDistillation(Method):
    """Role "model", the student; its target is saved with it, the teacher is frozen."""

    followed: Int64[Tensor, ""]  # the last step that moved the target

    def __init__(
        self,
        config: ConsistencyDistillationConfig,
        tokenizer: Tokenizer,
        networks: Mapping[str, DiffusionModel[Any]],
    ) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.model = networks["model"]
        self.teacher = networks["teacher"].requires_grad_(False).eval()
        check_alike(self.model, self.teacher)
        self.target = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.levels = torch.tensor(sampling_levels(config.steps, config.shift))
        self.register_buffer("followed", torch.tensor(-1))

    def roles(self) -> dict[str, nn.Module]:
        return {"model": self.model}

    def losses(self, batch: Clip, step: int) -> Iterator[tuple[str, Scalar]]:
        generator = torch.Generator().manual_seed(batch.seed)
        yield "model", self._disagreement(latent_clip(self.tokenizer, batch), generator)
        self._follow(step)

    def _disagreement(self, clip: LatentClip, generator: torch.Generator) -> Scalar:
        """Return the mean squared difference between predictions at two neighbouring levels of each block."""
        device, block = clip.latents.device, self.model.block
        graded = forced_together((self.model, self.teacher), clip.latents.shape[1])
        x0 = clip.latents[:, -graded:]
        index = torch.randint(self.config.steps, (len(x0), graded // block), generator=generator)
        now, after = (over_blocks(self.levels[i], graded, block).to(device) for i in (index, index + 1))
        noisy = self.teacher.schedule.mix(x0, torch.randn(x0.shape, generator=generator).to(device), now)
        goal = self._goal(clip, noisy, now, after)
        return (self.model.teacher_forced(clip, noisy, now) - goal).square().mean()

    @torch.no_grad()
    def _goal(
        self, clip: LatentClip, noisy: Tensor, now: Float[Tensor, "b p"], after: Float[Tensor, "b p"]
    ) -> Float[Tensor, "b p *latent"]:
        x0 = guided_after_truth(self.teacher, clip, noisy, now, self.config.guidance)
        cleaner = ddim_step(self.teacher.schedule, x0, noisy, now, after)
        predicted = self.target.teacher_forced(clip, cleaner, after)
        return torch.where(expand(after == 0, cleaner), cleaner, predicted)  # a clean sample is its own prediction

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the target towards the student that was just updated; once a step, whatever the microbatches."""
        if int(self.followed) == step:
            return
        self.followed.fill_(step)
        keep = self.config.decay if step >= self.config.decay_start else 0.0
        theirs = zip(self.target.parameters(), self.model.parameters(), strict=True)
        for slow, present in theirs:
            slow.lerp_(present.to(slow.dtype), 1 - keep)
