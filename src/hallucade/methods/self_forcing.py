"""Self-forcing: a student plays from its own frames, as it will in a game, and learns from where that leads.

Every block of a clip is drawn by the loop that play uses, after the student's own earlier blocks. Each block ends at a
random one of the sampler's steps; only that prediction carries gradients, and what is remembered of a block carries
none, so that memory does not grow with the square of the clip. A teacher and a critic grade the whole clip at once.

Source: Huang et al. 2025, arXiv:2506.08009, algorithm 1; Yin et al. 2024, DMD2, arXiv:2405.14867, section 4.2.
"""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from hallucade.data.clips import Clip
from hallucade.methods.base import diffusion_roles, latent_clip
from hallucade.methods.distribution_matching import Scored
from hallucade.methods.matched_student import MatchedStudent, MatchedStudentConfig
from hallucade.models.base import DiffusionModel, LatentClip, WorldModel
from hallucade.rollout import rollout
from hallucade.samplers.base import Sampler, seeded
from hallucade.samplers.few_step import ExitSampler, FewStepSampler, few_steps
from hallucade.shapes import Action, Actions, Latent, Latents
from hallucade.tokenizers.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class SelfForcingConfig(MatchedStudentConfig):
    """How the student plays, and who is updated when."""

    prompt: int = 1  # real latents that each clip starts from
    same_exit: bool = True  # all blocks of a clip end at the same step of the sampler
    last_step_only: bool = False  # blocks end at the sampler's last step, never before
    first_graded: int = 0  # blocks drawn before this one carry no gradients
    critic_fresh_rollout: bool = False  # the critic sees another clip than the one that the student learnt from

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prompt < 1:
            raise ValueError(f"prompt is {self.prompt}; use 1 or more")
        if self.first_graded < 0:
            raise ValueError(f"first_graded is {self.first_graded}; use 0 to grade every block, or more")

    def check_clips(self, frames: int) -> None:
        if frames <= self.prompt:
            raise ValueError(
                f"clips of {frames} frames leave nothing to play after a prompt of {self.prompt} latents; lengthen the "
                "stages' clips, or shorten --method.prompt"
            )

    def build(
        self, tokenizer: Tokenizer, networks: Mapping[str, WorldModel[Any]], sampler: Sampler[Any], seed: int
    ) -> "SelfForcing":
        """Build the method.

        Raises:
            ValueError: a network does not denoise, dreams other latents than the student, or the sampler takes none of
                the few steps that self-forcing trains.
        """
        return SelfForcing(self, tokenizer, diffusion_roles(networks), few_steps(sampler), seed)


class SelfForcing(MatchedStudent):
    """Roles "model", the student, and "critic"; the teacher is frozen."""

    def __init__(
        self,
        config: SelfForcingConfig,
        tokenizer: Tokenizer,
        networks: Mapping[str, DiffusionModel[Any]],
        sampler: FewStepSampler,
        seed: int = 0,
    ) -> None:
        super().__init__(config, tokenizer, networks, sampler, seed)
        self.config, self.fresh_for_critic = config, config.critic_fresh_rollout
        longest = max(network.lead for network in networks.values())
        if config.prompt < longest or config.prompt % self.model.grain:
            raise ValueError(
                f"prompt is {config.prompt} latents; the networks look back over {longest} at least and read prompts "
                f"by {self.model.grain}: use a multiple of {self.model.grain}, {longest} or more"
            )

    def _draws(self, batch: Clip, step: int, generator: torch.Generator) -> Iterator[Scored]:
        clip = latent_clip(self.tokenizer, batch)
        while True:
            yield self._play(clip, step, generator)

    def _play(self, clip: LatentClip, step: int, generator: torch.Generator) -> Scored:
        """Continue the clip's first latents under its actions, to its end."""
        first, block, count = self.config.prompt, self.model.block, clip.latents.shape[1]
        blocks = (count - first) // block
        if blocks < 1:
            raise ValueError(
                f"clips of {count} latents hold no block of {block} after a prompt of {first}; lengthen them"
            )
        end = first + blocks * block
        with torch.no_grad():
            state = self.model.prefill(LatentClip(clip.latents[:, :first], clip.leading_to(1, first)))
        actions = [clip.leading_to(i, i + block) for i in range(first, end, block)]
        drawn, _ = self._roll(state, actions, step, generator)
        return self._scored(clip.latents[:, :first], drawn, clip.leading_to(1, end))

    def _roll(
        self, memory: Any, actions: list[Action], step: int, generator: torch.Generator
    ) -> tuple[list[Latent], Any]:
        """Draw a block an action, each to the exit that `step` gives it; return them and the memory after them."""
        seed = int(torch.randint(2**40, (), generator=generator))
        sampler = ExitSampler(self.sampler, iter(self._exits(len(actions), step)), self.config.first_graded)
        return collected(rollout(self.model, sampler, memory, actions, seeded(seed, len(actions[0]))))

    def _scored(self, given: Latents, drawn: list[Latent], actions: Actions) -> Scored:
        """Join what is given to what was drawn after it; `actions` join all of them."""
        latents = torch.cat([given, *drawn], 1)
        first_graded = given.shape[1] + self.model.block * self.config.first_graded
        graded = torch.arange(latents.shape[1], device=latents.device) >= first_graded
        return Scored(latents, actions, graded.expand(latents.shape[:2]))

    def _exits(self, blocks: int, step: int) -> list[int]:
        """Draw where blocks end: of (seed, step) alone, so that all ranks make as many calls."""
        steps = self.sampler.config.steps
        if self.config.last_step_only:
            return [steps - 1] * blocks
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        drawn = torch.randint(steps, (1 if self.config.same_exit else blocks,), generator=generator)
        return [int(exit_) for exit_ in drawn.expand(blocks)]


def collected(blocks: Generator[Latent, None, Any]) -> tuple[list[Latent], Any]:
    """Run a rollout to its end; return its blocks and the memory after them."""
    drawn: list[Latent] = []
    while True:
        try:
            drawn.append(next(blocks))
        except StopIteration as end:
            return drawn, end.value
