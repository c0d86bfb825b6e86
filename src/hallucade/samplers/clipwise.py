"""Joint sampling at any length: clip after clip, each drawn as a whole and continuing the one before.

To `rollout` a clip is a block, so that films, evaluation and `Session` take a `JointSampler` as they take any other.
The memory is the last latents themselves, as many as the network looks back: it does not grow.
"""

from dataclasses import dataclass, field
from typing import Any

import torch

from hallucade.models.base import DiffusionModel, LatentClip, WorldModel
from hallucade.samplers.base import Generators, SamplerConfig, denoising
from hallucade.samplers.joint import JointSampler, JointSamplerConfig
from hallucade.shapes import Action, Latent


@dataclass(frozen=True, kw_only=True)
class ClipwiseSamplerConfig(SamplerConfig):
    """How to draw a clip, and how long it is."""

    joint: JointSamplerConfig = field(default_factory=JointSamplerConfig)
    clip: int = 16  # latents drawn together

    def __post_init__(self) -> None:
        if self.clip < 1:
            raise ValueError(f"clip is {self.clip}; draw 1 latent or more together")

    def build(self) -> "ClipwiseSampler":
        return ClipwiseSampler(self)

    def view(self, model: WorldModel[Any]) -> WorldModel[Any]:
        return ClipMemory(denoising(model, "joint sampler"), self.clip)


class ClipMemory(WorldModel[LatentClip]):
    """A network without a cache: it remembers the last latents and reads them again with every clip.

    A memory is never written to: each is a new one.

    Raises:
        ValueError: clips that are no whole number of the network's blocks.
    """

    def __init__(self, model: DiffusionModel[Any], clip: int) -> None:
        super().__init__()
        if clip % model.block:
            raise ValueError(f"clip is {clip}, and the model draws {model.block} latents a block; use a multiple")
        self.model, self.block = model, clip
        self.context = max(model.context, model.lead)

    @property
    def grain(self) -> int:
        return self.model.grain

    def initial(self, latent: Latent) -> LatentClip:
        # Actions between several latents would not be known: the newest one stands for them.
        return LatentClip(latent[:, -1:], latent.new_empty(latent.shape[0], 0, 0))

    def prefill(self, clip: LatentClip) -> LatentClip:
        return self._recent(clip)

    def observe(self, state: LatentClip, action: Action, latent: Latent) -> LatentClip:
        known = state.actions if state.actions.shape[1] else action[:, :0]  # of a single latent there are none
        return self._recent(
            LatentClip(torch.cat([state.latents, latent], 1), torch.cat([known, action], 1), state.seeds)
        )

    def fork(self, state: LatentClip) -> LatentClip:
        return LatentClip(state.latents.clone(), state.actions.clone(), state.seeds)

    def _recent(self, clip: LatentClip) -> LatentClip:
        """Keep what the network looks back at."""
        latents = clip.latents.shape[1]
        first = max(latents - self.context, 0)
        return LatentClip(clip.latents[:, first:], clip.leading_to(first + 1, latents), clip.seeds)


class ClipwiseSampler:
    """Draws the next clip."""

    def __init__(self, config: ClipwiseSamplerConfig) -> None:
        self.config = config
        self.joint: JointSampler = config.joint.build()

    def __call__(self, model: ClipMemory, state: LatentClip, action: Action, generators: Generators) -> Latent:
        prompt = state if state.actions.shape[1] else LatentClip(state.latents, action[:, :0], state.seeds)
        return self.joint(model.model, prompt, action, generators, stride=action.shape[1] // model.block)
