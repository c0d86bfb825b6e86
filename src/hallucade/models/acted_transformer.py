"""A transformer over frames that follow actions, and its memory of a game.

What the next frame is predicted as, noise taken away or codes, is its subclasses' affair. Here is what they share:
which latent is told of which actions, and keys and values that a game goes on from.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hallucade.models.base import WorldModel, WorldModelConfig, twin
from hallucade.models.frame_transformer import TOKEN_STD, FrameCues, FrameTransformer, FrameTransformerConfig
from hallucade.nn.action_window import grouped, preceded, windows, windows_of_two
from hallucade.nn.block_cache import BlockCache
from hallucade.shapes import Action


@dataclass(frozen=True, kw_only=True)
class ActedTransformerConfig(FrameTransformerConfig, WorldModelConfig):
    """The network's sizes and layers, and how it is told of actions."""

    stride: int = 1  # frames, and so actions, a latent: the tokenizer's
    action_hidden: bool = False  # a layer and a SiLU between an action and its vector
    no_action: Literal["learned", "zero"] = "learned"  # the vector of a clip's first frame, and of dropped actions

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride < 1:
            raise ValueError(f"stride is {self.stride}; a latent stands for 1 frame or more")
        if self.action_hidden and self.injection.embeds:
            raise ValueError(
                f"action_hidden is for actions that the model embeds; {type(self.injection).__name__} embeds them "
                "itself, so leave it off"
            )

    def check_clips(self, frames: int) -> None:
        latents = 1 + (frames - 1) // self.stride
        if self.positions == "learned" and latents <= self.window:
            raise ValueError(
                f"positions='learned' and a window of {self.window}, but the longest clips have {latents} latent(s): "
                "play goes past the window, where vectors come again in an order that no clip shows; train on clips of "
                f"{2 * self.window}, or turn to rotary positions ('axial', 'video', 'flat')"
            )


@dataclass
class TransformerMemory:
    """What a game has shown so far, as keys and values of the layers that look back."""

    frames: int  # seen since the start; the number of the next block's first one
    caches: list[BlockCache]
    recent: Float[Tensor, "b p g"]  # embedded actions of latents that later ones are still told of
    image: Float[Tensor, "b 1 c h w"] | None = None  # what a first-frame-conditioned model is conditioned on


class ActedTransformer(FrameTransformer, WorldModel[TransformerMemory]):
    """Base of transformers that play: a latent is told of the actions that lead to it, and remembered.

    The action that leads into a frame enters every block where `injection` says; the first frame of a clip has a vector
    that stands for no action. A subclass calls ``build_actions`` where it makes its weights.
    """

    def build_actions(self, config: ActedTransformerConfig, action_features: int) -> None:
        """Make the weights that embed encoded actions."""
        self._acted, self.action_features = config, action_features
        grouped_features = config.stride * action_features
        self.embed_action = _action_embedding(config, grouped_features)
        embedded = grouped_features if config.injection.embeds else config.width
        if config.no_action == "learned":
            self.no_action = nn.Parameter(TOKEN_STD * torch.randn(embedded))
        else:
            self.register_buffer("no_action", torch.zeros(embedded), persistent=False)

    @property
    def grain(self) -> int:
        """One latent: those that fill no block come first, in a shorter one."""
        return 1

    def embed_actions(
        self, actions: Float[Tensor, "b n a"], dropped: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b t g"]:
        """Embed the actions that lead to each latent; as no action where the first of them is `dropped`."""
        embedded = self.embed_action(grouped(actions, self._acted.stride).to(self.no_action.dtype))
        if dropped is None:
            return embedded
        return torch.where(dropped[:, :: self._acted.stride, None], self.no_action.to(embedded.dtype), embedded)

    def pressed(
        self, actions: Float[Tensor, "b n a"], dropped: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b t d"]:
        """Return what each of t = n / stride + 1 latents is told of the actions up to it; none leads into the first."""
        return windows(self.action_rows(actions, dropped), self._acted.injection.reach)

    def heard(
        self,
        actions: Float[Tensor, "b n a"],
        dropped: Bool[Tensor, "b n"] | None,
        pressed: Float[Tensor, "b t d"],
    ) -> Float[Tensor, "b t d"]:
        """Return what noisy latents are told where only the actions of their own block can be `dropped`."""
        if dropped is None:
            return pressed
        before, own = self.action_rows(actions), self.action_rows(actions, dropped)
        return windows_of_two(before, own, self.window.clip(pressed.shape[1]).ends, self._acted.injection.reach)

    def action_rows(
        self, actions: Float[Tensor, "b n a"], dropped: Bool[Tensor, "b n"] | None = None
    ) -> Float[Tensor, "b m g"]:
        """Embed the actions of a clip after those that did not lead into its first latent."""
        return preceded(self.no_action.expand(1, self._acted.injection.reach, -1), self.embed_actions(actions, dropped))

    def adamw_parameters(self) -> set[nn.Parameter]:
        """Parameters that Muon should leave to AdamW: everything outside the blocks."""
        return set(self.parameters()) - set(self.blocks.parameters())

    def next_rows(self, state: TransformerMemory, action: Action | None, count: int) -> Float[Tensor, "b rows g"]:
        """Return the embedded actions that the next latents, so many, are told of."""
        if action is None:
            none = self.no_action.to(state.recent.dtype).expand(len(state.recent), count, -1)
            return torch.cat([state.recent, none], 1)
        return preceded(state.recent, self.embed_actions(action))

    def begun(
        self,
        seen: Float[Tensor, "b t channels h w"],
        condition: Float[Tensor, "b t c"],
        rows: Float[Tensor, "b rows g"],
    ) -> TransformerMemory:
        """Start a memory from a clip as the network reads it, with the embedded actions of its latents."""
        frames = seen.shape[1]
        _, own = self.read_clip(seen, FrameCues(condition, windows(rows, self._acted.injection.reach)))
        recent = rows[:, frames:].clone()  # a slice would keep the rows of the whole clip
        return TransformerMemory(frames, self.remember(own), recent)

    def gone_on(
        self,
        state: TransformerMemory,
        seen: Float[Tensor, "b k channels h w"],
        condition: Float[Tensor, "b k c"],
        rows: Float[Tensor, "b rows g"],
    ) -> TransformerMemory:
        """Consume `state` and return the memory after a block, with what ``next_rows`` says of its actions."""
        count = seen.shape[1]
        cues = FrameCues(condition, windows(rows, self._acted.injection.reach))
        _, own = self.read_next(state.frames, state.caches, seen, cues)
        caches = [cache.write(state.frames, new) for cache, new in zip(state.caches, own, strict=True)]
        return TransformerMemory(state.frames + count, caches, rows[:, count:].clone(), state.image)

    def at(self, latent_shape: tuple[int, ...], pace: float = 1.0) -> "ActedTransformer":
        """Return the same network, weights shared, for latents of another size and pace.

        Its positions stay those of the size that it was built for: patches of another grid stand between its own.

        Raises:
            ValueError: the size does not divide, or its positions have no place in another grid.
        """
        grid = self._acted.grid(*latent_shape[-2:])
        if (grid, pace) == (self.positions.grid, self.positions.pace):
            return self
        other = twin(self, latent_shape)
        other.on_grid(*grid, pace)
        return other

    def start_from(self, other: WorldModel[Any]) -> dict[str, Tensor]:
        """Return what this network can begin with of another one; see the base class."""
        tables = self.tables_of(other) if isinstance(other, FrameTransformer) else {}
        return super().start_from(other) | tables

    def fork(self, state: TransformerMemory) -> TransformerMemory:
        """Return an independent copy of a memory."""
        return replace(state, caches=[cache.clone() for cache in state.caches], recent=state.recent.clone())

    def check_memory(self) -> None:
        """Raise ValueError if the network is bidirectional, and so has no memory."""
        if self._acted.attention == "bidirectional":
            raise ValueError(
                "attention is 'bidirectional': its frames see the future, so that it has no memory and dreams whole "
                "clips only, by JointSamplerConfig or ClipwiseSamplerConfig; for play, start a model with "
                "attention='causal' from its weights"
            )

    def check_actions(self, actions: int, latents: int) -> None:
        """Raise ValueError where so many actions do not join so many latents."""
        stride, needed = self._acted.stride, (latents - 1) * self._acted.stride
        if actions != needed:
            raise ValueError(
                f"{actions} actions for {latents} latents of {stride} frame(s); give {needed}, and set the model's "
                "stride to the tokenizer's"
            )


def _action_embedding(config: ActedTransformerConfig, features: int) -> nn.Module:
    if config.injection.embeds:
        return nn.Identity()
    if not config.action_hidden:
        return nn.Linear(features, config.width, bias=False)
    return nn.Sequential(nn.Linear(features, config.width), nn.SiLU(), nn.Linear(config.width, config.width))
