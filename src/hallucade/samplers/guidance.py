"""Guidance: away from what the model predicts when it knows less.

``weaker + scale * (stronger - weaker)``: scale 1 is no guidance, above 1 exaggerates what the knowledge brings. Views
nest: history guidance over action guidance asks the network three times a step.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hallucade.models.base import DiffusionModel, LatentClip
from hallucade.samplers.view import ModelView
from hallucade.shapes import Action, Latent


class ActionGuided(ModelView[Any]):
    """Classifier-free guidance on the action, away from the learned "no action".

    The network must have been trained with `action_dropout`. Source: Ho and Salimans 2022, arXiv:2207.12598.
    """

    def __init__(self, model: DiffusionModel[Any], scale: float) -> None:
        super().__init__(model)
        self.scale = scale

    def denoise(
        self,
        state: Any,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        free = self.model.denoise(state, None, noisy, level)
        return torch.lerp(free, self.model.denoise(state, action, noisy, level), self.scale)

    def restore(
        self,
        latents: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
        seeds: tuple[int, ...] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        a_latent = actions.shape[1] // (latents.shape[1] - 1)
        into_noise = (levels[:, 1:] > 0).repeat_interleave(a_latent, 1)  # what led to given latents stays known
        free = self.model.restore(latents, levels, actions, into_noise, seeds)
        return torch.lerp(free, self.model.restore(latents, levels, actions, dropped, seeds), self.scale)


class Clipped(ModelView[Any]):
    """Predictions of x0 held within what data can be.

    A network that predicts noise is off by sigma / alpha times its error in x0: at a level of almost pure noise by a
    hundred times and more, which the first steps would spread over the whole picture. Pixels lie within 1.
    """

    def __init__(self, model: DiffusionModel[Any], limit: float) -> None:
        super().__init__(model)
        self.limit = limit

    def denoise(
        self,
        state: Any,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        return self.model.denoise(state, action, noisy, level).clamp(-self.limit, self.limit)

    def restore(
        self,
        latents: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
        seeds: tuple[int, ...] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        return self.model.restore(latents, levels, actions, dropped, seeds).clamp(-self.limit, self.limit)


@dataclass
class PairedMemory:
    """What the stronger and the weaker prediction remember."""

    stronger: Any
    weaker: Any


class HistoryGuided(ModelView[PairedMemory]):
    """Guidance on the past: away from `weaker`, the same network with a noised or no history.

    Source: Song et al. 2025, arXiv:2502.06764 ("vanilla" with a weaker history of pure noise, "fractional" below).
    """

    def __init__(self, model: DiffusionModel[Any], weaker: DiffusionModel[Any], scale: float) -> None:
        super().__init__(model)
        self.weaker, self.scale = weaker, scale

    def initial(self, latent: Latent) -> PairedMemory:
        return PairedMemory(self.model.initial(latent), self.weaker.initial(latent))

    def prefill(self, clip: LatentClip) -> PairedMemory:
        return PairedMemory(self.model.prefill(clip), self.weaker.prefill(clip))

    def observe(self, state: PairedMemory, action: Action, latent: Latent) -> PairedMemory:
        return PairedMemory(
            self.model.observe(state.stronger, action, latent), self.weaker.observe(state.weaker, action, latent)
        )

    def fork(self, state: PairedMemory) -> PairedMemory:
        return PairedMemory(self.model.fork(state.stronger), self.weaker.fork(state.weaker))

    def denoise(
        self,
        state: PairedMemory,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        blind = self.weaker.denoise(state.weaker, action, noisy, level)
        return torch.lerp(blind, self.model.denoise(state.stronger, action, noisy, level), self.scale)

    def restore(
        self,
        latents: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
        seeds: tuple[int, ...] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        blind = self.weaker.restore(latents, levels, actions, dropped, seeds)
        return torch.lerp(blind, self.model.restore(latents, levels, actions, dropped, seeds), self.scale)
