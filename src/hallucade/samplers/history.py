"""A memory that is noised to a level, and a network that is told so.

A little noise hides the flaws of dreamed frames, which then pile up more slowly (Chen et al. 2024, arXiv:2407.01392,
"stabilisation"); full noise is no memory at all, what history guidance moves away from.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hallucade.games.counter_random import random_bits
from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.samplers.view import ModelView
from hallucade.shapes import Action, Latent


@dataclass
class NoisyMemory:
    """The network's memory of noised latents."""

    inner: Any
    seeds: tuple[int, ...]  # one a row
    latents: int  # seen since the start


class NoisyHistory(ModelView[NoisyMemory]):
    """Remembers each latent mixed with noise at one level.

    The noise of latent i of a row depends on the row's seed and on i alone: neither the batch nor a fork changes it.
    The network must have seen such histories in training, as diffusion forcing shows them.
    """

    def __init__(self, model: DiffusionModel[Any], level: float) -> None:
        assert not isinstance(model, ModelView), "noise the network's own history, then guide"
        super().__init__(model.told(level))

    def initial(self, latent: Latent) -> NoisyMemory:
        seeds = _seeds(None, latent)
        return NoisyMemory(self.model.initial(self._noised(latent, seeds, 0)), seeds, latent.shape[1])

    def prefill(self, clip: LatentClip) -> NoisyMemory:
        seeds = _seeds(clip.seeds, clip.latents)
        noised = LatentClip(self._noised(clip.latents, seeds, 0), clip.actions)
        return NoisyMemory(self.model.prefill(noised), seeds, clip.latents.shape[1])

    def observe(self, state: NoisyMemory, action: Action, latent: Latent) -> NoisyMemory:
        noised = self._noised(latent, state.seeds, state.latents)
        inner = self.model.observe(state.inner, action, noised)
        return NoisyMemory(inner, state.seeds, state.latents + latent.shape[1])

    def fork(self, state: NoisyMemory) -> NoisyMemory:
        return NoisyMemory(self.model.fork(state.inner), state.seeds, state.latents)

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
        seeds: tuple[int, ...] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        given = (levels == 0).reshape(levels.shape + (1,) * len(self.latent_shape))
        shown = torch.where(given, self._noised(latents, _seeds(seeds, latents), 0), latents)
        return self.model.restore(shown, levels, actions, dropped)

    def _noised(
        self, latents: Float[Tensor, "b t *latent"], seeds: tuple[int, ...], first: int
    ) -> Float[Tensor, "b t *latent"]:
        """Mix latents, numbered from `first` on, with the noise that each has for ever."""
        shape, numbers = latents.shape[2:], range(first, first + latents.shape[1])
        eps = torch.stack([torch.stack([_noise(shape, seed, i) for i in numbers]) for seed in seeds])
        levels = torch.full(latents.shape[:2], self.context_level, device=latents.device)
        return self.schedule.mix(latents, eps.to(latents.device), levels)


def _noise(shape: torch.Size, seed: int, number: int) -> Tensor:
    bits = int(random_bits(seed, number)[0])
    return torch.randn(shape, generator=torch.Generator().manual_seed(bits))


def _seeds(given: tuple[int, ...] | None, latents: Tensor) -> tuple[int, ...]:
    """Return one seed a row: those that are given, or the rows' numbers."""
    if given is None:
        return tuple(range(latents.shape[0]))
    if len(given) != latents.shape[0]:
        raise ValueError(f"{len(given)} seeds for a batch of {latents.shape[0]}; pass one a row")
    return given
