"""Views of a diffusion model: the same network seen through guidance or a noised memory.

A view is a model, so every sampler, `rollout` and live play take it as it is.
"""

from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from hallucade.models.base import DiffusionModel, LatentClip, State
from hallucade.shapes import Action, Latent


class ModelView(DiffusionModel[State]):
    """Base of views: whatever a subclass does not change is the model's own."""

    def __init__(self, model: DiffusionModel[Any]) -> None:
        super().__init__()
        self.model = model
        self.schedule, self.latent_shape = model.schedule, model.latent_shape
        self.block, self.context, self.lead, self.given = model.block, model.context, model.lead, model.given
        self.context_level = model.context_level

    @property
    def grain(self) -> int:
        return self.model.grain

    def forward(
        self,
        noisy: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        return self.model(noisy, levels, actions, dropped)

    def denoise(
        self,
        state: State,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        return self.model.denoise(state, action, noisy, level)

    def initial(self, latent: Latent) -> State:
        return self.model.initial(latent)

    def observe(self, state: State, action: Action, latent: Latent) -> State:
        return self.model.observe(state, action, latent)

    def prefill(self, clip: LatentClip) -> State:
        return self.model.prefill(clip)

    def fork(self, state: State) -> State:
        return self.model.fork(state)
