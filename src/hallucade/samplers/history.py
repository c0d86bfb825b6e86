"""A memory that is noised to a level, and a network that is told so.

A little noise hides the flaws of dreamed frames, which then pile up more slowly (Chen et al. 2024, arXiv:2407.01392,
"stabilisation"); full noise is no memory at all, what history guidance moves away from.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.samplers.view import ModelView
from hallucade.shapes import Action, Latent


@dataclass
class NoisyMemory:
    """The network's memory of noised latents."""

    inner: Any
    latents: int  # seen since the start


class NoisyHistory(ModelView[NoisyMemory]):
    """Remembers each latent mixed with noise at one level.

    The noise of latent i depends on i alone: neither the batch nor a fork changes it, and it is drawn once. The network
    must have seen such histories in training, as diffusion forcing shows them.
    """

    def __init__(self, model: DiffusionModel[Any], level: float) -> None:
        assert not isinstance(model, ModelView), "noise the network's own history, then guide"
        super().__init__(model.told(level))

    def initial(self, latent: Latent) -> NoisyMemory:
        return NoisyMemory(self.model.initial(self._noised(latent, 0)), latent.shape[1])

    def prefill(self, clip: LatentClip) -> NoisyMemory:
        noised = LatentClip(self._noised(clip.latents, 0), clip.actions)
        return NoisyMemory(self.model.prefill(noised), clip.latents.shape[1])

    def observe(self, state: NoisyMemory, action: Action, latent: Latent) -> NoisyMemory:
        inner = self.model.observe(state.inner, action, self._noised(latent, state.latents))
        return NoisyMemory(inner, state.latents + latent.shape[1])

    def fork(self, state: NoisyMemory) -> NoisyMemory:
        return NoisyMemory(self.model.fork(state.inner), state.latents)

    def denoise(
        self,
        state: NoisyMemory,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        return self.model.denoise(state.inner, action, noisy, level)

    def restore(
        self,
        latents: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        given = (levels == 0).reshape(levels.shape + (1,) * len(self.latent_shape))
        shown = torch.where(given, self._noised(latents, 0), latents)
        return self.model.restore(shown, levels, actions, dropped)

    def _noised(self, latents: Float[Tensor, "b t *latent"], first: int) -> Float[Tensor, "b t *latent"]:
        rows = [
            torch.randn(latents.shape[2:], generator=torch.Generator().manual_seed(first + i))
            for i in range(latents.shape[1])
        ]
        eps = torch.stack(rows).to(latents.device)
        levels = torch.full(latents.shape[:2], self.context_level, device=latents.device)
        return self.schedule.mix(latents, eps.expand_as(latents), levels)
