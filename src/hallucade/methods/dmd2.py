"""Distribution matching on recorded play: a student that draws each block in a few steps after what really came.

All blocks of a clip are drawn at once, by teacher forcing, so that a step costs little; the student does not meet its
own mistakes, and goes on to self-forcing for that. What a later step starts from is the recorded block made noisy, as
in CausVid, or the student's own earlier prediction made noisy, which is what it will start from in play.

Source: Yin et al. 2024, DMD2, arXiv:2405.14867, section 4.5; Yin et al. 2025, CausVid, arXiv:2412.07772.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hallucade.data.clips import Clip
from hallucade.diffusion.timesteps import over_blocks
from hallucade.methods.base import diffusion_roles, latent_clip
from hallucade.methods.distribution_matching import Scored
from hallucade.methods.matched_student import MatchedStudent, MatchedStudentConfig
from hallucade.methods.teacher_path import check_alike, forced_together
from hallucade.models.base import DiffusionModel, LatentClip, WorldModel
from hallucade.samplers.base import Sampler, seeded
from hallucade.samplers.few_step import FewStepSampler, few_steps
from hallucade.shapes import Latents
from hallucade.tokenizers.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class DMD2Config(MatchedStudentConfig):
    """What the student starts from, how its clips are scored, and who is updated when."""

    start: Literal["data", "own"] = "data"  # what is made noisy for steps after the first: recorded blocks, or its own
    scored: Literal["blocks", "clip"] = "blocks"  # each after the real past, by causal networks; or all as one clip

    def build(
        self, tokenizer: Tokenizer, networks: Mapping[str, WorldModel[Any]], sampler: Sampler[Any], seed: int
    ) -> "DMD2":
        """Build the method.

        Raises:
            ValueError: a network does not denoise, differs from the student in latents, blocks or schedule, or cannot
                score blocks after the past; or the sampler takes none of the few steps that are trained.
        """
        return DMD2(self, tokenizer, diffusion_roles(networks), few_steps(sampler), seed)


class DMD2(MatchedStudent):
    """Roles "model", the student, and "critic"; the teacher is frozen."""

    def __init__(
        self,
        config: DMD2Config,
        tokenizer: Tokenizer,
        networks: Mapping[str, DiffusionModel[Any]],
        sampler: FewStepSampler,
        seed: int = 0,
    ) -> None:
        super().__init__(config, tokenizer, networks, sampler, seed)
        self.config = config
        check_alike(self.model, self.teacher)
        if config.scored == "blocks":
            _check_causal(networks)

    def _draws(self, batch: Clip, step: int, generator: torch.Generator) -> Iterator[Scored]:
        clip = latent_clip(self.tokenizer, batch)
        while True:
            yield self._draw(clip, step, generator)

    def _draw(self, clip: LatentClip, step: int, generator: torch.Generator) -> Scored:
        """Draw the last blocks of a clip, each after the real ones before it."""
        graded = forced_together((self.model, self.teacher, self.critic), clip.latents.shape[1])
        eps = torch.randn((len(clip.latents), graded, *self.model.latent_shape), generator=generator)
        noisy, levels = self._start(clip, eps.to(clip.latents.device), step, generator)
        x0 = self.model.teacher_forced(clip, noisy, levels)
        everything = torch.ones(x0.shape[:2], dtype=torch.bool, device=x0.device)
        if self.config.scored == "blocks":
            return Scored(x0, clip.actions, everything, clip)
        given = clip.latents[:, :-graded]
        nothing = torch.zeros(given.shape[:2], dtype=torch.bool, device=x0.device)
        return Scored(torch.cat([given, x0], 1), clip.actions, torch.cat([nothing, everything], 1))

    def _start(
        self, clip: LatentClip, eps: Tensor, step: int, generator: torch.Generator
    ) -> tuple[Latents, Float[Tensor, "b p"]]:
        """Return noisy blocks and their levels, each one of the sampler's."""
        if self.config.start == "own":
            return self._predicted_before(clip, eps, step, generator)
        levels, block = torch.tensor(self.sampler.levels), self.model.block
        index = torch.randint(len(levels), (len(eps), eps.shape[1] // block), generator=generator)
        drawn = over_blocks(levels[index], eps.shape[1], block).to(eps.device)
        return self.model.schedule.mix(clip.latents[:, -eps.shape[1] :], eps, drawn), drawn

    @torch.no_grad()
    def _predicted_before(
        self, clip: LatentClip, noisy: Tensor, step: int, generator: torch.Generator
    ) -> tuple[Latents, Float[Tensor, "b p"]]:
        """Take the sampler's steps before a random one, the same for all blocks.

        That one depends on (seed, step) alone, so that all ranks make as many calls.
        """
        at = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        last = int(torch.randint(self.sampler.config.steps, (), generator=at))
        noise = seeded(int(torch.randint(2**40, (), generator=generator)), len(noisy))
        everywhere = torch.ones(noisy.shape[:2], device=noisy.device)
        for index in range(last):
            x0 = self.model.teacher_forced(clip, noisy, everywhere * self.sampler.levels[index])
            noisy = self.sampler.renoised(self.model, x0, noisy, index, noise)
        return noisy, everywhere * self.sampler.levels[last]


def _check_causal(networks: Mapping[str, DiffusionModel[Any]]) -> None:
    for name, network in networks.items():
        if not network.causal:
            raise ValueError(
                f'the {name} sees whole clips at once, and scored is "blocks", each after the past alone; use '
                'scored="clip"'
            )
