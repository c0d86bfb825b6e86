"""The interface of every world model: a memory that is started, fed and forked.

State is consumed: ``observe`` may update it in place under inference, so that a frame costs constant memory and time,
and returns a new one under autograd. Who wants two futures calls ``fork`` first.
"""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hallucade.actions import ActionSpace
from hallucade.config import Config
from hallucade.diffusion.schedules import NoiseSchedule
from hallucade.shapes import Action, Actions, Latent, Latents

State = TypeVar("State")


@dataclass(frozen=True)
class LatentClip:
    """t latents joined by actions: the encoded twin of `hallucade.data.clips.Clip`."""

    latents: Latents
    actions: Actions  # b (t - 1) * r a: actions[:, i] leads to frame i + 1; b t * r - 1 a if a latent holds r frames
    seeds: tuple[int, ...] | None = None  # one a row, of noise that a memory holds; None: each row's number

    @property
    def stride(self) -> int:
        """Actions between two latents, r."""
        return self.actions.shape[1] // max(self.latents.shape[1] - 1, 1)

    def leading_to(self, first: int, last: int) -> Actions:
        """Return the actions that lead to the latents from number `first` on, before number `last`."""
        latents, actions, stride = self.latents.shape[1], self.actions.shape[1], self.stride
        return self.actions[:, actions - (latents - first) * stride : actions - (latents - last) * stride]


class WorldModel(nn.Module, ABC, Generic[State]):
    """Predicts the next block of latents from a memory and an action."""

    block: int = 1  # latents in a block, k
    context: int = 1  # latents that a prompt should hold for the model to be at its best

    @property
    def grain(self) -> int:
        """Latents by which a prompt may be longer or shorter: those of a block."""
        return self.block

    @abstractmethod
    def initial(self, latent: Latent) -> State:
        """Start a memory from the first latent block of an episode."""

    @abstractmethod
    def observe(self, state: State, action: Action, latent: Latent) -> State:
        """Consume `state` and return the memory after `action` led to `latent`."""

    def prefill(self, clip: LatentClip) -> State:
        """Start a memory from a whole clip; models with a parallel path override this loop.

        Blocks are counted from the clip's end; latents at its start that fill no block are left out.
        """
        k, latents = self.block, clip.latents.shape[1]
        first = latents % k
        state = self.initial(clip.latents[:, first : first + k])
        for i in range(first + k, latents, k):
            state = self.observe(state, clip.leading_to(i, i + k), clip.latents[:, i : i + k])
        return state

    @abstractmethod
    def fork(self, state: State) -> State:
        """Return an independent copy of `state`, for planning, branching and rewind."""


class DiffusionModel(WorldModel[State]):
    """A world model that denoises the next block.

    `lead` latents at the start of a training clip are context only: ``forward`` predicts the rest. `given` ones are
    what the model is conditioned on: ``forward`` reads them clean, and objectives do not grade them.
    """

    schedule: NoiseSchedule
    latent_shape: tuple[int, ...]
    lead: int = 0
    given: int = 0
    context_level: float = 0.0  # noise level that the model is told for latents that are given

    def told(self, context_level: float) -> "DiffusionModel[State]":
        """Return the same network, weights shared, that is told another noise level of what it is given."""
        twin = copy.copy(self)
        twin.context_level = context_level
        return twin

    @abstractmethod
    def forward(
        self,
        noisy: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        """Predict x0 of the last p = t - lead latents of a clip, in parallel.

        Args:
            noisy: the clip, every latent at its own noise level.
            levels: 0 is data, 1 is noise.
            actions: n = (t - 1) * r encoded actions; actions[:, i] leads to frame i + 1.
            dropped: actions to replace by the learned "no action" of classifier-free guidance.
        """

    @abstractmethod
    def denoise(
        self,
        state: State,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        """Predict x0 of the next block; `action` None is the learned "no action". Never changes `state`."""

    def restore(
        self,
        latents: Float[Tensor, "b t *latent"],
        levels: Float[Tensor, "b t"],
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None = None,
        seeds: tuple[int, ...] | None = None,
    ) -> Float[Tensor, "b p *latent"]:
        """Predict x0 as ``forward`` does, of a clip in which latents at level 0 are given, as a memory's are.

        `seeds` are those of `LatentClip`, for views whose memory is noised.
        """
        return self(latents, torch.where(levels == 0, self.context_level, levels), actions, dropped)

    def velocity(
        self,
        state: State,
        action: Action | None,
        noisy: Float[Tensor, "b k *latent"],
        level: Float[Tensor, "b"],
    ) -> Float[Tensor, "b k *latent"]:
        """Return dx/ds of the probability-flow path at noise level `level`. Never changes `state`."""
        x0 = self.denoise(state, action, noisy, level)
        return self.schedule.velocity(x0, noisy, level)


class WorldModelConfig(Config):
    """Base of model configs."""

    def build(self, actions: ActionSpace, latent_shape: tuple[int, ...]) -> WorldModel[Any]:
        """Build the model for encoded actions and latents of this shape, with fresh weights."""
        raise NotImplementedError

    def check_clips(self, frames: int) -> None:
        """Refuse training whose longest clips, of so many frames, leave out what play will need.

        Raises:
            ValueError: names the length and the remedy.
        """
